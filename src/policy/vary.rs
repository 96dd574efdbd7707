//! The requests that a stored response may be used for: `Vary` (RFC 9111 §4.1), and the fields that
//! count as nominated without it.

use std::fmt;

use http::header::InvalidHeaderName;
use http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};

use super::list::{self, Quotes};
use super::negotiation::{NEGOTIATED, is_preferred};

/// Fields that select a version of an API. They are nominated without a `Vary`.
pub const VERSIONS: [HeaderName; 4] = [
    HeaderName::from_static("api-version"),
    HeaderName::from_static("x-api-version"),
    HeaderName::from_static("accept-version"),
    HeaderName::from_static("stuut-version"),
];

/// The request fields that select a stored response, with their values in the original request.
///
/// Captured from, and compared with, the request *as forwarded*: a field that the origin does not
/// receive cannot affect its response.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<(String, Selector)>", try_from = "Vec<(String, Selector)>")]
pub struct Selecting(Vec<(HeaderName, Selector)>);

/// How a field must be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Selector {
    /// As in the original request; `None`: absent.
    Equal(Option<Vec<u8>>),
    /// The same, unless it [prefers](is_preferred) the stored response, as the original
    /// request did not.
    EqualOrPreferred(Vec<u8>),
}

/// Shows only the names: values can be secret.
impl fmt::Debug for Selecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selecting")
            .field(&self.names().collect::<Vec<_>>())
            .finish()
    }
}

impl From<Selecting> for Vec<(String, Selector)> {
    fn from(Selecting(fields): Selecting) -> Self {
        let text = |(name, selector): (HeaderName, _)| (name.as_str().to_owned(), selector);
        fields.into_iter().map(text).collect()
    }
}

impl TryFrom<Vec<(String, Selector)>> for Selecting {
    type Error = InvalidHeaderName;

    fn try_from(fields: Vec<(String, Selector)>) -> Result<Self, Self::Error> {
        let parsed = fields
            .into_iter()
            .map(|(name, selector)| Ok((HeaderName::try_from(name)?, selector)));
        parsed.collect::<Result<_, _>>().map(Self)
    }
}

impl Selecting {
    /// Captures the selecting fields of `request`; `None` if no later request can match.
    ///
    /// Besides those that `Vary` nominates: `always`, the fields that the configuration forwards to
    /// the origin, whose response may depend on them; the [`VERSIONS`]; and the fields of content
    /// negotiation that did not get what they prefer.
    ///
    /// `Authorization` is left out, so that no credential is stored: in the scope of one token it
    /// is always the same, and in a shared one such a response is not stored
    /// ([`may_store`](super::may_store)). `Accept-Encoding` is left out because all fetches send
    /// the same one: the content coding for a client is ours to choose.
    pub fn capture(
        response: &HeaderMap,
        request: &HeaderMap,
        always: &[HeaderName],
    ) -> Option<Self> {
        let mut names = always.to_vec();
        for member in list::elements(response, &header::VARY, Quotes::Escaped) {
            // `*` and invalid names match no request.
            let name = HeaderName::from_bytes(member)
                .ok()
                .filter(|name| name != "*")?;
            if name != header::AUTHORIZATION && name != header::ACCEPT_ENCODING {
                names.push(name);
            }
        }
        // An absent one needs no row: `matches` rejects a request that has one.
        names.extend(
            VERSIONS
                .into_iter()
                .filter(|name| request.contains_key(name)),
        );
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let negotiated = NEGOTIATED.into_iter().filter_map(|name| {
            let is_selected = names.contains(&name) || is_preferred(response, request, &name);
            let value = normalised(request, &name).filter(|_| !is_selected)?;
            Some((name, Selector::EqualOrPreferred(value)))
        });
        let negotiated: Vec<_> = negotiated.collect();
        let equal = names.into_iter().map(|name| {
            let value = normalised(request, &name);
            (name, Selector::Equal(value))
        });
        Some(Self(equal.chain(negotiated).collect()))
    }

    /// Whether it has no fields of its own: then a request without [`VERSIONS`] and preferences
    /// matches.
    pub fn nominates_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `request` has the same values, absent fields included, or prefers `response`, the
    /// stored one.
    pub fn matches(&self, response: &HeaderMap, request: &HeaderMap) -> bool {
        let is_unlisted = |name: &HeaderName| self.names().all(|listed| listed != name);
        let preferred = |name: &HeaderName| is_preferred(response, request, name);
        self.0.iter().all(|(name, selector)| match selector {
            Selector::Equal(value) => normalised(request, name) == *value,
            Selector::EqualOrPreferred(value) => {
                preferred(name) || normalised(request, name).as_ref() == Some(value)
            }
        }) && VERSIONS
            .iter()
            .all(|name| !request.contains_key(name) || !is_unlisted(name))
            && NEGOTIATED
                .iter()
                .all(|name| preferred(name) || !is_unlisted(name))
    }

    /// Bytes on the heap. Clients control the length of the values.
    pub fn heap_bytes(&self) -> usize {
        let values = self.0.iter().filter_map(|(_, selector)| match selector {
            Selector::Equal(value) => value.as_ref(),
            Selector::EqualOrPreferred(value) => Some(value),
        });
        self.0.capacity() * size_of::<(HeaderName, Selector)>()
            + values.map(Vec::capacity).sum::<usize>()
    }

    /// The selecting fields.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }
}

/// Whether no later request can match: `*` in any position, an invalid field name, or
/// `Authorization` where several tokens share the response.
pub(super) fn is_unmatchable(response: &HeaderMap, shared: bool) -> bool {
    list::elements(response, &header::VARY, Quotes::Escaped).any(|member| {
        member == b"*"
            || HeaderName::from_bytes(member)
                .map_or(true, |name| shared && name == header::AUTHORIZATION)
    })
}

/// Normalises a field as §4.1 permits: its lines are combined, whitespace around commas is removed.
/// Order and letter case are kept: their meaning depends on the field.
fn normalised(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    if is_text(name) {
        let lines: Vec<&[u8]> = lines.map(|line| line.as_bytes().trim_ascii()).collect();
        return Some(lines.join(&b", "[..]));
    }
    let members: Vec<&[u8]> = list::elements(request, name, Quotes::Escaped).collect();
    Some(members.join(&b","[..]))
}

/// Whether a comma in this field is not a separator.
fn is_text(name: &HeaderName) -> bool {
    [
        header::USER_AGENT,
        header::COOKIE,
        header::REFERER,
        header::FROM,
        header::ORIGIN,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut head = HeaderMap::new();
        for (name, value) in fields {
            head.append(*name, header::HeaderValue::from_static(value));
        }
        head
    }

    fn matches(
        vary: &[&'static str],
        first: &[(&'static str, &'static str)],
        then: &[(&'static str, &'static str)],
    ) -> bool {
        let lines: Vec<_> = vary.iter().map(|line| ("vary", *line)).collect();
        Selecting::capture(&head(&lines), &head(first), &[])
            .is_some_and(|selecting| selecting.matches(&head(&lines), &head(then)))
    }

    #[test]
    fn nominated_fields_must_be_equal() {
        assert!(matches(&[], &[("a", "1")], &[("a", "2")]));
        assert!(matches(
            &["a"],
            &[("a", "1"), ("b", "1")],
            &[("A", "1"), ("b", "2")]
        ));
        assert!(matches(&["A, B"], &[], &[]));
        assert!(!matches(&["a"], &[("a", "1")], &[("a", "2")]));
        assert!(!matches(&["a"], &[("a", "1")], &[]));
        assert!(!matches(&["a"], &[], &[("a", "")]));
        assert!(!matches(&["b, a"], &[("a", "1")], &[("a", "2")]));
        assert!(!matches(&["b", "a"], &[("a", "1")], &[("a", "2")]));
        assert!(!matches(&["", ", b,,a"], &[("a", "1")], &[("a", "2")]));
    }

    #[test]
    fn lines_are_combined_and_whitespace_around_commas_removed() {
        assert!(matches(&["a"], &[("a", "1, 2")], &[("a", "1"), ("a", "2")]));
        assert!(matches(&["a"], &[("a", "1,2")], &[("a", "1 ,\t2")]));
        assert!(!matches(&["a"], &[("a", "1, 2")], &[("a", "2, 1")]));
        assert!(!matches(&["a"], &[("a", "x")], &[("a", "X")]));
        assert!(!matches(&["a"], &[("a", "\"1, 2\"")], &[("a", "\"1,2\"")]));
        assert!(!matches(
            &["user-agent"],
            &[("user-agent", "a, b")],
            &[("user-agent", "a,b")]
        ));
    }

    #[test]
    fn a_star_in_any_position_matches_nothing() {
        for vary in [
            &["*"][..],
            &["a, *"],
            &["*, a"],
            &["a", "*"],
            &["*a,*"],
            &["a b"],
            &[", *"],
        ] {
            assert!(!matches(vary, &[], &[]), "{vary:?}");
            let lines: Vec<_> = vary.iter().map(|line| ("vary", *line)).collect();
            assert!(is_unmatchable(&head(&lines), false), "{vary:?}");
        }
    }

    #[test]
    fn versions_and_preferences_select_without_vary() {
        let json = head(&[
            ("content-type", "application/json"),
            ("content-language", "en"),
        ]);
        let xml = [("accept", "application/xml")];
        let page = [("accept", "text/html, */*;q=0.8")];
        for (first, then, expected) in [
            (&[][..], &[("stuut-version", "2")][..], false),
            (&[("stuut-version", "2")], &[], false),
            (&[("stuut-version", "2")], &[("stuut-version", "2")], true),
            (&[("stuut-version", "2")], &[("stuut-version", "3")], false),
            (&[], &[("accept", "application/json, */*")], true),
            (&[], &xml, false),
            (&xml, &[], true),
            (&xml, &xml, true),
            (&page, &page, true),
            (&page, &xml, false),
            (&page, &[("accept", "*/*")], true),
            (&[], &[("accept-language", "*")], true),
            (&[], &[("accept-language", "pl")], false),
            (
                &[("accept-language", "pl")],
                &[("accept-language", "pl")],
                true,
            ),
        ] {
            let selecting = Selecting::capture(&json, &head(first), &[]).expect("no star");
            assert_eq!(
                selecting.matches(&json, &head(then)),
                expected,
                "{first:?} {then:?}"
            );
        }
        let plain = Selecting::capture(&json, &head(&[("accept", "application/json")]), &[]);
        assert!(
            plain.expect("no star").nominates_nothing(),
            "no memory for what is preferred"
        );
    }

    #[test]
    fn vary_authorization_stores_no_credential_and_forbids_sharing() {
        let response = head(&[("vary", "Authorization")]);
        let selecting =
            Selecting::capture(&response, &head(&[("authorization", "Bearer s3cret")]), &[])
                .expect("authorization can be captured");
        assert_eq!(format!("{selecting:?}"), "Selecting([])");
        assert!(!is_unmatchable(&response, false));
        assert!(is_unmatchable(&response, true));
    }
}
