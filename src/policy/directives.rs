//! Cache directives: `Cache-Control` and `Pragma` (RFC 9111 §5.2, §5.4), and `CDN-Cache-Control`
//! for caches like this one (RFC 9213).
//!
//! Reading is lenient in form and strict in effect: whatever restricts is obeyed even when
//! it is malformed, whatever permits only when it is well formed.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::directive::{Argument, DeltaSeconds, Directive, LONGEST, MOST_SECONDS};
use super::list::{self, Quotes};
use crate::config::ClientDirectives;

/// The cache directives of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each directive")]
pub struct ResponseDirectives {
    /// §5.2.2.5: must not be stored.
    pub no_store: bool,
    /// §5.2.2.4: validated before each use. With field names too: we would have to keep
    /// those fields apart, so the whole response is validated, which §5.2.2.4 permits.
    pub no_cache: bool,
    /// §5.2.2.7: for one user. With field names too, as §5.2.2.7 permits.
    pub private: bool,
    /// §5.2.2.9: may be stored where it otherwise might not.
    pub public: bool,
    /// §5.2.2.2: never served stale.
    pub must_revalidate: bool,
    /// §5.2.2.8: never served stale by a shared cache.
    pub proxy_revalidate: bool,
    /// §5.2.2.3: only for those who understand the status code.
    pub must_understand: bool,
    /// §5.2.2.1
    pub max_age: Option<DeltaSeconds>,
    /// §5.2.2.10
    pub s_maxage: Option<DeltaSeconds>,
    /// RFC 5861 §3
    pub stale_while_revalidate: Option<DeltaSeconds>,
    /// RFC 5861 §4
    pub stale_if_error: Option<DeltaSeconds>,
    /// Something in the field cannot be read, and it may have been a lifetime.
    pub malformed: bool,
    /// They come from `CDN-Cache-Control`, which also replaces `Expires` (RFC 9213 §2.1).
    pub targeted: bool,
}

/// The cache directives of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// §5.2.1.4: only after validation.
    pub no_cache: bool,
    /// §5.2.1.5: the response must not be stored.
    pub no_store: bool,
    /// §5.2.1.7: from the store or not at all.
    pub only_if_cached: bool,
    /// §5.2.1.1: no older than this.
    pub max_age: Option<Duration>,
    /// §5.2.1.3: fresh for at least this long.
    pub min_fresh: Option<Duration>,
    /// §5.2.1.2: stale by no more than this; [`Duration::MAX`] when any staleness will do.
    pub max_stale: Option<Duration>,
}

// === impl ResponseDirectives ===

impl ResponseDirectives {
    /// Reads `CDN-Cache-Control` if it is valid and not empty (RFC 9213 §2.1), else
    /// `Cache-Control`. `Pragma` means nothing in a response.
    #[must_use]
    pub fn read(head: &HeaderMap) -> Self {
        if let Some(targeted) = targeted(head) {
            return targeted;
        }
        let mut directives = Self::default();
        for element in list::elements(head, &header::CACHE_CONTROL, Quotes::Escaped) {
            directives.add(&Directive::read(element));
        }
        directives
    }

    fn add(&mut self, directive: &Directive<'_>) {
        let known = self.take(directive);
        // `public; max-age=0` begins with a name we know and hides what follows; so does a
        // quote left open. Any other unknown element is ignored (§5.2.3).
        if let Argument::Malformed { open_quote } = directive.argument {
            self.malformed |= known || open_quote;
        }
    }

    /// Takes a directive in; returns whether it is a known one.
    fn take(&mut self, directive: &Directive<'_>) -> bool {
        let plain = matches!(directive.argument, Argument::Absent);
        let delta = DeltaSeconds::read(&directive.argument);
        match directive.lower(&mut [0; LONGEST]) {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"public" => self.public |= plain,
            b"must-understand" => self.must_understand |= plain,
            b"max-age" => DeltaSeconds::join(&mut self.max_age, delta),
            b"s-maxage" => DeltaSeconds::join(&mut self.s_maxage, delta),
            b"stale-while-revalidate" => {
                DeltaSeconds::join(&mut self.stale_while_revalidate, delta);
            }
            b"stale-if-error" => DeltaSeconds::join(&mut self.stale_if_error, delta),
            _ => return false,
        }
        true
    }

    /// A value of the wrong type is not coerced but ignored (RFC 9213 §2.1).
    fn add_targeted(&mut self, name: &str, value: &BareItem) {
        let set = matches!(value, BareItem::Boolean(true));
        let names = matches!(value, BareItem::String(_));
        match name {
            "no-store" => self.no_store = set,
            "no-cache" => self.no_cache = set || names,
            "private" => self.private = set || names,
            "public" => self.public = set,
            "must-revalidate" => self.must_revalidate = set,
            "proxy-revalidate" => self.proxy_revalidate = set,
            "must-understand" => self.must_understand = set,
            "max-age" => self.max_age = targeted_seconds(value),
            "s-maxage" => self.s_maxage = targeted_seconds(value),
            "stale-while-revalidate" => self.stale_while_revalidate = targeted_seconds(value),
            "stale-if-error" => self.stale_if_error = targeted_seconds(value),
            _ => {}
        }
    }
}

/// The directives of `CDN-Cache-Control`, which caches like this one read instead of
/// `Cache-Control`; `None` where it is empty or no valid structured field (RFC 9213 §2.1).
fn targeted(head: &HeaderMap) -> Option<ResponseDirectives> {
    let lines = head.get_all(header::CDN_CACHE_CONTROL).iter();
    let lines: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
    // One dictionary over all lines (RFC 9651 §4.2): of members with one name the last counts.
    let members: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives {
        targeted: true,
        ..ResponseDirectives::default()
    };
    for (name, member) in &members {
        // Parameters mean nothing here (RFC 9213 §2.1), and no directive is an inner list.
        if let ListEntry::Item(item) = member {
            directives.add_targeted(name.as_str(), &item.bare_item);
        }
    }
    Some(directives)
}

/// A negative number has the right type and no meaning: invalid, and so stale.
fn targeted_seconds(value: &BareItem) -> Option<DeltaSeconds> {
    let BareItem::Integer(number) = value else {
        return None;
    };
    Some(match u64::try_from(i64::from(*number)) {
        Ok(seconds) => DeltaSeconds::Seconds(
            u32::try_from(seconds).map_or(MOST_SECONDS, |s| s.min(MOST_SECONDS)),
        ),
        Err(_) => DeltaSeconds::Invalid,
    })
}

// === impl RequestDirectives ===

impl RequestDirectives {
    /// Reads `Cache-Control`, or else `Pragma: no-cache` (RFC 9111 §5.4); nothing under
    /// `freshness.client_directives = "ignore"`.
    #[must_use]
    pub fn read(head: &HeaderMap, rule: ClientDirectives) -> Self {
        let mut directives = Self::default();
        if rule == ClientDirectives::Ignore {
            return directives;
        }
        for element in list::elements(head, &header::CACHE_CONTROL, Quotes::Escaped) {
            directives.add(&Directive::read(element));
        }
        if !head.contains_key(header::CACHE_CONTROL) {
            directives.no_cache = list::elements(head, &header::PRAGMA, Quotes::Escaped)
                .any(|element| element.eq_ignore_ascii_case(b"no-cache"));
        }
        directives
    }

    /// An unreadable or repeated demand is taken at its strictest; an unreadable permission
    /// permits nothing.
    fn add(&mut self, directive: &Directive<'_>) {
        let length = || DeltaSeconds::read(&directive.argument).length();
        match directive.lower(&mut [0; LONGEST]) {
            b"no-cache" => self.no_cache = true,
            b"no-store" => self.no_store = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => {
                self.max_age = Some(self.max_age.map_or_else(length, |old| old.min(length())));
            }
            b"min-fresh" => {
                let asked = match DeltaSeconds::read(&directive.argument) {
                    DeltaSeconds::Invalid => Duration::from_secs(MOST_SECONDS.into()),
                    valid @ DeltaSeconds::Seconds(_) => valid.length(),
                };
                self.min_fresh = Some(self.min_fresh.map_or(asked, |old| old.max(asked)));
            }
            b"max-stale" => {
                let asked = match directive.argument {
                    Argument::Absent => Duration::MAX,
                    _ => length(),
                };
                self.max_stale = Some(self.max_stale.map_or(asked, |old| old.min(asked)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeltaSeconds::{Invalid, Seconds};

    fn head(name: &header::HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut head = HeaderMap::new();
        for line in lines {
            head.append(name, header::HeaderValue::from_static(line));
        }
        head
    }

    #[test]
    fn max_age_is_digits_and_nothing_else() {
        let table: &[(&[&str], Option<DeltaSeconds>)] = &[
            (&[], None),
            (&["max-age=60"], Some(Seconds(60))),
            (&["MAX-Age=60"], Some(Seconds(60))),
            (&["max-age=\"60\""], Some(Seconds(60))),
            (&["max-age=\"6\\0\""], Some(Seconds(60))),
            (&["max-age=060"], Some(Seconds(60))),
            (&[",, max-age=60 ,"], Some(Seconds(60))),
            (&["public", "max-age=60"], Some(Seconds(60))),
            (&["max-age=60, max-age=060"], Some(Seconds(60))),
            (&["max-age=60, max-age=61"], Some(Invalid)),
            (&["max-age=60", "max-age=1"], Some(Invalid)),
            (&["max-age=60, max-age=x"], Some(Invalid)),
            (&["max-age=2147483648"], Some(Seconds(MOST_SECONDS))),
            (
                &["max-age=99999999999999999999"],
                Some(Seconds(MOST_SECONDS)),
            ),
            (&["max-age"], Some(Invalid)),
            (&["max-age="], Some(Invalid)),
            (&["max-age=\"\""], Some(Invalid)),
            (&["max-age=-1"], Some(Invalid)),
            (&["max-age=+1"], Some(Invalid)),
            (&["max-age=1.0"], Some(Invalid)),
            (&["max-age=60s"], Some(Invalid)),
            (&["max-age=s60"], Some(Invalid)),
            (&["max-age='60'"], Some(Invalid)),
            (&["max-age =60"], Some(Invalid)),
            (&["max-age= 60"], Some(Invalid)),
            (&["max-age=60; public"], Some(Invalid)),
            (&["x=\"max-age=1\", max-age=60"], Some(Seconds(60))),
            (&["max-age=60, x=\"\\\", max-age=1\""], Some(Seconds(60))),
            (&["xmax-age=60"], None),
        ];
        for (lines, then) in table {
            let said = ResponseDirectives::read(&head(&header::CACHE_CONTROL, lines));
            assert_eq!(said.max_age, *then, "{lines:?}");
        }
    }

    #[test]
    fn what_restricts_is_obeyed_even_when_malformed() {
        for line in [
            "no-store",
            "NO-STORE",
            "no-store=1",
            "no-store; x",
            "a=\"b, no-store",
        ] {
            let said = ResponseDirectives::read(&head(&header::CACHE_CONTROL, &[line]));
            assert!(said.no_store, "{line}");
        }
        for line in ["x=no-store", "x=\"no-store\"", "no-storex", "x no-store"] {
            let said = ResponseDirectives::read(&head(&header::CACHE_CONTROL, &[line]));
            assert!(!said.no_store, "{line}");
        }
    }

    #[test]
    fn what_permits_has_to_be_well_formed() {
        for line in ["public=1", "public; x", "public=\"\""] {
            let said = ResponseDirectives::read(&head(&header::CACHE_CONTROL, &[line]));
            assert!(!said.public, "{line}");
        }
    }

    #[test]
    fn unknown_directives_are_ignored_unless_they_may_hide_a_lifetime() {
        let table = [
            ("max-age=60, x, y=1, z=\"1\", @, ü", false),
            ("max-age=60, x y z", false),
            ("public; max-age=0, max-age=60", true),
            ("x=\"y, max-age=60", true),
        ];
        for (line, malformed) in table {
            let value = header::HeaderValue::from_bytes(line.as_bytes()).expect("visible bytes");
            let head = HeaderMap::from_iter([(header::CACHE_CONTROL, value)]);
            assert_eq!(
                ResponseDirectives::read(&head).malformed,
                malformed,
                "{line}"
            );
        }
    }

    #[test]
    fn demands_of_a_request_are_taken_at_their_strictest() {
        let ask = |lines: &[&'static str]| {
            RequestDirectives::read(&head(&header::CACHE_CONTROL, lines), ClientDirectives::Obey)
        };
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(ask(&["max-age=9, max-age=5"]).max_age, seconds(5));
        assert_eq!(ask(&["max-age=x"]).max_age, seconds(0));
        assert_eq!(ask(&["min-fresh=9", "min-fresh=5"]).min_fresh, seconds(9));
        assert_eq!(
            ask(&["min-fresh=x"]).min_fresh,
            seconds(MOST_SECONDS.into())
        );
        assert_eq!(ask(&["max-stale"]).max_stale, Some(Duration::MAX));
        assert_eq!(ask(&["max-stale, max-stale=3"]).max_stale, seconds(3));
        assert_eq!(ask(&["max-stale=x"]).max_stale, seconds(0));
        assert!(ask(&["Only-If-Cached"]).only_if_cached);
    }

    #[test]
    fn pragma_counts_only_where_there_is_no_cache_control() {
        let mut pragma = head(&header::PRAGMA, &["x, No-Cache"]);
        assert!(RequestDirectives::read(&pragma, ClientDirectives::Obey).no_cache);
        assert!(!RequestDirectives::read(&pragma, ClientDirectives::Ignore).no_cache);
        pragma.append(
            header::CACHE_CONTROL,
            header::HeaderValue::from_static("max-age=1"),
        );
        assert!(!RequestDirectives::read(&pragma, ClientDirectives::Obey).no_cache);
    }

    fn of_cdn(lines: &[&'static str]) -> Option<ResponseDirectives> {
        targeted(&head(&header::CDN_CACHE_CONTROL, lines))
    }

    #[test]
    fn a_targeted_field_that_is_empty_or_no_dictionary_is_absent() {
        for lines in [
            &[][..],
            &[""],
            &["  "],
            &["max-age=60,"],
            &["Max-Age=60"],
            &["max-age=60 public"],
            &["max-age=60", "&"],
            &["max-age=0060000000000000"],
            &["max-age=\"60"],
        ] {
            assert_eq!(of_cdn(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn members_of_a_targeted_field_have_types() {
        let table: &[(&[&str], Option<DeltaSeconds>)] = &[
            (&["max-age=60"], Some(Seconds(60))),
            (&["max-age=60;x=1"], Some(Seconds(60))),
            (&["max-age=1", "max-age=60"], Some(Seconds(60))),
            (&["max-age=999999999999999"], Some(Seconds(MOST_SECONDS))),
            (&["max-age=-1"], Some(Invalid)),
            (&["max-age=\"60\""], None),
            (&["max-age=60.0"], None),
            (&["max-age=(60)"], None),
            (&["max-age"], None),
            (&["max-age=60, max-age"], None),
            (&["s-maxage=60"], None),
        ];
        for (lines, then) in table {
            let said = of_cdn(lines).expect("the rows are dictionaries");
            assert_eq!(said.max_age, *then, "{lines:?}");
        }
    }

    #[test]
    fn a_false_or_mistyped_flag_is_not_set() {
        for line in [
            "no-store=?0",
            "no-store=1",
            "no-store=\"x\"",
            "no-store=?1, no-store=?0",
        ] {
            assert!(!of_cdn(&[line]).expect("a dictionary").no_store, "{line}");
        }
        for line in ["private", "private=?1", "private=\"x\""] {
            assert!(of_cdn(&[line]).expect("a dictionary").private, "{line}");
        }
    }
}
