//! Backoff after a `Retry-After` of the origin (RFC 9110 §10.2.3): a 429 applies to all calls of the
//! token, a 503 only to the call. Pure: `now` is a parameter.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;

use crate::request::Scope;

/// Maximum entries of one map. If none has expired, a further wait is not stored: its requests go
/// to the origin, which can repeat its response.
const MAX_WAITS: usize = 4_096;

/// The tokens and calls in backoff.
#[derive(Debug)]
pub(super) struct Backoff {
    /// The upper limit of a wait (`upstream.max_retry_after`); zero ignores `Retry-After`.
    max_wait: Duration,
    tokens: Waits<Scope>,
    /// By token and hash of the target.
    calls: Waits<(Scope, u64)>,
    seed: RandomState,
}

/// The end of each wait.
#[derive(Debug)]
struct Waits<K>(HashMap<K, Duration>);

impl Backoff {
    pub(super) fn new(max_wait: Duration) -> Self {
        Self {
            max_wait,
            tokens: Waits(HashMap::new()),
            calls: Waits(HashMap::new()),
            seed: RandomState::new(),
        }
    }

    /// Begins a wait that the origin has requested.
    pub(super) fn begin(
        &mut self,
        token: &Scope,
        target: &PathAndQuery,
        status: StatusCode,
        wait: Duration,
        now: Duration,
    ) {
        let wait = wait.min(self.max_wait);
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.tokens.begin(*token, wait, now);
        } else {
            self.calls.begin(self.call(token, target), wait, now);
        }
    }

    /// The status that began this request's wait, and the remaining time, if it must wait.
    pub(super) fn remaining(
        &mut self,
        token: &Scope,
        target: &PathAndQuery,
        now: Duration,
    ) -> Option<(StatusCode, Duration)> {
        let call = self.call(token, target);
        let of_token = self.tokens.remaining(token, now);
        let of_call = self.calls.remaining(&call, now);
        of_token
            .map(|remaining| (StatusCode::TOO_MANY_REQUESTS, remaining))
            .or(of_call.map(|remaining| (StatusCode::SERVICE_UNAVAILABLE, remaining)))
    }

    /// The numbers of tokens and calls that wait, and the longest remaining time.
    pub(super) fn held(&self, now: Duration) -> (usize, usize, Duration) {
        let (tokens, of_tokens) = self.tokens.held(now);
        let (calls, of_calls) = self.calls.held(now);
        (tokens, calls, of_tokens.max(of_calls))
    }

    fn call(&self, token: &Scope, target: &PathAndQuery) -> (Scope, u64) {
        (*token, self.seed.hash_one(target.as_str()))
    }
}

impl<K: Eq + Hash> Waits<K> {
    /// Begins a wait. Of two waits of one key, the one that ends later counts.
    fn begin(&mut self, key: K, wait: Duration, now: Duration) {
        if wait.is_zero() {
            return;
        }
        if self.0.len() >= MAX_WAITS {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() < MAX_WAITS || self.0.contains_key(&key) {
            let until = self.0.entry(key).or_default();
            *until = (*until).max(now + wait);
        }
    }

    fn held(&self, now: Duration) -> (usize, Duration) {
        let remaining = self.0.values().map(|until| until.saturating_sub(now));
        let remaining = remaining.filter(|remaining| !remaining.is_zero());
        remaining.fold((0, Duration::ZERO), |(count, longest), remaining| {
            (count + 1, longest.max(remaining))
        })
    }

    fn remaining(&mut self, key: &K, now: Duration) -> Option<Duration> {
        let remaining = self.0.get(key)?.saturating_sub(now);
        if remaining.is_zero() {
            self.0.remove(key);
            return None;
        }
        Some(remaining)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::request::ScopeKey;

    const SECOND: Duration = Duration::from_secs(1);
    const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    const MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

    fn target() -> PathAndQuery {
        PathAndQuery::from_static("/v1/calls/c1")
    }

    fn token(key: &ScopeKey, number: usize) -> Scope {
        key.scope(&HeaderValue::from(number))
    }

    #[test]
    fn a_429_applies_to_the_token_and_a_503_to_its_call() {
        let call = target();
        let other_call = PathAndQuery::from_static("/v1/calls/c1?a");
        let key = ScopeKey::random();
        let (one, other) = (token(&key, 1), token(&key, 2));
        let mut backoff = Backoff::new(SECOND * 60);
        backoff.begin(&one, &call, BUSY, SECOND * 4, SECOND);
        assert_eq!(
            backoff.remaining(&one, &call, SECOND),
            Some((BUSY, SECOND * 4))
        );
        assert_eq!(backoff.remaining(&one, &other_call, SECOND), None);
        assert_eq!(backoff.remaining(&other, &call, SECOND), None);

        backoff.begin(&one, &call, MANY, SECOND * 2, SECOND);
        for target in [&call, &other_call] {
            let remaining = backoff.remaining(&one, target, SECOND);
            assert_eq!(remaining, Some((MANY, SECOND * 2)));
        }
        assert_eq!(backoff.remaining(&other, &call, SECOND), None);
        assert_eq!(backoff.held(SECOND), (1, 1, SECOND * 4));
        assert_eq!(backoff.held(SECOND * 3), (0, 1, SECOND * 2));
        let remaining = backoff.remaining(&one, &call, SECOND * 3);
        assert_eq!(remaining, Some((BUSY, SECOND * 2)));
        assert_eq!(backoff.remaining(&one, &call, SECOND * 5), None);
        assert_eq!(backoff.held(SECOND * 5), (0, 0, Duration::ZERO));
    }

    #[test]
    fn the_longer_of_two_waits_counts_up_to_the_limit() {
        let call = target();
        let one = token(&ScopeKey::random(), 1);
        let mut backoff = Backoff::new(SECOND * 60);
        backoff.begin(&one, &call, MANY, SECOND * 10, SECOND);
        backoff.begin(&one, &call, MANY, SECOND, SECOND * 2);
        let remaining = backoff.remaining(&one, &call, SECOND * 2);
        assert_eq!(remaining, Some((MANY, SECOND * 9)));
        backoff.begin(&one, &call, MANY, SECOND * 3_600, Duration::ZERO);
        let remaining = backoff.remaining(&one, &call, Duration::ZERO);
        assert_eq!(remaining, Some((MANY, SECOND * 60)));
    }

    #[test]
    fn the_maps_are_bounded() {
        let call = target();
        let key = ScopeKey::random();
        let mut backoff = Backoff::new(SECOND * 60);
        for number in 0..MAX_WAITS + 10 {
            for status in [MANY, BUSY] {
                let one = token(&key, number);
                backoff.begin(&one, &call, status, SECOND, Duration::ZERO);
            }
        }
        let sizes = |backoff: &Backoff| (backoff.tokens.0.len(), backoff.calls.0.len());
        assert_eq!(sizes(&backoff), (MAX_WAITS, MAX_WAITS));
        let excess = token(&key, MAX_WAITS + 1);
        assert_eq!(backoff.remaining(&excess, &call, Duration::ZERO), None);
        // The others have expired.
        for status in [MANY, BUSY] {
            backoff.begin(&excess, &call, status, SECOND, SECOND);
        }
        assert_eq!(sizes(&backoff), (1, 1));
    }

    #[test]
    fn a_limit_of_zero_ignores_retry_after() {
        let call = target();
        let one = token(&ScopeKey::random(), 1);
        let mut backoff = Backoff::new(Duration::ZERO);
        backoff.begin(&one, &call, MANY, SECOND, SECOND);
        assert_eq!(backoff.remaining(&one, &call, SECOND), None);
    }
}
