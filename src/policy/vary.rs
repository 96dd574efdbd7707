//! `Vary`: the requests that a stored response may answer (RFC 9111 §4.1).

use std::fmt;

use http::{HeaderMap, HeaderName, header};

use super::list::{self, Quotes};

/// The fields that `Vary` nominates, as they stood in the request that was answered.
///
/// Made from, and compared with, the request *as it is sent on*: what the origin never sees
/// cannot have made a difference to it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Selecting(Vec<(HeaderName, Option<Vec<u8>>)>);

/// Values can be secrets; only names are shown.
impl fmt::Debug for Selecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selecting")
            .field(&self.names().collect::<Vec<_>>())
            .finish()
    }
}

impl Selecting {
    /// Captures the nominated fields of `request`; `None` when no request can match again.
    ///
    /// `always` are nominated whatever the response says: fields that an operator lets through to
    /// the origin, which may answer by them without a `Vary`.
    ///
    /// `Authorization` is left out: in a scope of one token it is always the same, and for a
    /// wider one such a response is not stored ([`may_store`](super::may_store)). So no
    /// credential is kept here. `Accept-Encoding` is left out because every fetch says the same:
    /// codings are between us and the client.
    #[must_use]
    pub fn capture(
        response: &HeaderMap,
        request: &HeaderMap,
        always: &[HeaderName],
    ) -> Option<Self> {
        let mut names = always.to_vec();
        for member in list::elements(response, &header::VARY, Quotes::Escaped) {
            // `*` is no field name; neither is anything else that cannot be looked up, and
            // what cannot be compared cannot match.
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
            let value = normal(request, &name);
            (name, value)
        });
        Some(Self(captured.collect()))
    }

    /// Whether any request with the same key will do.
    #[must_use]
    pub fn nominates_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `request` has the same values, absent ones included.
    #[must_use]
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0
            .iter()
            .all(|(name, value)| normal(request, name) == *value)
    }

    /// Bytes held on the heap: a client chooses how long the values are.
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

/// Whether no later request may be served: `*` in any position, a member that is no field
/// name, or `Authorization` where several tokens share.
pub(super) fn is_unmatchable(response: &HeaderMap, shared: bool) -> bool {
    list::elements(response, &header::VARY, Quotes::Escaped).any(|member| {
        member == b"*"
            || HeaderName::from_bytes(member)
                .map_or(true, |name| shared && name == header::AUTHORIZATION)
    })
}

/// A field's value with its lines combined and the blanks around commas removed, as §4.1
/// permits. Order and letter case stay: what they mean is the field's own affair.
fn normal(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    if is_text(name) {
        let lines: Vec<&[u8]> = lines.map(|line| list::trim(line.as_bytes())).collect();
        return Some(lines.join(&b", "[..]));
    }
    let members: Vec<&[u8]> = list::elements(request, name, Quotes::Escaped).collect();
    Some(members.join(&b","[..]))
}

/// Fields in which a comma is not a separator.
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

    fn same(
        vary: &[&'static str],
        first: &[(&'static str, &'static str)],
        then: &[(&'static str, &'static str)],
    ) -> bool {
        let lines: Vec<_> = vary.iter().map(|line| ("vary", *line)).collect();
        Selecting::capture(&head(&lines), &head(first), &[])
            .is_some_and(|selecting| selecting.matches(&head(then)))
    }

    #[test]
    fn nominated_fields_have_to_be_equal() {
        assert!(same(&[], &[("a", "1")], &[("a", "2")]));
        assert!(same(
            &["a"],
            &[("a", "1"), ("b", "1")],
            &[("A", "1"), ("b", "2")]
        ));
        assert!(same(&["A, B"], &[], &[]));
        assert!(!same(&["a"], &[("a", "1")], &[("a", "2")]));
        assert!(!same(&["a"], &[("a", "1")], &[]));
        assert!(!same(&["a"], &[], &[("a", "")]));
        assert!(!same(&["b, a"], &[("a", "1")], &[("a", "2")]));
        assert!(!same(&["b", "a"], &[("a", "1")], &[("a", "2")]));
        assert!(!same(&["", ", b,,a"], &[("a", "1")], &[("a", "2")]));
    }

    #[test]
    fn lines_are_combined_and_blanks_around_commas_removed() {
        assert!(same(&["a"], &[("a", "1, 2")], &[("a", "1"), ("a", "2")]));
        assert!(same(&["a"], &[("a", "1,2")], &[("a", "1 ,\t2")]));
        assert!(!same(&["a"], &[("a", "1, 2")], &[("a", "2, 1")]));
        assert!(!same(&["a"], &[("a", "x")], &[("a", "X")]));
        assert!(!same(&["a"], &[("a", "\"1, 2\"")], &[("a", "\"1,2\"")]));
        assert!(!same(
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
            assert!(!same(vary, &[], &[]), "{vary:?}");
            let lines: Vec<_> = vary.iter().map(|line| ("vary", *line)).collect();
            assert!(is_unmatchable(&head(&lines), false), "{vary:?}");
        }
    }

    #[test]
    fn a_credential_is_neither_kept_nor_shared_over() {
        let response = head(&[("vary", "Authorization")]);
        let selecting =
            Selecting::capture(&response, &head(&[("authorization", "Bearer s3cret")]), &[])
                .expect("authorization can be captured");
        assert_eq!(format!("{selecting:?}"), "Selecting([])");
        assert!(!is_unmatchable(&response, false));
        assert!(is_unmatchable(&response, true));
    }
}
