//! Skipping and validating a whole value.

use super::scan::{self, before, first, member_name, scalar, skip_whitespace};
use super::{JsonFault, MAX_DEPTH, RawString};

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

/// Skips a value inside `depth` open containers, and returns the rest of the text after it.
///
/// Everything is validated except UTF-8.
///
/// # Errors
///
/// [`JsonFault::NotJson`] for invalid syntax, [`JsonFault::TooDeep`] if more than [`MAX_DEPTH`]
/// containers are open, `depth` included.
#[inline]
pub fn skip_value(rest: &[u8], depth: usize) -> Result<&[u8], JsonFault> {
    match rest {
        [b'{' | b'[', ..] => walk(rest, depth, &mut Ignore),
        _ => scalar(rest),
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

/// [`check`]s a text and calls a visitor for all values, the outermost one included, which has depth 0.
pub(crate) fn visit(text: &[u8], visitor: &mut impl Visit) -> Result<(), JsonFault> {
    std::str::from_utf8(text).map_err(|_| JsonFault::NotJson)?;
    let value = skip_whitespace(text);
    let rest = if let [b'{' | b'[', ..] = value {
        walk(value, 0, visitor)?
    } else {
        let rest = scalar(value)?;
        visitor.value(None, before(value, rest), 0);
        rest
    };
    scan::end(rest)
}

/// Skips a container.
fn walk<'t>(
    mut rest: &'t [u8],
    base: usize,
    visitor: &mut impl Visit,
) -> Result<&'t [u8], JsonFault> {
    let mut kinds = Kinds([0; MAX_DEPTH / 64]);
    let (mut depth, mut closing) = (base, 0);
    // Each iteration reads the outermost container's bracket, or one member or element.
    loop {
        let (mut name, mut value) = (None, rest);
        if closing == b'}' {
            let member = member_name(rest)?;
            (name, value) = (Some(member.0), member.1);
        }
        if let [b'"', string @ ..] = value {
            rest = scan::string(string)?.0;
        } else {
            value = skip_whitespace(value);
            if let [bracket @ (b'{' | b'['), after @ ..] = value {
                visitor.value(name, &[], depth);
                if depth >= MAX_DEPTH {
                    return Err(JsonFault::TooDeep);
                }
                kinds.set(depth, *bracket == b'{');
                closing = kinds.closing(depth);
                depth += 1;
                rest = skip_whitespace(after);
                if first(rest) != closing {
                    continue;
                }
                value = &[];
            } else {
                rest = scalar(value)?;
            }
        }
        // An empty container has been visited before.
        if !value.is_empty() {
            visitor.value(name, before(value, rest), depth);
        }
        // Each iteration closes one container, or none before a comma that has whitespace before it.
        loop {
            if let [b',', after @ ..] = rest {
                rest = after;
                break;
            }
            match skip_whitespace(rest) {
                [bracket, after @ ..] if *bracket == closing => rest = after,
                comma @ [b',', ..] => {
                    rest = comma;
                    continue;
                }
                _ => return Err(JsonFault::NotJson),
            }
            visitor.end(depth);
            depth -= 1;
            if depth == base {
                return Ok(rest);
            }
            closing = kinds.closing(depth - 1);
        }
        rest = skip_whitespace(rest);
    }
}

impl Visit for Ignore {}

impl Kinds {
    #[inline]
    fn set(&mut self, depth: usize, object: bool) {
        let bit = 1 << (depth % 64);
        if object {
            self.0[Self::word(depth)] |= bit;
        } else {
            self.0[Self::word(depth)] &= !bit;
        }
    }

    #[inline]
    fn closing(&self, depth: usize) -> u8 {
        let object = self.0[Self::word(depth)] >> (depth % 64) & 1 == 1;
        if object { b'}' } else { b']' }
    }

    /// The remainder changes nothing below [`MAX_DEPTH`], and saves a check of the bound.
    #[inline]
    fn word(depth: usize) -> usize {
        depth / 64 % (MAX_DEPTH / 64)
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
        assert_eq!(skip_value(&nested(24), MAX_DEPTH - 24), Ok(&b""[..]));
        assert_eq!(skip_value(b"[]", MAX_DEPTH), Err(JsonFault::TooDeep));
        assert_eq!(skip_value(b"1", MAX_DEPTH), Ok(&b""[..]));
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
        // Near the end of a text, less is read in blocks.
        assert_eq!(check(&[text, &[b' '; 100]].concat()).is_ok(), ours);
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
