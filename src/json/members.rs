//! The members of the outermost object, and how much of the text each takes.

use super::scan::{self, blanks, byte, member_name};
use super::{JsonFault, Raw, skip_value};

/// Calls `each` for the members of the object that a text is: its name, and its bytes from the opening quote
/// of the name to the comma or brace behind the value, that one included.
///
/// # Errors
///
/// As [`check`](super::check); a text that is some other value than an object is
/// [`JsonFault::NotJson`]. `each` was called for the members before the fault.
pub fn members(text: &[u8], mut each: impl FnMut(Raw<'_>, usize)) -> Result<(), JsonFault> {
    std::str::from_utf8(text).map_err(|_| JsonFault::NotJson)?;
    let mut at = blanks(text, 0);
    if byte(text, at) != b'{' {
        return Err(JsonFault::NotJson);
    }
    at = blanks(text, at + 1);
    let mut last = byte(text, at) == b'}';
    if last {
        at += 1;
    }
    while !last {
        let began = at;
        let (name, value) = member_name(text, at)?;
        at = blanks(text, skip_value(text, value, 1)?);
        last = match byte(text, at) {
            b',' => false,
            b'}' => true,
            _ => return Err(JsonFault::NotJson),
        };
        at += 1;
        each(name, at - began);
        if !last {
            at = blanks(text, at);
        }
    }
    scan::end(text, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Vec<(String, usize)>, JsonFault> {
        let mut told = Vec::new();
        members(text.as_bytes(), |name, bytes| {
            let name = String::from_utf8_lossy(&name.unescaped()).into_owned();
            told.push((name, bytes));
        })?;
        Ok(told)
    }

    #[test]
    fn each_member_has_its_bytes() {
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
            assert_eq!(told(text), Ok(expected.collect()), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
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
            assert_eq!(told(text), Err(JsonFault::NotJson), "{text}");
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(1_024), "]".repeat(1_024));
        assert_eq!(told(&deep), Err(JsonFault::TooDeep));
    }
}
