//! Percent-decoding of an option's value.

use std::borrow::Cow;

use super::FaultKind;
use super::grammar::Wrong;

/// The text that an option's value stands for: `%XX` is a byte, everything else is itself.
///
/// `+` is a plus sign: this is the query of RFC 3986, not a form. A blank in a name is `%20`.
///
/// # Errors
///
/// [`FaultKind::Percent`] and [`FaultKind::NotUtf8`], each with its character.
pub(super) fn decode(sent: &str) -> Result<Cow<'_, str>, Wrong> {
    if memchr::memchr(b'%', sent.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(sent));
    }
    let mut bytes = Vec::with_capacity(sent.len());
    let mut rest = sent;
    while let Some((plain, coded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = coded
            .get(..2)
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let Some(byte) = byte else {
            let before = &sent[..sent.len() - coded.len()];
            return Err((before.chars().count(), FaultKind::Percent));
        };
        bytes.push(byte);
        rest = &coded[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map(Cow::Owned).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        (
            String::from_utf8_lossy(valid).chars().count() + 1,
            FaultKind::NotUtf8,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once() {
        for (sent, text) in [
            ("a.b", "a.b"),
            ("a%2Cb%2cc", "a,b,c"),
            ("%2a%2A.x", "**.x"),
            ("a+b", "a+b"),
            ("%2B%2541", "+%41"),
            ("na%C3%AFve", "naïve"),
            ("na\u{ef}ve%20x", "naïve x"),
            ("%00", "\0"),
        ] {
            assert_eq!(decode(sent), Ok(Cow::Borrowed(text)), "{sent}");
        }
        for (sent, place, kind) in [
            ("%", 1, FaultKind::Percent),
            ("ab%4", 3, FaultKind::Percent),
            ("é%G1", 2, FaultKind::Percent),
            ("a%20%+1", 5, FaultKind::Percent),
            ("%é", 1, FaultKind::Percent),
            ("a%C3%A9%FF", 3, FaultKind::NotUtf8),
        ] {
            assert_eq!(decode(sent), Err((place, kind)), "{sent}");
        }
    }
}
