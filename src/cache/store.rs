//! The store of entries by cache key: moka bounds and evicts; scope and generation decide which
//! entries are valid. Freshness is not checked here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderMap;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::acceptance::AcceptedScopes;
use super::generation::Generations;
use super::shared::Lease;
use super::{Acceptance, Entry, Fence, Generation, Invalidation, Purged};
use crate::config::Config;
use crate::policy::NotStored;
use crate::request::{CacheKey, Prehashed, Scope};
use crate::telemetry::{Eviction, InvalidationCause, Metrics, NotHit};

/// Maximum responses per key; a further one replaces the oldest. They differ in the nominated request
/// fields (RFC 9111 §4.1) or, in a named scope, in the tokens that the origin has shown them to.
const MAX_VARIANTS: usize = 8;

/// Evictions per `cache.capacity` bytes stored. moka by itself evicts after 64 changes: with the
/// largest responses, that would be half a gigabyte above capacity.
const EVICTIONS_PER_CAPACITY: u64 = 64;

/// Every stored response.
#[derive(Debug)]
pub struct Store {
    pub(super) cache: Cache<CacheKey, Variants, Prehashed>,
    pub(super) generations: Generations,
    accepted: AcceptedScopes,
    /// For how long what is stored may be used.
    pub lease: Lease,
    pub(super) metrics: Arc<Metrics>,
    /// Bytes stored since the last eviction.
    stored_bytes: AtomicU64,
    /// The number of bytes at which the next eviction is due.
    evict_at: u64,
    /// Notified by every invalidation.
    pub(super) invalidated: watch::Sender<()>,
    /// The purges not counted yet.
    pub(super) purges: Mutex<Vec<Weak<Purged>>>,
    /// Held while they are counted, never by a request.
    pub(super) counting: Mutex<()>,
}

/// Newest first.
pub(super) type Variants = Arc<[Arc<Entry>]>;

/// The result of looking up a request.
#[derive(Debug)]
pub enum StoreLookup {
    /// The selected response, fresh or stale.
    Entry(Arc<Entry>),
    /// A response that the origin has shown only to other tokens of the scope so far.
    NotAdmitted(Arc<Entry>),
    /// Only responses for other values of the nominated fields.
    OtherVariant,
    /// Nothing.
    Nothing,
}

/// The stored responses that are superseded by a newer one, which is not stored itself.
#[derive(Clone, Copy, Debug)]
pub enum Superseded<'a> {
    /// The response that a request with these fields selects.
    Selected(&'a HeaderMap),
    /// Every response under the key: the resource is gone.
    Every,
    /// This response, for every token.
    Only(&'a Arc<Entry>),
}

/// Whether an entry is the response to a request with these fields.
fn is_selected(entry: &Entry, sent: &HeaderMap) -> bool {
    entry.vary.matches(&entry.whole.headers, sent)
}

impl Store {
    /// An empty store of `cache.capacity` bytes.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let evictions = Arc::clone(&metrics);
        let cache = Cache::builder()
            .max_capacity(config.cache.capacity.0)
            .weigher(|key: &CacheKey, variants: &Variants| {
                // Twice: moka keeps the keys of removed entries until it rebuilds its table, up to as
                // many as there are entries.
                let bytes = 2 * key.heap_bytes()
                    + variants.iter().map(|entry| entry.weight()).sum::<usize>();
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .time_to_live(config.freshness.hard_limit)
            .eviction_listener(move |key, _, cause| {
                let (cause, why) = match cause {
                    RemovalCause::Size => (Eviction::Size, Some(NotHit::Evicted)),
                    RemovalCause::Expired => (Eviction::Expired, Some(NotHit::HardLimit)),
                    RemovalCause::Explicit => (Eviction::Invalidated, None),
                    // Counted in `put`: this is also the cause when an entry is weighed again.
                    RemovalCause::Replaced => return,
                };
                evictions.evictions.of(cause).inc();
                if let Some(why) = why {
                    let scope = key.scope().id();
                    evictions.reasons.record_removal(scope, key.path(), why);
                }
            })
            .build_with_hasher(Prehashed::default());
        metrics
            .capacity
            .set(i64::try_from(config.cache.capacity.0).unwrap_or(i64::MAX));
        Self {
            cache,
            generations: Generations::new(&config.cache.routes),
            accepted: AcceptedScopes::new(&metrics),
            lease: Lease::unlimited(),
            metrics,
            stored_bytes: AtomicU64::new(0),
            evict_at: config.cache.capacity.0 / EVICTIONS_PER_CAPACITY,
            invalidated: watch::Sender::default(),
            purges: Mutex::default(),
            counting: Mutex::default(),
        }
    }

    /// Looks up the response that may be served to this token. `client` are the fields of a request
    /// that prefers some responses to others; `sent` builds the fields of a request to the origin, and
    /// is called only if the newest response does not suit, or has nominated fields (RFC 9111 §4.1).
    pub fn find(
        &self,
        key: &CacheKey,
        token: &Scope,
        now: Duration,
        client: Option<&HeaderMap>,
        sent: impl FnOnce() -> HeaderMap,
    ) -> StoreLookup {
        let Some(variants) = self.cache.get(key) else {
            return StoreLookup::Nothing;
        };
        let is_usable =
            |entry: &&Arc<Entry>| entry.scope == *key.scope() && self.is_usable(entry, now);
        let valid = || variants.iter().filter(is_usable);
        let Some(newest) = valid().next() else {
            return StoreLookup::Nothing;
        };
        if newest.vary.nominates_nothing()
            && client.is_none_or(|client| is_selected(newest, client))
            && newest.admits(token, now)
        {
            return StoreLookup::Entry(Arc::clone(newest));
        }
        let sent = sent();
        let selected = || valid().filter(|entry| is_selected(entry, &sent));
        match selected().find(|entry| entry.admits(token, now)) {
            Some(admitted) => StoreLookup::Entry(Arc::clone(admitted)),
            None => match selected().next() {
                Some(entry) => StoreLookup::NotAdmitted(Arc::clone(entry)),
                // A token must not learn what others of its scope have fetched.
                None if valid().any(|entry| entry.admits(token, now)) => StoreLookup::OtherVariant,
                None => StoreLookup::Nothing,
            },
        }
    }

    /// Whether an entry may be used. Comparing the scope is defence in depth: the key contains it.
    pub(super) fn is_valid(&self, key: &CacheKey, entry: &Entry) -> bool {
        entry.scope == *key.scope() && self.generations.is_current(&entry.generation)
    }

    /// Whether nothing has invalidated what was fetched under this generation.
    pub fn is_current(&self, generation: &Generation) -> bool {
        self.generations.is_current(generation)
    }

    /// Whether an entry may be used now.
    pub fn is_usable(&self, entry: &Entry, now: Duration) -> bool {
        let began = entry.generation.began;
        self.is_current(&entry.generation) && self.lease.admits(began, now)
    }

    /// A fence for a fetch of this key with this token, at the monotonic time `now`.
    pub fn fence(&self, key: &CacheKey, token: &Scope, now: Duration) -> Fence {
        let is_leased = self.lease.is_held(now);
        self.generations.fence(key, token, is_leased, now)
    }

    /// Stores the response to a request with the fields `sent`. It replaces the response that this
    /// request selected before, even if `Vary` has changed: the old one must not be selected again
    /// when the new one is evicted. In a named scope it replaces only the same response, and copies
    /// its admissions; a different one is kept while other tokens are admitted to it.
    ///
    /// # Errors
    ///
    /// [`NotStored::Fenced`] if it was, or may have been, invalidated during the fetch, or if a later
    /// fetch has already returned a newer one.
    pub fn put(
        &self,
        key: &CacheKey,
        sent: &HeaderMap,
        entry: &Arc<Entry>,
        fence: &Fence,
    ) -> Result<(), NotStored> {
        let (mut may_store, mut replaced) = (false, false);
        let is_replaced = |other: &Arc<Entry>| {
            is_selected(other, sent) && (!fence.is_shared() || entry.is_same_response(other))
        };
        self.cache.entry_by_ref(key).and_compute_with(|stored| {
            let stored = stored.map(moka::Entry::into_value);
            let stored = stored.iter().flat_map(|variants| variants.iter());
            let valid = stored.filter(|other| self.is_valid(key, other));
            let (older, others): (Vec<_>, Vec<_>) = valid.partition(|other| is_replaced(other));
            let mut selected = others.iter().filter(|other| is_selected(other, sent));
            may_store = self.generations.may_store(fence)
                && !older
                    .iter()
                    .any(|other| other.generation.is_after(&fence.generation))
                && !selected.any(|other| other.was_admitted_later(fence));
            if !may_store {
                return Op::Nop;
            }
            replaced = !older.is_empty();
            for older in &older {
                entry.inherit_admissions(older);
            }
            let is_kept =
                |other: &&Arc<Entry>| !is_selected(other, sent) || other.revoke(fence.token());
            let others = others.into_iter().filter(is_kept).take(MAX_VARIANTS - 1);
            Op::Put(
                std::iter::once(entry)
                    .chain(others)
                    .map(Arc::clone)
                    .collect(),
            )
        });
        if replaced {
            self.metrics.evictions.of(Eviction::Replaced).inc();
        }
        if !may_store {
            self.metrics.fenced.inc();
            return Err(NotStored::Fenced);
        }
        entry.whole.body.stored();
        self.evict_excess(entry);
        Ok(())
    }

    /// Counts a stored entry, and evicts what exceeds the capacity if that is due.
    fn evict_excess(&self, entry: &Entry) {
        let weight = entry.weight() as u64;
        let stored = self.stored_bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        if stored >= self.evict_at {
            self.stored_bytes.store(0, Ordering::Relaxed);
            self.cache.run_pending_tasks();
        }
    }

    /// Weighs an entry again after it has grown, if it is still stored.
    pub fn reweigh(&self, key: &CacheKey, entry: &Arc<Entry>) {
        self.replace(key, entry, Some(entry));
    }

    /// Replaces an entry by another, or removes it, if it is still stored.
    pub fn replace(&self, key: &CacheKey, old: &Arc<Entry>, new: Option<&Arc<Entry>>) {
        self.cache.entry_by_ref(key).and_compute_with(|stored| {
            let stored = stored.map(moka::Entry::into_value).unwrap_or_default();
            if !stored.iter().any(|entry| Arc::ptr_eq(entry, old)) {
                return Op::Nop;
            }
            let replaced = |entry: &Arc<Entry>| {
                let entry = if Arc::ptr_eq(entry, old) { new? } else { entry };
                Some(Arc::clone(entry))
            };
            let variants: Variants = stored.iter().filter_map(replaced).collect();
            if variants.is_empty() {
                Op::Remove
            } else {
                Op::Put(variants)
            }
        });
        if let Some(new) = new {
            self.evict_excess(new);
        }
    }

    /// Removes stored responses: the fetch with this fence has returned a newer one that is not
    /// stored. Responses of earlier fetches are not stored from now on either. In a named scope only
    /// the admissions of the fence's token are revoked, except by [`Superseded::Only`].
    pub fn supersede(&self, key: &CacheKey, fence: &Fence, superseded: Superseded<'_>) {
        // First, so that it applies to a response that is stored after the removal below.
        fence.supersede_earlier();
        let removes = |entry: &Arc<Entry>| match superseded {
            Superseded::Only(one) => Arc::ptr_eq(one, entry),
            _ if fence.is_shared() => false,
            Superseded::Selected(sent) => is_selected(entry, sent),
            Superseded::Every => true,
        };
        self.cache.entry_by_ref(key).and_compute_with(|stored| {
            let Some(stored) = stored else { return Op::Nop };
            let rest: Variants = stored
                .value()
                .iter()
                .filter(|entry| entry.generation.is_after(&fence.generation) || !removes(entry))
                .map(Arc::clone)
                .collect();
            match rest.len() {
                0 => {
                    let (scope, why) = (key.scope().id(), NotHit::Superseded);
                    self.metrics.reasons.record_removal(scope, key.path(), why);
                    Op::Remove
                }
                left if left == stored.value().len() => Op::Nop,
                _ => Op::Put(rest),
            }
        });
    }

    /// Carries out an invalidation; returns whether there was anything to invalidate.
    pub fn invalidate(&self, invalidation: &Invalidation, now: Duration) -> bool {
        self.invalidate_late(invalidation, Duration::ZERO, now)
    }

    fn invalidate_late(&self, invalidation: &Invalidation, age: Duration, now: Duration) -> bool {
        let done = self.generations.invalidate(invalidation, age, now);
        if !done.is_tracked {
            self.metrics.writes_untracked.inc();
        }
        done.any
    }

    /// Counts an invalidation, which can cover many stored responses, and lets their memory be freed.
    pub fn count_invalidation(&self, cause: InvalidationCause) {
        self.metrics.invalidations.of(cause).inc();
        self.invalidated.send_replace(());
    }

    /// Receives every invalidation from now on.
    pub fn invalidations(&self) -> watch::Receiver<()> {
        self.invalidated.subscribe()
    }

    /// Applies an item of the log, appended this long ago.
    pub fn apply(&self, id: u64, invalidation: &Invalidation, age: Duration, now: Duration) {
        self.generations.record(id, invalidation);
        if let Invalidation::Scope(token) = invalidation {
            self.accepted.refuse(token);
        }
        if self.invalidate_late(invalidation, age, now) {
            self.invalidated.send_replace(());
        }
    }

    /// Invalidates everything: items of the log up to `floor` may not have been applied.
    pub fn forget_all(&self, floor: u64) {
        self.generations.forget_all(floor);
        self.invalidated.send_replace(());
    }

    /// Whether an item of the log after `id` concerns a response that is stored under this key, for this
    /// token; or may do so.
    pub fn changed_since(&self, key: &CacheKey, token: &Scope, id: u64) -> bool {
        self.generations.changed_since(key, token, id)
    }

    /// Records that the origin has accepted a request of this token, sent at the monotonic time
    /// `sent`.
    pub fn accept(&self, token: &Scope, sent: Duration) {
        self.accepted.accept(token, sent);
    }

    /// Whether the origin has lately accepted this token on a path of a cache route.
    pub fn is_accepted(&self, token: &Scope) -> bool {
        self.accepted.contains(token)
    }

    /// The record of acceptance for a response to a request of this token, sent at that time.
    pub fn acceptance(&self, token: &Scope, sent: Duration) -> Arc<Acceptance> {
        self.accepted.record(token, sent)
    }

    /// Invalidates everything stored for a token that the origin has refused (401); returns whether it
    /// was accepted before. If there is nothing, this costs a lookup only: an
    /// attacker's guessed tokens are all refused.
    pub fn refuse(&self, token: &Scope, now: Duration) -> bool {
        self.metrics.tokens_refused.inc();
        let was_accepted = self.accepted.refuse(token);
        let any = self.invalidate(&Invalidation::Scope(*token), now);
        if any {
            self.count_invalidation(InvalidationCause::Refusal);
        }
        was_accepted
    }

    /// Invalidates what is stored for a token under a path that the origin has refused to it (403). Its
    /// other responses stay: the refusal is about the resource (RFC 6750 §3.1).
    pub fn refuse_resource(&self, refused: &Invalidation, now: Duration) {
        self.metrics.tokens_refused.inc();
        if self.invalidate(refused, now) {
            self.count_invalidation(InvalidationCause::Refusal);
        }
    }

    /// Updates the gauges of the store's size.
    pub fn update_gauges(&self) {
        self.cache.run_pending_tasks();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.entries.set(gauge(self.cache.entry_count()));
        self.metrics.weight.set(gauge(self.cache.weighted_size()));
        self.metrics
            .accepted_scopes
            .set(gauge(self.accepted.count()));
    }
}
