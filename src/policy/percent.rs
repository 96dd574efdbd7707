//! Percent-decoding (RFC 3986 §2.1) until nothing is encoded.

use std::borrow::Cow;

/// Decodes every percent-encoding, also one that a decoded percent sign begins; malformed ones stay.
/// Bytes that are not UTF-8 are replaced. Idempotent.
pub fn percent_decoded(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        out.push(byte);
        while let [.., b'%', high, low] = *out
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            out.truncate(out.len() - 3);
            out.push(high << 4 | low);
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn digit(hex: u8) -> Option<u8> {
    let digit = char::from(hex).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_well_formed_encoding_is_decoded() {
        for (text, decoded) in [
            ("", ""),
            ("c:1", "c:1"),
            ("c%3A1%3a%2F%41", "c:1:/A"),
            ("%2541", "A"),
            ("%252525%34%31", "A"),
            ("a%", "a%"),
            ("%4", "%4"),
            ("%zz%+1%%37", "%zz%+1%7"),
            ("%%37%38", "x"),
            ("%c3%a9%ff", "\u{e9}\u{fffd}"),
        ] {
            assert_eq!(percent_decoded(text), decoded, "{text}");
        }
    }
}
