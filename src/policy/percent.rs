//! Percent-decoding (RFC 3986 §2.1), of every encoding and of none that is malformed.

use std::borrow::Cow;

/// Decodes each percent-encoding once; other percent signs stay. Bytes that are not UTF-8 are
/// replaced.
#[must_use]
pub fn percent_decoded(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = match (*first, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => u8::try_from(high << 4 | low).ok(),
            _ => None,
        };
        out.push(byte.unwrap_or(*first));
        rest = byte.map_or(after, |_| &after[2..]);
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_well_formed_encoding_is_decoded_once() {
        for (text, decoded) in [
            ("", ""),
            ("c:1", "c:1"),
            ("c%3A1%3a%2F%41", "c:1:/A"),
            ("%2541", "%41"),
            ("a%", "a%"),
            ("%4", "%4"),
            ("%zz%+1%%37", "%zz%+1%7"),
            ("%c3%a9%ff", "\u{e9}\u{fffd}"),
        ] {
            assert_eq!(percent_decoded(text), decoded, "{text}");
        }
    }
}
