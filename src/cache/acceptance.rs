//! Accepted scopes: the tokens that the origin has lately accepted on a path of a cache route, each
//! with the time of its last acceptance.
//!
//! A client can send any number of invented tokens, but only the origin makes one an accepted scope.
//! Effects on other clients, such as those of a write of unknown result, are for accepted scopes
//! only. Which responses prove acceptance is decided in `policy` and `request::Routes`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::counters::micros;
use crate::request::{Prehashed, Scope};
use crate::telemetry::Metrics;

/// Maximum accepted scopes; a further one replaces the one that was used least recently. Enough for
/// the tokens of a large fleet, at about 3 MB.
const MAX_ACCEPTED: u64 = 1 << 14;

/// The record of an accepted scope.
#[derive(Debug)]
pub struct Acceptance {
    /// When the last accepted request was sent: monotonic, in microseconds.
    last: AtomicU64,
    is_rechecking: AtomicBool,
}

/// A recheck of an accepted scope in progress: one at a time. It ends when this is dropped.
#[derive(Debug)]
pub struct Recheck(Arc<Acceptance>);

/// The accepted scopes, least recently used first.
#[derive(Debug)]
pub(super) struct AcceptedScopes {
    scopes: Cache<Scope, Arc<Acceptance>, Prehashed>,
}

impl Acceptance {
    fn at(sent: Duration) -> Self {
        Self {
            last: AtomicU64::new(micros(sent)),
            is_rechecking: AtomicBool::new(false),
        }
    }

    /// When the last accepted request was sent, on the monotonic clock.
    pub fn last(&self) -> Duration {
        Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    /// Begins a recheck, unless one is in progress.
    #[must_use]
    pub fn begin_recheck(self: &Arc<Self>) -> Option<Recheck> {
        let is_rechecking = self.is_rechecking.swap(true, Ordering::Relaxed);
        (!is_rechecking).then(|| Recheck(Arc::clone(self)))
    }
}

impl Drop for Recheck {
    fn drop(&mut self) {
        self.0.is_rechecking.store(false, Ordering::Relaxed);
    }
}

impl AcceptedScopes {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        let metrics = Arc::clone(metrics);
        // LRU, not moka's TinyLFU: a scope that is new must be able to enter.
        let scopes = Cache::builder()
            .max_capacity(MAX_ACCEPTED)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    metrics.accepted_scopes_evicted.inc();
                }
            })
            .build_with_hasher(Prehashed::default());
        Self { scopes }
    }

    /// Records that the origin has accepted a request of this token, sent at that time.
    pub(super) fn accept(&self, token: &Scope, sent: Duration) {
        let new = || Arc::new(Acceptance::at(sent));
        let record = self.scopes.get_with_by_ref(token, new);
        record.last.fetch_max(micros(sent), Ordering::Relaxed);
    }

    /// Forgets a token that the origin has refused; returns whether it was accepted.
    pub(super) fn refuse(&self, token: &Scope) -> bool {
        self.scopes.remove(token).is_some()
    }

    pub(super) fn contains(&self, token: &Scope) -> bool {
        self.scopes.get(token).is_some()
    }

    /// The record for a response to a request of this token, sent at that time: that of the scope,
    /// if the request or a later one was accepted. Otherwise a record of its own: the response was
    /// meant for the token, but is no proof for others.
    pub(super) fn record(&self, token: &Scope, sent: Duration) -> Arc<Acceptance> {
        let shared = self.scopes.get(token);
        let recent = shared.filter(|record| record.last() >= Duration::from_micros(micros(sent)));
        recent.unwrap_or_else(|| Arc::new(Acceptance::at(sent)))
    }

    /// The number of accepted scopes.
    pub(super) fn count(&self) -> u64 {
        self.scopes.run_pending_tasks();
        self.scopes.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Config;
    use crate::request::{Routes, ScopeKey};

    #[test]
    fn the_least_recently_accepted_scope_gives_way_at_the_bound() {
        let metrics = Arc::new(Metrics::new(&Routes::new(&Config::default().cache.routes)));
        let scopes = AcceptedScopes::new(&metrics);
        let key = ScopeKey::random();
        let token = |number: u64| {
            let credential = format!("Bearer {number}");
            key.scope(&HeaderValue::try_from(credential).expect("a token is a field value"))
        };
        for number in 0..MAX_ACCEPTED {
            scopes.accept(&token(number), Duration::ZERO);
            scopes.accept(&token(0), Duration::from_micros(number));
        }
        assert_eq!(scopes.count(), MAX_ACCEPTED);
        for number in 0..100 {
            scopes.accept(&token(MAX_ACCEPTED + number), Duration::ZERO);
            scopes.accept(&token(0), Duration::ZERO);
        }
        assert_eq!(scopes.count(), MAX_ACCEPTED);
        assert_eq!(metrics.accepted_scopes_evicted.get(), 100);
        assert!(!scopes.contains(&token(1)));
        assert!(scopes.contains(&token(MAX_ACCEPTED)));
        let used = scopes.record(&token(0), Duration::ZERO);
        assert_eq!(used.last(), Duration::from_micros(MAX_ACCEPTED - 1));
    }
}
