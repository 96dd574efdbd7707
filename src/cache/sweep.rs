//! Invalidated entries: why, and when their memory is freed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moka::ops::compute::{CompResult, Op};

use super::Store;
use super::store::Variants;
use crate::request::CacheKey;
use crate::telemetry::NotHit;

/// The shortest time between two sweeps.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

impl Store {
    /// Why a lookup of this key returned nothing.
    #[must_use]
    pub fn why_nothing(&self, key: &CacheKey) -> NotHit {
        let stored = self.cache.get(key);
        stored.map_or(NotHit::Absent, |variants| self.why_unusable(&variants))
    }

    fn why_unusable(&self, variants: &Variants) -> NotHit {
        let newest = variants.first();
        let over = newest.and_then(|entry| self.generations.why_over(&entry.generation));
        over.unwrap_or(NotHit::NoLease)
    }

    /// Frees the memory of invalidated entries.
    pub fn sweep(&self) {
        let keys: Vec<_> = self
            .cache
            .iter()
            .filter(|(key, variants)| !self.any_valid(key, variants))
            .collect();
        for (key, variants) in keys {
            let (scope, why) = (key.scope().id(), self.why_unusable(&variants));
            self.metrics.reasons.record_removal(scope, key.path(), why);
            let removed = self
                .cache
                .entry_by_ref(&*key)
                .and_compute_with(|stored| match stored {
                    Some(stored) if !self.any_valid(&key, stored.value()) => Op::Remove,
                    _ => Op::Nop,
                });
            if let CompResult::Removed(removed) = removed {
                self.swept
                    .fetch_add(removed.value().len(), Ordering::Relaxed);
            }
        }
        self.cache.run_pending_tasks();
    }

    /// The number of responses whose memory the sweeps have freed so far.
    #[must_use]
    pub fn swept(&self) -> usize {
        self.swept.load(Ordering::Relaxed)
    }

    fn any_valid(&self, key: &CacheKey, variants: &Variants) -> bool {
        variants.iter().any(|entry| self.is_valid(key, entry))
    }

    /// Sweeps after every invalidation, at most once a second. Never returns.
    pub async fn sweep_when_invalidated(self: Arc<Self>) {
        let mut invalidations = self.invalidations();
        while invalidations.changed().await.is_ok() {
            let store = Arc::clone(&self);
            // Iterates over all entries: not on a thread that serves requests.
            let _ = tokio::task::spawn_blocking(move || store.sweep()).await;
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
    }
}
