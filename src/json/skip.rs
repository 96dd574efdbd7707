//! Skipping and validating a whole value.

use super::scan::{self, byte, member_name, scalar, skip_whitespace};
use super::{JsonFault, MAX_DEPTH, RawString, is_utf8};

/// A visitor of the skipped values; what it does not define is ignored, at no cost.
pub(crate) trait Visit {
    /// Called for the value of a member or element: a scalar as written, empty for a container that
    /// begins. Elements have no name. `depth` containers are open.
    #[inline]
    fn value(&mut self, _name: Option<RawString<'_>>, _value: &[u8], _depth: usize) {}

    /// Called at the end of the innermost of `depth` open containers.
    #[inline]
    fn end(&mut self, _depth: usize) {}
}

/// A visitor that ignores all values.
struct Ignore;

/// Which of the open containers are objects, in one bit each: skipping does not allocate.
struct Kinds([u64; MAX_DEPTH / 64]);

/// Skips the value at `at`, inside `depth` open containers, and returns the position after it.
///
/// Everything is validated except UTF-8.
///
/// # Errors
///
/// [`JsonFault::NotJson`] for invalid syntax, [`JsonFault::TooDeep`] if more than [`MAX_DEPTH`]
/// containers are open, `depth` included.
#[inline]
pub fn skip_value(text: &[u8], at: usize, depth: usize) -> Result<usize, JsonFault> {
    match byte(text, at) {
        b'{' | b'[' => walk(text, at, depth, &mut Ignore),
        _ => scalar(text, at),
    }
}

/// Checks that a text is one JSON value in UTF-8, no deeper than [`MAX_DEPTH`].
///
/// # Errors
///
/// As [`skip_value`], and [`JsonFault::NotJson`] if the text is not UTF-8 or continues after the
/// value.
pub fn check(text: &[u8]) -> Result<(), JsonFault> {
    visit(text, &mut Ignore)
}

/// [`check`]s a text and calls a visitor for all values in its outermost container; for a scalar
/// text, once at depth 0.
pub(crate) fn visit(text: &[u8], visitor: &mut impl Visit) -> Result<(), JsonFault> {
    if !is_utf8(text) {
        return Err(JsonFault::NotJson);
    }
    let at = skip_whitespace(text, 0);
    let end = match byte(text, at) {
        b'{' | b'[' => walk(text, at, 0, visitor)?,
        _ => {
            let end = scalar(text, at)?;
            visitor.value(None, &text[at..end], 0);
            end
        }
    };
    scan::end(text, end)
}

/// Skips the container at `at`.
fn walk(
    text: &[u8],
    mut at: usize,
    base: usize,
    visitor: &mut impl Visit,
) -> Result<usize, JsonFault> {
    let mut kinds = Kinds([0; MAX_DEPTH / 64]);
    let mut depth = base;
    // Each iteration opens the container at `at`.
    'open: loop {
        if depth >= MAX_DEPTH {
            return Err(JsonFault::TooDeep);
        }
        let mut object = byte(text, at) == b'{';
        kinds.set(depth, object);
        depth += 1;
        at = skip_whitespace(text, at + 1);
        let mut empty = byte(text, at) == if object { b'}' } else { b']' };
        // Each iteration reads one member or element, unless the container is empty.
        loop {
            if !empty {
                let mut name = None;
                if object {
                    let (member, value) = member_name(text, at)?;
                    name = Some(member);
                    at = value;
                }
                let begin = at;
                if matches!(byte(text, at), b'{' | b'[') {
                    visitor.value(name, &[], depth);
                    continue 'open;
                }
                at = scalar(text, at)?;
                visitor.value(name, &text[begin..at], depth);
            }
            empty = false;
            // Each iteration closes one container.
            loop {
                at = skip_whitespace(text, at);
                match byte(text, at) {
                    b',' => break,
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return Err(JsonFault::NotJson),
                }
                at += 1;
                visitor.end(depth);
                depth -= 1;
                if depth == base {
                    return Ok(at);
                }
                object = kinds.get(depth - 1);
            }
            at = skip_whitespace(text, at + 1);
        }
    }
}

impl Visit for Ignore {}

impl Kinds {
    #[inline]
    fn set(&mut self, depth: usize, object: bool) {
        let bit = 1 << (depth % 64);
        if object {
            self.0[depth / 64] |= bit;
        } else {
            self.0[depth / 64] &= !bit;
        }
    }

    #[inline]
    fn get(&self, depth: usize) -> bool {
        self.0[depth / 64] >> (depth % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_texts_are_accepted() {
        for text in [
            "{}",
            "[]",
            " [ ] ",
            "null",
            r#""x""#,
            "-1.5e3",
            r#"{"a":{"b":[1,[],{}]},"c":null}"#,
            "{ \"a\" : 1 ,\r\n\t\"b\" : [ true , false ] }",
            r#"["\ud800"]"#,
            "[1e999]",
            r#"{"a":1,"a":2}"#,
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn invalid_texts_are_rejected() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "{]",
            "[}",
            "[1,]",
            "[,]",
            "[,1]",
            r#"{"a":1,}"#,
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            "{a:1}",
            "[1 2]",
            "[]]",
            "{}{}",
            "nul",
            "nulll",
            "01",
            "[01]",
            "\u{feff}{}",
            "[\"a\tb\"]",
            "'a'",
            "[1]\0",
            r#"{"a":[{"b":1]}"#,
        ] {
            assert_eq!(check(text.as_bytes()), Err(JsonFault::NotJson), "{text}");
        }
        assert_eq!(check(b"[\"\xff\"]"), Err(JsonFault::NotJson));
    }

    #[test]
    fn nesting_is_limited_without_recursion() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(JsonFault::TooDeep));
        assert_eq!(check(&nested(4_000_000)), Err(JsonFault::TooDeep));
        assert_eq!(skip_value(&nested(24), 0, MAX_DEPTH - 24), Ok(48));
        assert_eq!(skip_value(b"[]", 0, MAX_DEPTH), Err(JsonFault::TooDeep));
        assert_eq!(skip_value(b"1", 0, MAX_DEPTH), Ok(1));
    }

    /// Whether `serde_json` rejects a text for a value, not for its grammar.
    fn rejects_a_value(error: &serde_json::Error) -> bool {
        let message = error.to_string();
        [
            "number out of range",
            "surrogate",
            "hex escape",
            "recursion limit",
        ]
        .iter()
        .any(|reason| message.contains(reason))
    }

    fn agrees_with_serde(text: &[u8]) {
        let ours = check(text).is_ok();
        match serde_json::from_slice::<serde_json::Value>(text) {
            Ok(_) => assert!(ours, "{:?}", String::from_utf8_lossy(text)),
            Err(e) if rejects_a_value(&e) => {}
            Err(e) => assert!(!ours, "{e}: {:?}", String::from_utf8_lossy(text)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn validity_agrees_with_serde_json(
            text in r#"([\[\]{},: \n]|"[a\\"nu\n]{0,9}"|-?[0-9.eE+]{1,5}|true|false|null|"k":){0,12}"#,
        ) {
            agrees_with_serde(text.as_bytes());
        }

        #[test]
        fn validity_agrees_after_a_changed_byte(at in 0..SAMPLE.len(), byte in any::<u8>()) {
            let mut text = SAMPLE.as_bytes().to_vec();
            text[at] = byte;
            agrees_with_serde(&text);
            text.truncate(at);
            agrees_with_serde(&text);
        }

        #[test]
        fn validity_agrees_for_arbitrary_bytes(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            agrees_with_serde(&text);
        }
    }

    const SAMPLE: &str = concat!(
        r#"{"id":"c1","n":[0,-1.5e+3,{"é":null}], "t" : "a\n\u00e9\\\"b long enough for a word","#,
        "\n        \"o\": {\"p\": true, \"q\": false}, \"e\": [], \"f\": {} }\n"
    );
}
