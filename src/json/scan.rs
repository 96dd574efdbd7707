//! The smallest pieces: blanks, strings, numbers and literals, each read and checked in place.
//!
//! UTF-8 is not looked at here: it is checked once for the whole text, which is faster than
//! string by string.
#![expect(
    clippy::inline_always,
    reason = "without it each string is a call, and a pass over a body takes a third more"
)]

use wide::u8x16;

use super::{JsonFault, Raw};

const SPACES: u64 = 0x2020_2020_2020_2020;

/// The byte at a position; 0, which JSON allows nowhere, behind the end.
#[inline]
pub(crate) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// Eight bytes from a position, the first one lowest.
#[inline]
fn word(text: &[u8], at: usize) -> Option<u64> {
    let eight = text.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*eight))
}

/// The position of the first byte that is no blank (RFC 8259 §2).
#[inline]
pub(crate) fn blanks(text: &[u8], at: usize) -> usize {
    // Compact JSON has none: one comparison, and no call.
    if byte(text, at) > b' ' {
        at
    } else {
        blanks_from(text, at)
    }
}

fn blanks_from(text: &[u8], mut at: usize) -> usize {
    while matches!(byte(text, at), b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
        // Indentation is a run of spaces.
        while word(text, at) == Some(SPACES) {
            at += 8;
        }
    }
    at
}

/// Nothing but blanks may follow the outermost value, which ends at `at`.
pub(crate) fn end(text: &[u8], at: usize) -> Result<(), JsonFault> {
    if blanks(text, at) == text.len() {
        Ok(())
    } else {
        Err(JsonFault::NotJson)
    }
}

/// A string: takes the position behind its opening quote, answers the one behind its closing
/// quote and whether there is a backslash in it.
#[inline(always)]
pub(super) fn string(text: &[u8], at: usize) -> Result<(usize, bool), JsonFault> {
    let at = plain(text, at);
    if byte(text, at) == b'"' {
        Ok((at + 1, false))
    } else {
        Ok((escaped_string(text, at)?, true))
    }
}

/// The rest of a string from its first backslash on: answers the position behind its closing quote.
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
/// Sixteen bytes at a time: nearly every name and most values end within the first block, so that
/// their lengths do not decide which way a branch goes.
#[inline(always)]
fn plain(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let found = special(*block);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    while byte(text, at) >= b' ' && !matches!(byte(text, at), b'"' | b'\\') {
        at += 1;
    }
    at
}

/// A bit for every byte that is a quote, a backslash or below 0x20, the first one lowest.
#[inline(always)]
fn special(block: [u8; 16]) -> u32 {
    let block = u8x16::new(block);
    // With this bit turned, a quote follows the control characters and a blank does not: one
    // comparison finds both.
    let turned = block ^ u8x16::splat(0x02);
    let low = turned.min(u8x16::splat(0x20)).simd_eq(turned);
    (low | block.simd_eq(u8x16::splat(b'\\'))).to_bitmask()
}

/// An escape: takes the position of the backslash, answers the one behind the escape.
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

/// A member's name, its colon and the blanks around that: takes the position of the opening
/// quote, answers the name and the position of the value.
#[inline(always)]
pub(crate) fn member_name(text: &[u8], at: usize) -> Result<(Raw<'_>, usize), JsonFault> {
    if byte(text, at) != b'"' {
        return Err(JsonFault::NotJson);
    }
    let (end, escaped) = string(text, at + 1)?;
    let colon = blanks(text, end);
    if byte(text, colon) != b':' {
        return Err(JsonFault::NotJson);
    }
    let name = Raw {
        bytes: &text[at + 1..end - 1],
        escaped,
    };
    Ok((name, blanks(text, colon + 1)))
}

/// A string, number or literal at a position: answers the position behind it.
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
    // A leading zero stands alone.
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

/// One or more digits.
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
    fn the_first_special_byte_is_found_wherever_it_stands() {
        for special_byte in (0..0x20).chain([b'"', b'\\']) {
            for before in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff] {
                for behind in [b'a', b'"', b'\\', 0, 0x1f, 0x20, 0xff] {
                    for place in 0..40 {
                        let mut text = vec![before; place];
                        text.push(special_byte);
                        text.extend([behind; 17]);
                        assert_eq!(plain(&text, 0), place, "{text:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_are_those_of_the_grammar() {
        for good in ["0", "-0", "10", "1.5", "1e5", "1E+5", "-1.25e-300", "1e999"] {
            assert_eq!(number(good.as_bytes(), 0), Ok(good.len()), "{good}");
        }
        for bad in ["", "-", "+1", ".5", "1.", "1e", "1e+", "a", "-a", "1.e5"] {
            assert_eq!(number(bad.as_bytes(), 0), Err(JsonFault::NotJson), "{bad}");
        }
        assert_eq!(
            number(b"01", 0),
            Ok(1),
            "the second digit belongs to nothing"
        );
    }

    #[test]
    fn strings_end_at_their_own_quote() {
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
            let found = string(text.as_bytes(), 0).ok().map(|(at, _)| at);
            assert_eq!(found, end, "{text}");
        }
    }

    #[test]
    fn blanks_are_the_four_of_the_grammar() {
        assert_eq!(blanks(b" \t\r\n          x", 0), 14);
        assert_eq!(blanks(b"\x0b", 0), 0);
        assert_eq!(blanks(b"  ", 0), 2);
    }
}
