//! JSON strings: as written, and with escapes resolved.

use std::borrow::Cow;

/// A validated string as written between its quotes, escapes included.
#[derive(Clone, Copy, Debug)]
pub struct RawString<'a> {
    /// The bytes between the quotes.
    pub bytes: &'a [u8],
    /// Whether they contain a backslash.
    pub escaped: bool,
}

impl<'a> RawString<'a> {
    /// The bytes of the string, with escapes resolved by [`unescape`].
    #[inline]
    pub fn unescaped(self) -> Cow<'a, [u8]> {
        if self.escaped {
            Cow::Owned(unescape(self.bytes))
        } else {
            Cow::Borrowed(self.bytes)
        }
    }
}

/// The text of a validated value; `None` unless it is a string in UTF-8.
pub(crate) fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let bytes = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let escaped = memchr::memchr(b'\\', bytes).is_some();
    match (RawString { bytes, escaped }).unescaped() {
        Cow::Borrowed(plain) => std::str::from_utf8(plain).ok().map(Cow::Borrowed),
        Cow::Owned(plain) => String::from_utf8(plain).ok().map(Cow::Owned),
    }
}

/// Resolves the escapes of a validated string.
///
/// The result is UTF-8, except that an unpaired surrogate is encoded in three bytes as if it were a
/// character (WTF-8). So it differs from every valid string, and only `*` in a view matches it.
pub fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(plain) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..plain]);
        let kind = rest.get(plain + 1).copied().unwrap_or(b'\\');
        rest = rest.get(plain + 2..).unwrap_or_default();
        match kind {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => rest = unescape_unicode(rest, &mut out),
            itself => out.push(itself),
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Resolves one `\u` escape, or two that form a surrogate pair; `rest` begins after the `u`.
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let (unit, rest) = unit(rest);
    let pair = rest.strip_prefix(b"\\u").map(self::unit);
    if let (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, after))) = (unit, pair) {
        push(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00), out);
        return after;
    }
    push(unit, out);
    rest
}

/// Parses four hexadecimal digits.
fn unit(text: &[u8]) -> (u32, &[u8]) {
    let (hex, rest) = text.split_at(text.len().min(4));
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0);
    (
        hex.iter().fold(0, |unit, byte| unit << 4 | digit(byte)),
        rest,
    )
}

fn push(code: u32, out: &mut Vec<u8>) {
    if let Some(char) = char::from_u32(code) {
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let [.., high, low] = code.to_be_bytes();
        out.extend_from_slice(&[
            0xe0 | high >> 4,
            0x80 | (high & 0x0f) << 2 | low >> 6,
            0x80 | low & 0x3f,
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_are_resolved_as_in_serde_json() {
        for raw in [
            "",
            "plain",
            r#"a\"\\\/\b\f\n\r\tb"#,
            r"\u0061\u00e9\u20ac",
            r"\ud83d\ude00 and \uD83D\uDE00",
            r"\u0000",
            "é\\u00e9€",
        ] {
            let text: String =
                serde_json::from_str(&format!("\"{raw}\"")).expect("each row is a JSON string");
            assert_eq!(unescape(raw.as_bytes()), text.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn an_unpaired_surrogate_becomes_wtf_8() {
        assert_eq!(unescape(br"\ud800"), b"\xed\xa0\x80");
        assert_eq!(unescape(br"\udfff"), b"\xed\xbf\xbf");
        assert_eq!(unescape(br"\ud800\u0061"), b"\xed\xa0\x80a");
        assert_eq!(
            unescape(br"\ud83d\ud83d\ude00"),
            b"\xed\xa0\xbd\xf0\x9f\x98\x80"
        );
        assert_eq!(unescape(br"\ude00\ud83d"), b"\xed\xb8\x80\xed\xa0\xbd");
    }
}
