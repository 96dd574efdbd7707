//! The keys whose last response was not shareable (hit-for-miss): a request for one of them does not
//! wait for another's fetch, only to fetch itself afterwards.

use std::hash::BuildHasher as _;
use std::time::Duration;

use crate::request::{CacheKey, Prehashed};

/// How long a key is remembered after its last response.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// Maximum keys; a further one replaces another.
const MAX_KEYS: usize = 4096;

/// A table with one place for each remainder of a key's hash: bounded without an order of eviction.
/// Two keys with the same hash are taken for one, which at worst makes one more fetch.
#[derive(Debug)]
pub(super) struct Unshareable {
    /// The hash of a key, and when it is forgotten; zero in an unused place.
    places: Box<[(u64, Duration)]>,
}

impl Default for Unshareable {
    fn default() -> Self {
        Self {
            places: vec![(0, Duration::ZERO); MAX_KEYS].into(),
        }
    }
}

impl Unshareable {
    /// Whether the last response for this key was recently not shareable.
    pub(super) fn has(&self, key: &CacheKey, now: Duration) -> bool {
        let hash = Prehashed::default().hash_one(key);
        let (remembered, until) = self.places[place(hash)];
        remembered == hash && now < until
    }

    /// Records the last response for this key.
    pub(super) fn record(&mut self, key: &CacheKey, is_shareable: bool, now: Duration) {
        let hash = Prehashed::default().hash_one(key);
        let place = &mut self.places[place(hash)];
        if !is_shareable {
            *place = (hash, now.saturating_add(REMEMBERED_FOR));
        } else if place.0 == hash {
            *place = (0, Duration::ZERO);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder is wanted")]
fn place(hash: u64) -> usize {
    hash as usize % MAX_KEYS
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::request::ScopeKey;

    fn keys(count: usize) -> Vec<CacheKey> {
        let scope = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
        let target = |number| format!("/v1/calls/c{number}").parse();
        let key = |number| CacheKey::new(scope, target(number).expect("a target"));
        (0..count).map(key).collect()
    }

    #[test]
    fn a_key_is_remembered_until_a_shareable_response_or_the_time_is_over() {
        let (mut unshareable, keys) = (Unshareable::default(), keys(2));
        let at = Duration::from_secs;
        assert!(!unshareable.has(&keys[0], Duration::ZERO));
        unshareable.record(&keys[0], false, at(1));
        assert!(unshareable.has(&keys[0], at(5)));
        assert!(!unshareable.has(&keys[0], at(6)));
        assert!(!unshareable.has(&keys[1], at(1)));
        unshareable.record(&keys[1], true, at(2));
        assert!(unshareable.has(&keys[0], at(2)));
        unshareable.record(&keys[0], true, at(2));
        assert!(!unshareable.has(&keys[0], at(2)));
    }

    #[test]
    fn many_keys_use_no_more_memory_and_the_last_is_remembered() {
        let mut unshareable = Unshareable::default();
        for key in keys(2 * MAX_KEYS) {
            unshareable.record(&key, false, Duration::ZERO);
            assert!(unshareable.has(&key, Duration::ZERO));
        }
        assert_eq!(unshareable.places.len(), MAX_KEYS);
    }
}
