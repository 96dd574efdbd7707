//! Invalidated entries: why, how many a purge has invalidated, and when their memory is freed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use moka::ops::compute::Op;

use super::store::Variants;
use super::{Invalidation, Purged, Store};
use crate::request::CacheKey;
use crate::telemetry::NotHit;

/// The shortest time between two sweeps.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

impl Store {
    /// Why a lookup of this key returned nothing.
    pub fn why_nothing(&self, key: &CacheKey) -> NotHit {
        let stored = self.cache.get(key);
        stored.map_or(NotHit::Absent, |variants| self.why_unusable(&variants))
    }

    fn why_unusable(&self, variants: &Variants) -> NotHit {
        let newest = variants.first();
        let over = newest.and_then(|entry| self.generations.why_over(&entry.generation));
        over.unwrap_or(NotHit::NoLease)
    }

    /// A purge that is about to be carried out: what it invalidates is kept until it is counted.
    pub fn purged(&self, purge: &Invalidation) -> Arc<Purged> {
        let purged = Arc::new(self.generations.purged(purge));
        self.purges.lock().push(Arc::downgrade(&purged));
        purged
    }

    /// How many stored responses each of these purges, which are carried out, has invalidated. Iterates over
    /// all entries, but once for all purges that wait for that.
    pub fn found(&self, purges: &[Arc<Purged>]) -> Vec<usize> {
        for purge in purges {
            purge.is_carried_out.store(true, Ordering::SeqCst);
        }
        let counting = self.counting.lock();
        if purges.iter().any(|purge| purge.is_uncounted()) {
            self.count();
        }
        drop(counting);
        self.invalidated.send_replace(());
        let counts = purges.iter();
        counts
            .map(|purge| purge.found.load(Ordering::SeqCst))
            .collect()
    }

    /// Counts for the purges that are carried out by now.
    fn count(&self) {
        let purges = self.uncounted();
        let is_carried_out = |purge: &Arc<Purged>| purge.is_carried_out.load(Ordering::SeqCst);
        let carried_out: Vec<_> = purges.iter().map(is_carried_out).collect();
        for (_, variants) in &self.cache {
            for entry in variants.iter() {
                let by = self.generations.purged_by(&entry.generation, &purges);
                if let Some(by) = by.filter(|by| carried_out[*by]) {
                    purges[by].found.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        for (purge, _) in std::iter::zip(purges, carried_out).filter(|(_, is_over)| *is_over) {
            purge.is_counted.store(true, Ordering::SeqCst);
        }
    }

    /// The purges not counted yet, in their order.
    fn uncounted(&self) -> Vec<Arc<Purged>> {
        let mut purges = self.purges.lock();
        purges.retain(|purge| purge.strong_count() > 0);
        let live = purges.iter().filter_map(Weak::upgrade);
        live.filter(|purge| purge.is_uncounted()).collect()
    }

    /// Frees the memory of invalidated entries; gives way to a purge, which sweeps again once it is counted.
    fn sweep(&self) {
        let keys: Vec<_> = self
            .cache
            .iter()
            .filter(|(key, variants)| !self.any_valid(key, variants))
            .collect();
        for (key, variants) in keys {
            if !self.uncounted().is_empty() {
                break;
            }
            let (scope, why) = (key.scope().id(), self.why_unusable(&variants));
            self.metrics.reasons.record_removal(scope, key.path(), why);
            self.cache
                .entry_by_ref(&*key)
                .and_compute_with(|stored| match stored {
                    Some(stored) if !self.any_valid(&key, stored.value()) => Op::Remove,
                    _ => Op::Nop,
                });
        }
        self.cache.run_pending_tasks();
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
