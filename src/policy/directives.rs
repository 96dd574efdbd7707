//! Cache directives: `Cache-Control` and `Pragma` (RFC 9111 §5.2, §5.4), and `CDN-Cache-Control`
//! for caches like this one (RFC 9213).
//!
//! A directive that restricts is obeyed even if malformed; one that permits must be well formed.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::directive::{Argument, DeltaSeconds, Directive, LONGEST_NAME, MAX_SECONDS};
use super::list::{self, Quotes};
use crate::config::ClientDirectives;

/// The cache directives of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each directive")]
pub struct ResponseDirectives {
    /// §5.2.2.5: must not be stored.
    pub no_store: bool,
    /// §5.2.2.4: validated before each use. With field names too: the whole response is
    /// validated, as §5.2.2.4 permits, because we do not store fields separately.
    pub no_cache: bool,
    /// §5.2.2.7: for one user only. With field names too, as §5.2.2.7 permits.
    pub private: bool,
    /// §5.2.2.9: may be stored even where it otherwise might not.
    pub public: bool,
    /// §5.2.2.2: never served stale.
    pub must_revalidate: bool,
    /// §5.2.2.8: never served stale by a shared cache.
    pub proxy_revalidate: bool,
    /// §5.2.2.3: may be stored only by a cache that understands the status code.
    pub must_understand: bool,
    /// §5.2.2.1: the lifetime.
    pub max_age: Option<DeltaSeconds>,
    /// §5.2.2.10: the lifetime in a shared cache.
    pub s_maxage: Option<DeltaSeconds>,
    /// RFC 5861 §3: how long it may be served stale while it is revalidated.
    pub stale_while_revalidate: Option<DeltaSeconds>,
    /// RFC 5861 §4: how long it may be served stale if the origin fails.
    pub stale_if_error: Option<DeltaSeconds>,
    /// Part of the field is unreadable, and may have been a lifetime.
    pub malformed: bool,
    /// Read from `CDN-Cache-Control`, which also overrides `Expires` (RFC 9213 §2.1).
    pub targeted: bool,
}

/// The cache directives of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// §5.2.1.4: a stored response must be validated first.
    pub no_cache: bool,
    /// §5.2.1.5: the response must not be stored.
    pub no_store: bool,
    /// §5.2.1.7: a stored response or a 504, never a fetch.
    pub only_if_cached: bool,
    /// §5.2.1.1: the maximum age.
    pub max_age: Option<Duration>,
    /// §5.2.1.3: the minimum remaining lifetime.
    pub min_fresh: Option<Duration>,
    /// §5.2.1.2: the maximum staleness; [`Duration::MAX`] if unlimited.
    pub max_stale: Option<Duration>,
}

// === impl ResponseDirectives ===

impl ResponseDirectives {
    /// Reads `CDN-Cache-Control` if it is valid and not empty (RFC 9213 §2.1), else
    /// `Cache-Control`. `Pragma` is ignored in responses (RFC 9111 §5.4).
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
        let known = self.set(directive);
        // `public; max-age=0` begins with a known name and hides the lifetime after it, as does
        // an unclosed quote. Other unknown elements are ignored (§5.2.3).
        if let Argument::Malformed { open_quote } = directive.argument {
            self.malformed |= known || open_quote;
        }
    }

    /// Sets a directive; returns whether it is known.
    fn set(&mut self, directive: &Directive<'_>) -> bool {
        let plain = matches!(directive.argument, Argument::Absent);
        let delta = DeltaSeconds::read(&directive.argument);
        match directive.lower(&mut [0; LONGEST_NAME]) {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"public" => self.public |= plain,
            b"must-understand" => self.must_understand |= plain,
            b"max-age" => DeltaSeconds::merge(&mut self.max_age, delta),
            b"s-maxage" => DeltaSeconds::merge(&mut self.s_maxage, delta),
            b"stale-while-revalidate" => {
                DeltaSeconds::merge(&mut self.stale_while_revalidate, delta);
            }
            b"stale-if-error" => DeltaSeconds::merge(&mut self.stale_if_error, delta),
            _ => return false,
        }
        true
    }

    /// Sets a member of `CDN-Cache-Control`; a value of the wrong type is ignored (RFC 9213 §2.1).
    fn add_targeted(&mut self, name: &str, value: &BareItem) {
        let is_true = matches!(value, BareItem::Boolean(true));
        let has_names = matches!(value, BareItem::String(_));
        match name {
            "no-store" => self.no_store = is_true,
            "no-cache" => self.no_cache = is_true || has_names,
            "private" => self.private = is_true || has_names,
            "public" => self.public = is_true,
            "must-revalidate" => self.must_revalidate = is_true,
            "proxy-revalidate" => self.proxy_revalidate = is_true,
            "must-understand" => self.must_understand = is_true,
            "max-age" => self.max_age = targeted_seconds(value),
            "s-maxage" => self.s_maxage = targeted_seconds(value),
            "stale-while-revalidate" => self.stale_while_revalidate = targeted_seconds(value),
            "stale-if-error" => self.stale_if_error = targeted_seconds(value),
            _ => {}
        }
    }
}

/// The directives of `CDN-Cache-Control`; `None` if it is empty or not a valid structured field,
/// so that `Cache-Control` applies (RFC 9213 §2.1).
fn targeted(head: &HeaderMap) -> Option<ResponseDirectives> {
    let lines = head.get_all(header::CDN_CACHE_CONTROL).iter();
    let lines: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
    // All lines are one dictionary; of members with the same key the last counts (RFC 9651 §4.2).
    let members: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives {
        targeted: true,
        ..ResponseDirectives::default()
    };
    for (name, member) in &members {
        // Parameters are ignored (RFC 9213 §2.1), and no directive is an inner list.
        if let ListEntry::Item(item) = member {
            directives.add_targeted(name.as_str(), &item.bare_item);
        }
    }
    Some(directives)
}

/// The seconds of an integer. A negative one is invalid, so that the response is stale.
fn targeted_seconds(value: &BareItem) -> Option<DeltaSeconds> {
    let BareItem::Integer(number) = value else {
        return None;
    };
    Some(match u64::try_from(i64::from(*number)) {
        Ok(seconds) => DeltaSeconds::Seconds(
            u32::try_from(seconds).map_or(MAX_SECONDS, |s| s.min(MAX_SECONDS)),
        ),
        Err(_) => DeltaSeconds::Invalid,
    })
}

// === impl RequestDirectives ===

impl RequestDirectives {
    /// Reads `Cache-Control`, else `Pragma: no-cache` (RFC 9111 §5.4); nothing if
    /// `freshness.client_directives` is `ignore`.
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

    /// Forwards the directives that forbid a stored response, so that no cache between us and the
    /// origin answers from its own (RFC 9111 §5.2).
    pub fn forward(&self, client: &HeaderMap, sent: &mut HeaderMap) {
        let no_cache = self.no_cache.then(|| "no-cache".to_owned());
        let max_age = self.max_age.map(|age| format!("max-age={}", age.as_secs()));
        let directives: Vec<_> = [no_cache, max_age].into_iter().flatten().collect();
        if let Ok(directives) = HeaderValue::try_from(directives.join(", "))
            && !directives.is_empty()
        {
            sent.insert(header::CACHE_CONTROL, directives);
        }
        if self.no_cache && client.contains_key(header::PRAGMA) {
            sent.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        }
    }

    /// Of an unreadable or repeated restriction the strictest reading counts; an unreadable
    /// permission permits nothing.
    fn add(&mut self, directive: &Directive<'_>) {
        let length = || DeltaSeconds::read(&directive.argument).length();
        match directive.lower(&mut [0; LONGEST_NAME]) {
            b"no-cache" => self.no_cache = true,
            b"no-store" => self.no_store = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => {
                self.max_age = Some(self.max_age.map_or_else(length, |old| old.min(length())));
            }
            b"min-fresh" => {
                let least = match DeltaSeconds::read(&directive.argument) {
                    DeltaSeconds::Invalid => Duration::from_secs(MAX_SECONDS.into()),
                    valid @ DeltaSeconds::Seconds(_) => valid.length(),
                };
                self.min_fresh = Some(self.min_fresh.map_or(least, |old| old.max(least)));
            }
            b"max-stale" => {
                let most = match directive.argument {
                    Argument::Absent => Duration::MAX,
                    _ => length(),
                };
                self.max_stale = Some(self.max_stale.map_or(most, |old| old.min(most)));
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
    fn max_age_consists_of_digits_only() {
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
            (&["max-age=2147483648"], Some(Seconds(MAX_SECONDS))),
            (
                &["max-age=99999999999999999999"],
                Some(Seconds(MAX_SECONDS)),
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
            let directives = ResponseDirectives::read(&head(&header::CACHE_CONTROL, lines));
            assert_eq!(directives.max_age, *then, "{lines:?}");
        }
    }

    #[test]
    fn malformed_restrictions_are_obeyed() {
        for line in [
            "no-store",
            "NO-STORE",
            "no-store=1",
            "no-store; x",
            "a=\"b, no-store",
        ] {
            let directives = ResponseDirectives::read(&head(&header::CACHE_CONTROL, &[line]));
            assert!(directives.no_store, "{line}");
        }
        for line in ["x=no-store", "x=\"no-store\"", "no-storex", "x no-store"] {
            let directives = ResponseDirectives::read(&head(&header::CACHE_CONTROL, &[line]));
            assert!(!directives.no_store, "{line}");
        }
    }

    #[test]
    fn malformed_permissions_are_ignored() {
        for line in ["public=1", "public; x", "public=\"\""] {
            let directives = ResponseDirectives::read(&head(&header::CACHE_CONTROL, &[line]));
            assert!(!directives.public, "{line}");
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
    fn the_strictest_of_repeated_request_directives_counts() {
        let read = |lines: &[&'static str]| {
            RequestDirectives::read(&head(&header::CACHE_CONTROL, lines), ClientDirectives::Obey)
        };
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(read(&["max-age=9, max-age=5"]).max_age, seconds(5));
        assert_eq!(read(&["max-age=x"]).max_age, seconds(0));
        assert_eq!(read(&["min-fresh=9", "min-fresh=5"]).min_fresh, seconds(9));
        assert_eq!(
            read(&["min-fresh=x"]).min_fresh,
            seconds(MAX_SECONDS.into())
        );
        assert_eq!(read(&["max-stale"]).max_stale, Some(Duration::MAX));
        assert_eq!(read(&["max-stale, max-stale=3"]).max_stale, seconds(3));
        assert_eq!(read(&["max-stale=x"]).max_stale, seconds(0));
        assert!(read(&["Only-If-Cached"]).only_if_cached);
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut pragma = head(&header::PRAGMA, &["x, No-Cache"]);
        assert!(RequestDirectives::read(&pragma, ClientDirectives::Obey).no_cache);
        assert!(!RequestDirectives::read(&pragma, ClientDirectives::Ignore).no_cache);
        pragma.append(
            header::CACHE_CONTROL,
            header::HeaderValue::from_static("max-age=1"),
        );
        assert!(!RequestDirectives::read(&pragma, ClientDirectives::Obey).no_cache);
    }

    fn read_targeted(lines: &[&'static str]) -> Option<ResponseDirectives> {
        targeted(&head(&header::CDN_CACHE_CONTROL, lines))
    }

    #[test]
    fn an_empty_or_invalid_targeted_field_counts_as_absent() {
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
            assert_eq!(read_targeted(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn targeted_values_of_the_wrong_type_are_ignored() {
        let table: &[(&[&str], Option<DeltaSeconds>)] = &[
            (&["max-age=60"], Some(Seconds(60))),
            (&["max-age=60;x=1"], Some(Seconds(60))),
            (&["max-age=1", "max-age=60"], Some(Seconds(60))),
            (&["max-age=999999999999999"], Some(Seconds(MAX_SECONDS))),
            (&["max-age=-1"], Some(Invalid)),
            (&["max-age=\"60\""], None),
            (&["max-age=60.0"], None),
            (&["max-age=(60)"], None),
            (&["max-age"], None),
            (&["max-age=60, max-age"], None),
            (&["s-maxage=60"], None),
        ];
        for (lines, then) in table {
            let directives = read_targeted(lines).expect("the rows are valid dictionaries");
            assert_eq!(directives.max_age, *then, "{lines:?}");
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
            assert!(
                !read_targeted(&[line]).expect("a dictionary").no_store,
                "{line}"
            );
        }
        for line in ["private", "private=?1", "private=\"x\""] {
            assert!(
                read_targeted(&[line]).expect("a dictionary").private,
                "{line}"
            );
        }
    }
}
