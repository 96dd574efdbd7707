//! The parameters of a query of the admin listener, in any order.

use crate::policy::percent_decoded;

/// The values of these parameters, as sent; `None` if the query has another one, or one twice.
pub(super) fn parameters<'q, const N: usize>(
    query: &'q str,
    names: [&str; N],
) -> Option<[Option<&'q str>; N]> {
    let mut values = [None; N];
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=')?;
        let index = names.iter().position(|known| *known == name)?;
        if values[index].replace(value).is_some() {
            return None;
        }
    }
    Some(values)
}

/// The path in a value: percent-encoded by the client, or as sent in a request. `None` with a query or as a
/// pattern, which would be taken for a part of the path.
pub(crate) fn path(value: &str) -> Option<String> {
    if value.starts_with('/') {
        return is_literal(value).then(|| value.to_owned());
    }
    let has_query = ["%3F", "%3f"].iter().any(|mark| value.contains(mark));
    let path = percent_decoded(value);
    (!has_query && is_literal(value) && path.starts_with('/')).then(|| path.into_owned())
}

/// Whether a path or a segment, as sent, has neither a query nor the `*` of a pattern.
pub(super) fn is_literal(sent: &str) -> bool {
    !sent.contains(['?', '*'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_in_any_order() {
        let names = ["path", "scope"];
        for (query, expected) in [
            ("path=/a", Some([Some("/a"), None])),
            ("path=/a&scope=1", Some([Some("/a"), Some("1")])),
            ("scope=1&path=/a", Some([Some("/a"), Some("1")])),
            ("path=/a&path=/b", None),
            ("path=/a&x=1", None),
            ("path", None),
            ("", None),
        ] {
            assert_eq!(parameters(query, names), expected, "{query}");
        }
    }

    #[test]
    fn a_path_may_be_percent_encoded_as_a_value() {
        for (value, expected) in [
            ("/v1/calls/c%3A1", Some("/v1/calls/c%3A1")),
            ("%2Fv1%2Fcalls%2Fc%253A1", Some("/v1/calls/c:1")),
            ("/v1/calls/c%3F1", Some("/v1/calls/c%3F1")),
            ("%2Fv1%2Fcalls%2Fc%253F1", Some("/v1/calls/c?1")),
            ("%2Fv1%2Fcalls%2Fc1%3Fx=1", None),
            ("/v1/calls/c1?", None),
            ("/v1/*", None),
            ("v1", None),
            ("", None),
        ] {
            assert_eq!(path(value).as_deref(), expected, "{value}");
        }
    }
}
