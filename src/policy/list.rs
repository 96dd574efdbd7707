//! The list syntax of RFC 9110 §5.6.1: elements of all lines of a field; commas in quotes do not count.
//!
//! Each line is split separately: an unclosed quote on one line must not swallow the next.

use http::{HeaderMap, HeaderName};

/// How a quoted part of an element is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    /// A quoted string (RFC 9110 §5.6.4): a backslash escapes the next byte.
    Escaped,
    /// An entity tag (RFC 9110 §8.8.3): a backslash is an ordinary byte.
    Plain,
}

/// The elements of a list field, trimmed; empty ones are skipped.
pub(super) fn elements<'a>(
    head: &'a HeaderMap,
    name: &HeaderName,
    quotes: Quotes,
) -> impl Iterator<Item = &'a [u8]> {
    head.get_all(name)
        .iter()
        .flat_map(move |line| split(line.as_bytes(), quotes))
}

/// The elements of one field line.
pub(super) fn split(line: &[u8], quotes: Quotes) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let left = rest?;
        let end = unquoted(left, b',', quotes);
        rest = left.get(end + 1..);
        Some(left[..end].trim_ascii())
    })
    .filter(|element| !element.is_empty())
}

/// The position of the first unquoted separator in `left`, or its length.
pub(super) fn unquoted(left: &[u8], separator: u8, quotes: Quotes) -> usize {
    let mut at = 0;
    while at < left.len() {
        match left[at] {
            byte if byte == separator => return at,
            // An unclosed quote is an ordinary byte: a `no-store` after it must be read.
            b'"' => at = closing(left, at, quotes).unwrap_or(at),
            _ => {}
        }
        at += 1;
    }
    left.len()
}

/// The position of the quote that closes the one at `open`.
pub(super) fn closing(text: &[u8], open: usize, quotes: Quotes) -> Option<usize> {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at),
            b'\\' if quotes == Quotes::Escaped => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Whether a token may contain this byte (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// `tchar` (RFC 9110 §5.6.2), as a lookup table: it is tested for every byte of every directive and
/// field name.
pub(crate) const TOKEN: [bool; 256] = ascii_table(b"!#$%&'*+-.^_`|~");

/// A lookup table of the ASCII letters and digits, and `others`.
pub(crate) const fn ascii_table(others: &[u8]) -> [bool; 256] {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements_of(line: &str, quotes: Quotes) -> Vec<&str> {
        split(line.as_bytes(), quotes)
            .map(|element| std::str::from_utf8(element).expect("the table is text"))
            .collect()
    }

    #[test]
    fn lists_are_split_at_unquoted_commas() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            (" , ,\t", &[]),
            ("a", &["a"]),
            (",a ,, b\t,", &["a", "b"]),
            (r#"a="b, c", d"#, &[r#"a="b, c""#, "d"]),
            (r#"a="b\", c", d"#, &[r#"a="b\", c""#, "d"]),
            (r#"a="b, no-store"#, &[r#"a="b"#, "no-store"]),
            (r#"a="b\"#, &[r#"a="b\"#]),
        ];
        for (line, then) in table {
            assert_eq!(elements_of(line, Quotes::Escaped), *then, "{line}");
        }
    }

    #[test]
    fn a_backslash_in_an_entity_tag_escapes_nothing() {
        assert_eq!(
            elements_of(r#""a\", "b,c""#, Quotes::Plain),
            [r#""a\""#, r#""b,c""#]
        );
    }
}
