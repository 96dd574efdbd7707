//! One cache directive: its name and its argument, often a number of seconds (RFC 9111 §5.2).

use std::borrow::Cow;
use std::time::Duration;

use super::list::{self, Quotes};

/// The largest delta-seconds value; larger ones are clamped to it (RFC 9111 §1.2.2).
pub(super) const MAX_SECONDS: u32 = 1 << 31;

/// The argument of a directive that takes a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaSeconds {
    /// Seconds, at most 2^31 (RFC 9111 §1.2.2).
    Seconds(u32),
    /// Not a number, or two different ones: the response counts as stale (RFC 9111 §4.2.1).
    Invalid,
}

/// The length of the longest directive name that we know: `stale-while-revalidate`.
pub(super) const LONGEST_NAME: usize = 22;

/// One element of the field: a name and its argument.
pub(super) struct Directive<'a> {
    pub(super) name: &'a [u8],
    pub(super) argument: Argument<'a>,
}

pub(super) enum Argument<'a> {
    Absent,
    Value(Cow<'a, [u8]>),
    Malformed { open_quote: bool },
}

// === impl DeltaSeconds ===

impl DeltaSeconds {
    /// Accepts digits only: signs, fractions and units are invalid.
    pub(super) fn read(argument: &Argument<'_>) -> Self {
        match argument {
            Argument::Value(digits) => seconds(digits).map_or(Self::Invalid, Self::Seconds),
            Argument::Absent | Argument::Malformed { .. } => Self::Invalid,
        }
    }

    /// The value as a duration; zero if invalid.
    pub fn length(self) -> Duration {
        match self {
            Self::Seconds(seconds) => Duration::from_secs(seconds.into()),
            Self::Invalid => Duration::ZERO,
        }
    }

    /// Merges a repeated directive: two different values are invalid, equal ones are one.
    pub(super) fn merge(slot: &mut Option<Self>, delta: Self) {
        *slot = Some(match *slot {
            Some(before) if before != delta => Self::Invalid,
            _ => delta,
        });
    }
}

/// Parses delta-seconds, at most 2^31 (RFC 9111 §1.2.2).
pub(super) fn seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u32, |sum, digit| {
        (sum.saturating_mul(10)).saturating_add(u32::from(digit - b'0'))
    });
    Some(number.min(MAX_SECONDS))
}

// === impl Directive ===

impl<'a> Directive<'a> {
    /// Parses an element. The name is its longest token prefix: `no-store; x` is `no-store`.
    pub(super) fn read(element: &'a [u8]) -> Self {
        let end = element
            .iter()
            .position(|&byte| !list::is_token(byte))
            .unwrap_or(element.len());
        let (name, rest) = element.split_at(end);
        let argument = match rest {
            [] => Argument::Absent,
            [b'=', written @ ..] => Argument::read(written),
            // Also `max-age =60`: whitespace is not allowed before `=`.
            _ => Argument::malformed(rest),
        };
        Self { name, argument }
    }

    /// The name in lower case, written to `buffer`; empty if longer than any known name.
    pub(super) fn lower<'b>(&self, buffer: &'b mut [u8; LONGEST_NAME]) -> &'b [u8] {
        let Some(name) = buffer.get_mut(..self.name.len()) else {
            return b"";
        };
        name.copy_from_slice(self.name);
        name.make_ascii_lowercase();
        name
    }
}

impl<'a> Argument<'a> {
    /// Parses a token or a quoted string: §5.2 requires recipients to accept both.
    fn read(written: &'a [u8]) -> Self {
        match written {
            [b'"', ..] => match list::closing(written, 0, Quotes::Escaped) {
                Some(end) if end + 1 == written.len() => Self::Value(unescape(&written[1..end])),
                _ => Self::malformed(written),
            },
            [_, ..] if written.iter().copied().all(list::is_token) => {
                Self::Value(Cow::Borrowed(written))
            }
            _ => Self::malformed(written),
        }
    }

    fn malformed(written: &[u8]) -> Self {
        let open_quote = written.contains(&b'"');
        Self::Malformed { open_quote }
    }
}

fn unescape(quoted: &[u8]) -> Cow<'_, [u8]> {
    if !quoted.contains(&b'\\') {
        return Cow::Borrowed(quoted);
    }
    let mut bytes = quoted.iter().copied();
    let plain = std::iter::from_fn(|| match bytes.next() {
        Some(b'\\') => bytes.next(),
        other => other,
    });
    Cow::Owned(plain.collect())
}
