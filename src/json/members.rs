//! The members of the outermost object, with their sizes.

use super::scan::{self, byte, member_name, skip_whitespace};
use super::{JsonFault, RawString, skip_value};

/// Calls `each` for each member of a JSON object, with its name and its size in bytes: from the opening
/// quote of the name to the comma or brace after the value, included.
///
/// # Errors
///
/// As [`check`](super::check), and [`JsonFault::NotJson`] if the value is not an object. `each` was
/// called for the members before the fault.
pub fn members(text: &[u8], mut each: impl FnMut(RawString<'_>, usize)) -> Result<(), JsonFault> {
    std::str::from_utf8(text).map_err(|_| JsonFault::NotJson)?;
    let mut at = skip_whitespace(text, 0);
    if byte(text, at) != b'{' {
        return Err(JsonFault::NotJson);
    }
    at = skip_whitespace(text, at + 1);
    let mut last = byte(text, at) == b'}';
    if last {
        at += 1;
    }
    while !last {
        let start = at;
        let (name, value) = member_name(text, at)?;
        at = skip_whitespace(text, skip_value(text, value, 1)?);
        last = match byte(text, at) {
            b',' => false,
            b'}' => true,
            _ => return Err(JsonFault::NotJson),
        };
        at += 1;
        each(name, at - start);
        if !last {
            at = skip_whitespace(text, at);
        }
    }
    scan::end(text, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Result<Vec<(String, usize)>, JsonFault> {
        let mut sizes = Vec::new();
        members(text.as_bytes(), |name, bytes| {
            let name = String::from_utf8_lossy(&name.unescaped()).into_owned();
            sizes.push((name, bytes));
        })?;
        Ok(sizes)
    }

    #[test]
    fn members_are_reported_with_their_sizes() {
        let cases: [(&str, &[(&str, usize)]); 5] = [
            ("{}", &[]),
            (" { } ", &[]),
            (r#"{"a":1}"#, &[("a", 6)]),
            (r#"{"a":[1,2],"b":{"a":{}}}"#, &[("a", 10), ("b", 13)]),
            (
                "{ \"a\\u0062\" : \"x\" ,\n\"ab\":null }",
                &[("ab", 17), ("ab", 11)],
            ),
        ];
        for (text, expected) in cases {
            let expected = expected
                .iter()
                .map(|(name, bytes)| ((*name).into(), *bytes));
            assert_eq!(sizes(text), Ok(expected.collect()), "{text}");
        }
    }

    #[test]
    fn texts_that_are_not_one_object_are_rejected() {
        for text in [
            "",
            "[]",
            "null",
            "{",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            r#"{"a":1}}"#,
            r#"{"a":1]"#,
            "{}{}",
            r#"{"a":[1}"#,
            "{,}",
        ] {
            assert_eq!(sizes(text), Err(JsonFault::NotJson), "{text}");
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(1_024), "]".repeat(1_024));
        assert_eq!(sizes(&deep), Err(JsonFault::TooDeep));
    }
}
