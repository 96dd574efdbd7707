//! The scanner: whitespace, strings, numbers and literals, each validated in place.
//!
//! A function takes the rest of a text, and returns the rest after what it read: fewer bounds are
//! checked than with positions. UTF-8 is not checked here, but once for the whole text, which is
//! faster than string by string.
#![expect(
    clippy::inline_always,
    reason = "without inlining, each string is a call, and scanning a body takes a third longer"
)]

use wide::u8x16;

use super::{JsonFault, RawString};

/// The number of bytes that are compared at once: the branches do not depend on the length of a
/// shorter string, and predict well.
const BLOCK: usize = 16;

/// Two blocks and what follows them, so that no position near their end needs to be checked.
type Window = [u8; 5 * BLOCK];

/// The first byte; at the end 0, which JSON never allows.
#[inline]
pub(crate) fn first(rest: &[u8]) -> u8 {
    rest.first().copied().unwrap_or(0)
}

/// The part of a text before its `rest`.
#[inline]
pub(crate) fn before<'t>(text: &'t [u8], rest: &[u8]) -> &'t [u8] {
    &text[..text.len() - rest.len()]
}

/// Skips whitespace (RFC 8259 §2).
#[inline(always)]
pub(crate) fn skip_whitespace(rest: &[u8]) -> &[u8] {
    // Compact JSON has no whitespace: one comparison and no call.
    if first(rest) > b' ' {
        rest
    } else {
        skip_run(rest)
    }
}

#[inline(never)]
fn skip_run(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', after @ ..] = rest {
        rest = after;
        // Indentation is a run of spaces.
        while let Some(block) = rest.first_chunk() {
            let others = !u8x16::new(*block).simd_eq(u8x16::splat(b' ')).to_bitmask();
            let spaces = (others | 1 << BLOCK).trailing_zeros() as usize;
            rest = &rest[spaces..];
            if spaces < BLOCK {
                break;
            }
        }
    }
    rest
}

/// Checks that only whitespace follows the outermost value.
pub(crate) fn end(rest: &[u8]) -> Result<(), JsonFault> {
    if skip_whitespace(rest).is_empty() {
        Ok(())
    } else {
        Err(JsonFault::NotJson)
    }
}

/// Scans a string, after its opening quote. Returns the rest after its closing quote, and whether it
/// contains a backslash.
#[inline(always)]
pub(super) fn string(rest: &[u8]) -> Result<(&[u8], bool), JsonFault> {
    if let Some(window) = rest.first_chunk() {
        let length = short(window);
        if window[length] == b'"' {
            return Ok((&rest[length + 1..], false));
        }
    }
    any_string(rest)
}

/// Scans a string that is long, has a backslash or is near the end of the text.
#[inline(never)]
fn any_string(mut rest: &[u8]) -> Result<(&[u8], bool), JsonFault> {
    let mut escaped = false;
    loop {
        while let Some(block) = rest.first_chunk() {
            let plain = plain(block);
            rest = &rest[plain..];
            if plain < BLOCK {
                break;
            }
        }
        match rest {
            [b'"', after @ ..] => return Ok((after, escaped)),
            [b'\\', after @ ..] => {
                escaped = true;
                rest = escape(after)?;
            }
            // Near the end of the text.
            [b' '..=0xff, after @ ..] => rest = after,
            _ => return Err(JsonFault::NotJson),
        }
    }
}

/// The number of bytes at the start of a window before the first that is a quote, a backslash or a
/// control character; at most two blocks.
#[inline(always)]
fn short(window: &Window) -> usize {
    let block = |at| window[at..].first_chunk().map_or(0, plain);
    match block(0) {
        BLOCK => BLOCK + block(BLOCK),
        length => length,
    }
}

/// The same for one block.
#[inline(always)]
fn plain(block: &[u8; BLOCK]) -> usize {
    let block = u8x16::new(*block);
    // With this bit flipped, a quote is next to the control characters and a space is not: one
    // comparison finds both.
    let flipped = block ^ u8x16::splat(0x02);
    let low = flipped.min(u8x16::splat(0x20)).simd_eq(flipped);
    let special = (low | block.simd_eq(u8x16::splat(b'\\'))).to_bitmask();
    (special | 1 << BLOCK).trailing_zeros() as usize
}

/// Scans an escape, after its backslash.
fn escape(rest: &[u8]) -> Result<&[u8], JsonFault> {
    match rest {
        [
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
            after @ ..,
        ] => Ok(after),
        [b'u', a, b, c, d, after @ ..]
            if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            Ok(after)
        }
        _ => Err(JsonFault::NotJson),
    }
}

/// Scans a member's name and the colon. Returns the name and the rest, which begins with the value or
/// whitespace before it.
#[inline(always)]
pub(crate) fn member_name(rest: &[u8]) -> Result<(RawString<'_>, &[u8]), JsonFault> {
    if let [b'"', name @ ..] = rest
        && let Some(window) = name.first_chunk()
    {
        let length = short(window);
        // In compact JSON, a colon follows.
        if window[length..length + 2] == *b"\":" {
            let name = RawString {
                bytes: &window[..length],
                escaped: false,
            };
            return Ok((name, &rest[length + 3..]));
        }
    }
    any_name(rest)
}

/// Scans a member's name that is no short string with a colon.
#[inline(never)]
fn any_name(rest: &[u8]) -> Result<(RawString<'_>, &[u8]), JsonFault> {
    let [b'"', name @ ..] = skip_whitespace(rest) else {
        return Err(JsonFault::NotJson);
    };
    let (after, escaped) = any_string(name)?;
    let bytes = &name[..name.len() - after.len() - 1];
    let [b':', value @ ..] = skip_whitespace(after) else {
        return Err(JsonFault::NotJson);
    };
    Ok((RawString { bytes, escaped }, value))
}

/// Scans a string, number or literal.
#[inline(always)]
pub(crate) fn scalar(rest: &[u8]) -> Result<&[u8], JsonFault> {
    let after = match rest {
        [b'"', string @ ..] => return Ok(self::string(string)?.0),
        [b't', ..] => rest.strip_prefix(b"true"),
        [b'f', ..] => rest.strip_prefix(b"false"),
        [b'n', ..] => rest.strip_prefix(b"null"),
        _ => number(rest),
    };
    after.ok_or(JsonFault::NotJson)
}

#[inline]
fn number(rest: &[u8]) -> Option<&[u8]> {
    let rest = rest.strip_prefix(b"-").unwrap_or(rest);
    // No digit may follow a leading zero.
    let mut rest = match rest {
        [b'0', after @ ..] => after,
        _ => digits(rest)?,
    };
    if let [b'.', fraction @ ..] = rest {
        rest = digits(fraction)?;
    }
    if let [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] = rest {
        rest = digits(exponent)?;
    }
    Some(rest)
}

/// Scans one or more digits.
#[inline]
fn digits(rest: &[u8]) -> Option<&[u8]> {
    let [b'0'..=b'9', rest @ ..] = rest else {
        return None;
    };
    let mut rest = rest;
    while let [b'0'..=b'9', after @ ..] = rest {
        rest = after;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_is_found_at_every_position() {
        for special in (0..0x20).chain([b'"', b'\\']) {
            for before in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff] {
                for after in [b'a', b'"', b'\\', 0, 0x1f, 0x20, 0xff] {
                    for place in 0..40 {
                        let mut text = [after; size_of::<Window>()];
                        text[..place].fill(before);
                        text[place] = special;
                        assert_eq!(short(&text), place.min(2 * BLOCK), "{text:?}");
                        let end = (special == b'"').then_some((place + 1, false));
                        // A window of it, and the last bytes of a text.
                        for text in [&text[..], &text[..=place]] {
                            let scanned = string(text).ok();
                            let scanned =
                                scanned.map(|(rest, escaped)| (text.len() - rest.len(), escaped));
                            assert!(scanned == end || special == b'\\', "{text:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_follow_the_grammar() {
        for good in ["0", "-0", "10", "1.5", "1e5", "1E+5", "-1.25e-300", "1e999"] {
            assert_eq!(number(good.as_bytes()), Some(&b""[..]), "{good}");
        }
        for bad in ["", "-", "+1", ".5", "1.", "1e", "1e+", "a", "-a", "1.e5"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(
            number(b"01"),
            Some(&b"1"[..]),
            "the number ends after the leading zero"
        );
    }

    #[test]
    fn strings_end_at_their_closing_quote() {
        for (text, end) in [
            (r#"""#, Some(1)),
            (r#"abc" "#, Some(4)),
            (r#"a\"bcdefghij""#, Some(13)),
            (r#"\\""#, Some(3)),
            (r#"\u00e9\ud800""#, Some(13)),
            (r#"\u00g9""#, None),
            (r"\u00", None),
            (r#"\x""#, None),
            ("a\nb\"", None),
            ("abc", None),
            ("\\", None),
        ] {
            // Alone, and far from the end of a text.
            for text in [text.to_owned(), format!("{text}{}", "\n".repeat(100))] {
                let scanned = string(text.as_bytes()).map(|(rest, _)| text.len() - rest.len());
                assert_eq!(scanned.ok(), end, "{text}");
            }
        }
    }

    #[test]
    fn only_whitespace_of_the_grammar_is_skipped() {
        assert_eq!(skip_whitespace(b" \t\r\n          x"), b"x");
        assert_eq!(skip_whitespace(b"\x0b"), b"\x0b");
        assert_eq!(skip_whitespace(b"  "), b"");
    }
}
