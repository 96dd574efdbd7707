//! The request id: the client's own `X-Request-Id` if it is usable, else a generated one.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Identifies a request in logs, in problem documents and at the origin.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// The client's: a copy, which does not keep the request's buffer alive.
    Given(Arc<str>),
    /// Generated: unique in this process, and unlikely in any other.
    Made(u64),
}

impl RequestId {
    /// Maximum length of an id from a client.
    pub const MAX_LENGTH: usize = 128;

    /// The header field that carries it.
    pub const FIELD: HeaderName = HeaderName::from_static("x-request-id");

    /// The id of a request with this field.
    pub fn of(given: Option<&HeaderValue>) -> Self {
        match given.map(HeaderValue::to_str) {
            Some(Ok(id)) if is_usable(id) => Self::Given(id.into()),
            _ => Self::Made(random()),
        }
    }

    /// The id as a field value.
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.text(&mut [0; 16])).expect("a word is a field value")
    }

    /// The id as text, of which `digits` is the place if it is generated. Not by `format!`: each hit has one.
    pub fn text<'a>(&'a self, digits: &'a mut [u8; 16]) -> &'a [u8] {
        match self {
            Self::Given(id) => id.as_bytes(),
            Self::Made(id) => {
                *digits = std::array::from_fn(|at| {
                    let value = id >> (60 - 4 * at) & 15;
                    b"0123456789abcdef"[usize::try_from(value).expect("a digit")]
                });
                digits
            }
        }
    }

    /// Adds it to a response, unless the origin has sent an id of its own.
    pub fn complete(&self, fields: &mut HeaderMap) {
        fields
            .entry(Self::FIELD)
            .or_insert_with(|| self.to_header());
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Given(id) => id.len(),
            Self::Made(_) => 0,
        }
    }
}

/// A number unique in this process, and unlikely in any other: `SplitMix64` with a random seed.
fn random() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut mixed = SEED.wrapping_add(count.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Whether an id is one word in any log, without quoting.
fn is_usable(id: &str) -> bool {
    (1..=RequestId::MAX_LENGTH).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(&b))
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(id) => f.write_str(id),
            Self::Made(id) => write!(f, "{id:016x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usable_id_is_kept_and_any_other_replaced() {
        let id =
            |value: &'static str| RequestId::of(Some(&HeaderValue::from_static(value))).to_string();
        assert_eq!(id("7f3a-1"), "7f3a-1");
        assert_ne!(id("two words"), "two words");
        assert_ne!(id("\"quoted\""), "\"quoted\"");
        assert_ne!(
            RequestId::of(None).to_string(),
            RequestId::of(None).to_string()
        );
        let made = RequestId::Made(0x0123_4567_89ab_cdef);
        assert_eq!(made.to_header(), made.to_string());
    }

    #[test]
    fn numbers_do_not_repeat() {
        let numbers: std::collections::HashSet<_> = (0..10_000).map(|_| random()).collect();
        assert_eq!(numbers.len(), 10_000);
    }
}
