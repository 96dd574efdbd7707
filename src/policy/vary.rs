//! `Vary`: the requests that a stored response may be used for (RFC 9111 §4.1).

use std::fmt;

use http::{HeaderMap, HeaderName, header};

use super::list::{self, Quotes};

/// The request fields that `Vary` nominates, with their values in the original request.
///
/// Captured from, and compared with, the request *as forwarded*: a field that the origin does not
/// receive cannot affect its response.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Selecting(Vec<(HeaderName, Option<Vec<u8>>)>);

/// Shows only the names: values can be secret.
impl fmt::Debug for Selecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selecting")
            .field(&self.names().collect::<Vec<_>>())
            .finish()
    }
}

impl Selecting {
    /// Captures the nominated fields of `request`; `None` if no later request can match.
    ///
    /// `always` are nominated without a `Vary`: fields that the configuration forwards to the
    /// origin, whose response may depend on them.
    ///
    /// `Authorization` is left out, so that no credential is stored: in the scope of one token it
    /// is always the same, and in a shared one such a response is not stored
    /// ([`may_store`](super::may_store)). `Accept-Encoding` is left out because all fetches send
    /// the same one: the content coding for a client is ours to choose.
    #[must_use]
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
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let captured = names.into_iter().map(|name| {
            let value = normalised(request, &name);
            (name, value)
        });
        Some(Self(captured.collect()))
    }

    /// Whether any request with the same key matches.
    #[must_use]
    pub fn nominates_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `request` has the same values, absent fields included.
    #[must_use]
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0
            .iter()
            .all(|(name, value)| normalised(request, name) == *value)
    }

    /// Bytes on the heap. Clients control the length of the values.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let values = self.0.iter().filter_map(|(_, value)| value.as_ref());
        self.0.capacity() * size_of::<(HeaderName, Option<Vec<u8>>)>()
            + values.map(Vec::capacity).sum::<usize>()
    }

    /// The nominated fields, sorted.
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
        let lines: Vec<&[u8]> = lines.map(|line| list::trim(line.as_bytes())).collect();
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
            .is_some_and(|selecting| selecting.matches(&head(then)))
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
