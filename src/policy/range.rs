//! `Range` requests for one range of bytes (RFC 9110 §14).

use std::ops::Range;

/// What a `Range` field asks of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// The whole: another unit, several ranges, or not valid. §14.2 lets a server ignore
    /// any of them.
    Whole,
    /// These bytes: 206.
    Part(Range<u64>),
    /// Bytes that the body does not have: 416.
    Unsatisfiable,
}

/// Reads `bytes=a-b`, `bytes=a-` or `bytes=-n` against a body of `length` bytes.
#[must_use]
pub fn ranged(field: &[u8], length: u64) -> Ranged {
    let Some(spec) = spec(field) else {
        return Ranged::Whole;
    };
    let part = match spec {
        (Some(first), Some(last)) if first > last => return Ranged::Whole,
        (Some(first), last) => {
            first..last.map_or(length, |last| last.saturating_add(1).min(length))
        }
        (None, Some(suffix)) => length.saturating_sub(suffix)..length,
        (None, None) => return Ranged::Whole,
    };
    if part.is_empty() {
        Ranged::Unsatisfiable
    } else {
        Ranged::Part(part)
    }
}

/// The numbers before and after the hyphen.
fn spec(field: &[u8]) -> Option<(Option<u64>, Option<u64>)> {
    let text = std::str::from_utf8(field).ok()?;
    let (unit, set) = text.split_once('=')?;
    // Units are case-insensitive (§14.1).
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
    Some((number(first)?, number(last)?))
}

/// `None` for what is no number, `Some(None)` for nothing at all.
#[expect(clippy::option_option, reason = "absent and wrong are two things here")]
fn number(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // Too many digits for a u64 are more than any body has.
    Some(Some(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood() {
        let table = [
            ("bytes=0-0", Ranged::Part(0..1)),
            ("bytes=2-5", Ranged::Part(2..6)),
            ("Bytes= 2-5", Ranged::Part(2..6)),
            ("bytes=2-", Ranged::Part(2..10)),
            ("bytes=2-99999999999999999999999", Ranged::Part(2..10)),
            ("bytes=-3", Ranged::Part(7..10)),
            ("bytes=-30", Ranged::Part(0..10)),
            ("bytes=10-", Ranged::Unsatisfiable),
            ("bytes=10-12", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
            ("bytes=5-2", Ranged::Whole),
            ("bytes=0-1,4-5", Ranged::Whole),
            ("bytes=-", Ranged::Whole),
            ("bytes=a-b", Ranged::Whole),
            ("bytes=+1-2", Ranged::Whole),
            ("bytes 0-1", Ranged::Whole),
            ("items=0-1", Ranged::Whole),
        ];
        for (field, then) in table {
            assert_eq!(ranged(field.as_bytes(), 10), then, "{field}");
        }
        assert_eq!(ranged(b"bytes=-1", 0), Ranged::Unsatisfiable);
    }
}
