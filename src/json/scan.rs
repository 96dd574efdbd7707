//! The scanner: whitespace, strings, numbers and literals, each validated in place.
//!
//! UTF-8 is not checked here, but once for the whole text, which is faster than string by string.
#![expect(
    clippy::inline_always,
    reason = "without inlining, each string is a call, and scanning a body takes a third longer"
)]

use wide::u8x16;

use super::{JsonFault, RawString};

const SPACES: u64 = 0x2020_2020_2020_2020;

/// The byte at a position; after the end 0, which JSON never allows.
#[inline]
pub(crate) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// The eight bytes from a position on, the first one lowest.
#[inline]
fn word(text: &[u8], at: usize) -> Option<u64> {
    let eight = text.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*eight))
}

/// Skips whitespace (RFC 8259 §2) and returns the position after it.
#[inline]
pub(crate) fn skip_whitespace(text: &[u8], at: usize) -> usize {
    // Compact JSON has no whitespace: one comparison and no call.
    if byte(text, at) > b' ' {
        at
    } else {
        skip_run(text, at)
    }
}

fn skip_run(text: &[u8], mut at: usize) -> usize {
    while matches!(byte(text, at), b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
        // Indentation is a run of spaces.
        while word(text, at) == Some(SPACES) {
            at += 8;
        }
    }
    at
}

/// Checks that only whitespace follows the outermost value, which ends at `at`.
pub(crate) fn end(text: &[u8], at: usize) -> Result<(), JsonFault> {
    if skip_whitespace(text, at) == text.len() {
        Ok(())
    } else {
        Err(JsonFault::NotJson)
    }
}

/// Scans a string from the position after its opening quote. Returns the position after its closing
/// quote, and whether it contains a backslash.
#[inline(always)]
pub(super) fn string(text: &[u8], at: usize) -> Result<(usize, bool), JsonFault> {
    let at = plain(text, at);
    if byte(text, at) == b'"' {
        Ok((at + 1, false))
    } else {
        Ok((escaped_string(text, at)?, true))
    }
}

/// Scans the rest of a string from its first backslash on.
#[inline(never)]
fn escaped_string(text: &[u8], mut at: usize) -> Result<usize, JsonFault> {
    loop {
        match byte(text, at) {
            b'"' => return Ok(at + 1),
            b'\\' => at = escape(text, at)?,
            // A control character, or the end.
            _ => return Err(JsonFault::NotJson),
        }
        at = plain(text, at);
    }
}

/// The position of the first byte that is a quote, a backslash or a control character.
///
/// Sixteen bytes at a time: nearly all names and most values end in the first block, so that the
/// branches do not depend on their length and predict well.
#[inline(always)]
fn plain(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let mask = special(*block);
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 16;
    }
    while byte(text, at) >= b' ' && !matches!(byte(text, at), b'"' | b'\\') {
        at += 1;
    }
    at
}

/// A bit mask of the bytes that are a quote, a backslash or below 0x20, the first one lowest.
#[inline(always)]
fn special(block: [u8; 16]) -> u32 {
    let block = u8x16::new(block);
    // With this bit flipped, a quote is next to the control characters and a space is not: one
    // comparison finds both.
    let flipped = block ^ u8x16::splat(0x02);
    let low = flipped.min(u8x16::splat(0x20)).simd_eq(flipped);
    (low | block.simd_eq(u8x16::splat(b'\\'))).to_bitmask()
}

/// Scans an escape from the position of its backslash. Returns the position after it.
fn escape(text: &[u8], at: usize) -> Result<usize, JsonFault> {
    match byte(text, at + 1) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
        b'u' => {
            let hex = text.get(at + 2..at + 6).ok_or(JsonFault::NotJson)?;
            if hex.iter().all(u8::is_ascii_hexdigit) {
                Ok(at + 6)
            } else {
                Err(JsonFault::NotJson)
            }
        }
        _ => Err(JsonFault::NotJson),
    }
}

/// Scans a member's name, the colon and the whitespace around it, from the position of the opening
/// quote. Returns the name and the position of the value.
#[inline(always)]
pub(crate) fn member_name(text: &[u8], at: usize) -> Result<(RawString<'_>, usize), JsonFault> {
    if byte(text, at) != b'"' {
        return Err(JsonFault::NotJson);
    }
    let (end, escaped) = string(text, at + 1)?;
    let colon = skip_whitespace(text, end);
    if byte(text, colon) != b':' {
        return Err(JsonFault::NotJson);
    }
    let name = RawString {
        bytes: &text[at + 1..end - 1],
        escaped,
    };
    Ok((name, skip_whitespace(text, colon + 1)))
}

/// Scans a string, number or literal. Returns the position after it.
#[inline(always)]
pub(crate) fn scalar(text: &[u8], at: usize) -> Result<usize, JsonFault> {
    match byte(text, at) {
        b'"' => Ok(string(text, at + 1)?.0),
        b't' => literal(text, at, b"true"),
        b'f' => literal(text, at, b"false"),
        b'n' => literal(text, at, b"null"),
        _ => number(text, at),
    }
}

#[inline]
fn literal(text: &[u8], at: usize, word: &[u8]) -> Result<usize, JsonFault> {
    let end = at + word.len();
    if text.get(at..end) == Some(word) {
        Ok(end)
    } else {
        Err(JsonFault::NotJson)
    }
}

#[inline]
fn number(text: &[u8], mut at: usize) -> Result<usize, JsonFault> {
    if byte(text, at) == b'-' {
        at += 1;
    }
    // No digit may follow a leading zero.
    at = if byte(text, at) == b'0' {
        at + 1
    } else {
        digits(text, at)?
    };
    if byte(text, at) == b'.' {
        at = digits(text, at + 1)?;
    }
    if matches!(byte(text, at), b'e' | b'E') {
        at += 1;
        if matches!(byte(text, at), b'+' | b'-') {
            at += 1;
        }
        at = digits(text, at)?;
    }
    Ok(at)
}

/// Scans one or more digits. Returns the position after them.
#[inline]
fn digits(text: &[u8], at: usize) -> Result<usize, JsonFault> {
    let mut end = at;
    while byte(text, end).is_ascii_digit() {
        end += 1;
    }
    if end == at {
        Err(JsonFault::NotJson)
    } else {
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_is_found_at_every_position() {
        for special_byte in (0..0x20).chain([b'"', b'\\']) {
            for before in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff] {
                for after in [b'a', b'"', b'\\', 0, 0x1f, 0x20, 0xff] {
                    for place in 0..40 {
                        let mut text = vec![before; place];
                        text.push(special_byte);
                        text.extend([after; 17]);
                        assert_eq!(plain(&text, 0), place, "{text:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_follow_the_grammar() {
        for good in ["0", "-0", "10", "1.5", "1e5", "1E+5", "-1.25e-300", "1e999"] {
            assert_eq!(number(good.as_bytes(), 0), Ok(good.len()), "{good}");
        }
        for bad in ["", "-", "+1", ".5", "1.", "1e", "1e+", "a", "-a", "1.e5"] {
            assert_eq!(number(bad.as_bytes(), 0), Err(JsonFault::NotJson), "{bad}");
        }
        assert_eq!(
            number(b"01", 0),
            Ok(1),
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
            let scanned = string(text.as_bytes(), 0).ok().map(|(at, _)| at);
            assert_eq!(scanned, end, "{text}");
        }
    }

    #[test]
    fn only_whitespace_of_the_grammar_is_skipped() {
        assert_eq!(skip_whitespace(b" \t\r\n          x", 0), 14);
        assert_eq!(skip_whitespace(b"\x0b", 0), 0);
        assert_eq!(skip_whitespace(b"  ", 0), 2);
    }
}
