//! The store: moka bounds it and evicts; generation and scope decide what may be used.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;
use tokio::sync::Notify;

use super::generation::Generations;
use super::{Entry, Fence, Generation, Reach};
use crate::config::Config;
use crate::policy::NotStored;
use crate::request::{CacheKey, Prehashed, Scope, ScopeId};
use crate::telemetry::{Eviction, Invalidation, Metrics};

/// Stored responses of one key: those that differ in nominated request fields (RFC 9111 §4.1),
/// and, in a named scope, in what the origin shows to different tokens. Beyond it, the oldest goes.
const MAX_VARIANTS: usize = 8;

/// After this part of the capacity has been stored, the excess is evicted at once. moka evicts by
/// itself after 64 changes: of the largest responses, those are half a gigabyte.
const EVICTIONS_PER_CAPACITY: u64 = 64;

/// The shortest time between two sweeps of what was invalidated.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Every stored response.
#[derive(Debug)]
pub struct Store {
    cache: Cache<CacheKey, Variants, Prehashed>,
    generations: Generations,
    metrics: Arc<Metrics>,
    /// Bytes stored since the last eviction, and at how many the next is due.
    stored_bytes: AtomicU64,
    evict_at: u64,
    /// Notified when something was invalidated.
    invalidated: Notify,
}

/// Newest first.
type Variants = Arc<[Arc<Entry>]>;

/// What the store holds for a request.
#[derive(Debug)]
pub enum StoreLookup {
    /// A response that answers it, if its freshness allows.
    Entry(Arc<Entry>),
    /// A response that the origin has shown to other tokens of the scope, not yet to this one.
    NotAdmitted(Arc<Entry>),
    /// Responses to other values of the nominated fields.
    OtherVariant,
    /// Nothing.
    Nothing,
}

/// Which stored responses an answer ends that is not stored itself.
#[derive(Clone, Copy, Debug)]
pub enum Ended<'a> {
    /// The response to requests that are sent like this.
    Selected(&'a HeaderMap),
    /// Every response under the key: the origin says that there is nothing.
    Every,
    /// This one, for every token.
    Only(&'a Arc<Entry>),
}

/// A stored response as an operator sees it.
#[derive(Debug)]
pub struct Inspection {
    /// Where it is stored.
    pub key: Arc<CacheKey>,
    /// The response.
    pub entry: Arc<Entry>,
    /// Whether nothing has invalidated it.
    pub is_valid: bool,
}

impl Store {
    /// An empty store of `cache.capacity` bytes.
    #[must_use]
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let evictions = Arc::clone(&metrics);
        let cache = Cache::builder()
            .max_capacity(config.cache.capacity.0)
            .weigher(|key: &CacheKey, variants: &Variants| {
                // Twice: moka keeps the key of a removed entry until it rebuilds its table, and has
                // as many slots for those as for the entries.
                let bytes = 2 * key.heap_bytes()
                    + variants.iter().map(|entry| entry.weight()).sum::<usize>();
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .time_to_live(config.freshness.hard_limit)
            .eviction_listener(move |_, _, cause| {
                let cause = match cause {
                    RemovalCause::Size => Eviction::Size,
                    RemovalCause::Expired => Eviction::Expired,
                    RemovalCause::Explicit => Eviction::Invalidated,
                    // Also the cause when an entry is only weighed again: counted in `put`.
                    RemovalCause::Replaced => return,
                };
                evictions.evictions.of(cause).inc();
            })
            .build_with_hasher(Prehashed::default());
        metrics
            .capacity
            .set(i64::try_from(config.cache.capacity.0).unwrap_or(i64::MAX));
        Self {
            cache,
            generations: Generations::new(&config.cache.routes),
            metrics,
            stored_bytes: AtomicU64::new(0),
            evict_at: config.cache.capacity.0 / EVICTIONS_PER_CAPACITY,
            invalidated: Notify::new(),
        }
    }

    /// What is stored under this key for this token. `sent` is the request as the origin would
    /// get it; it is made only where the origin has nominated fields (RFC 9111 §4.1).
    #[must_use]
    pub fn find(
        &self,
        key: &CacheKey,
        token: &Scope,
        now: Duration,
        sent: impl FnOnce() -> HeaderMap,
    ) -> StoreLookup {
        let Some(variants) = self.cache.get(key) else {
            return StoreLookup::Nothing;
        };
        let valid = || variants.iter().filter(|entry| self.is_valid(key, entry));
        let Some(newest) = valid().next() else {
            return StoreLookup::Nothing;
        };
        if newest.vary.nominates_nothing() && newest.admits(token, now) {
            return StoreLookup::Entry(Arc::clone(newest));
        }
        let sent = sent();
        let selected = || valid().filter(|entry| entry.vary.matches(&sent));
        match selected().find(|entry| entry.admits(token, now)) {
            Some(admitted) => StoreLookup::Entry(Arc::clone(admitted)),
            None => selected()
                .next()
                .map_or(StoreLookup::OtherVariant, |entry| {
                    StoreLookup::NotAdmitted(Arc::clone(entry))
                }),
        }
    }

    /// Whether an entry may still be used. Defence in depth: the key already contains the scope.
    fn is_valid(&self, key: &CacheKey, entry: &Entry) -> bool {
        entry.scope == *key.scope() && self.generations.is_current(&entry.generation)
    }

    /// Whether nothing has invalidated what was fetched under this generation.
    #[must_use]
    pub fn is_current(&self, generation: &Generation) -> bool {
        self.generations.is_current(generation)
    }

    /// A fence for a fetch of this key with this token; `now` is on the clock of ages.
    #[must_use]
    pub fn fence(&self, key: &CacheKey, token: &Scope, now: Duration) -> Fence {
        self.generations.fence(key, token, now)
    }

    /// Stores the response to a request that was sent like this. It replaces what answered that
    /// request before, also where `Vary` has changed in between: that could be used again when the
    /// newer one ends. In a named scope it replaces only the same response, and takes over its
    /// admissions: another stays for the other tokens that it was shown to, as long as there are any.
    ///
    /// # Errors
    ///
    /// [`NotStored::Fenced`] when something has invalidated it while it was fetched, or may have,
    /// or when a later fetch has already returned something newer.
    pub fn put(
        &self,
        key: &CacheKey,
        sent: &HeaderMap,
        entry: &Arc<Entry>,
        fence: &Fence,
    ) -> Result<(), NotStored> {
        let (mut may_store, mut replaced) = (false, false);
        let gives_way = |other: &Arc<Entry>| {
            other.vary.matches(sent) && (!fence.is_shared() || entry.is_same_response(other))
        };
        self.cache.entry_by_ref(key).and_compute_with(|stored| {
            let stored = stored.map(moka::Entry::into_value);
            let stored = stored.iter().flat_map(|variants| variants.iter());
            let valid = stored.filter(|other| self.is_valid(key, other));
            let (older, others): (Vec<_>, Vec<_>) = valid.partition(|other| gives_way(other));
            let mut selected = others.iter().filter(|other| other.vary.matches(sent));
            may_store = self.generations.may_store(fence)
                && !older
                    .iter()
                    .any(|other| other.generation.is_after(&fence.generation))
                && !selected.any(|other| other.was_shown_later(fence));
            if !may_store {
                return Op::Nop;
            }
            replaced = !older.is_empty();
            for older in &older {
                entry.inherit_admissions(older);
            }
            let is_left =
                |other: &&Arc<Entry>| !other.vary.matches(sent) || other.withdraw(fence.token());
            let others = others.into_iter().filter(is_left).take(MAX_VARIANTS - 1);
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
        self.evict_excess(entry);
        Ok(())
    }

    /// Evicts the excess, once enough was stored.
    fn evict_excess(&self, entry: &Entry) {
        let weight = entry.weight() as u64;
        let stored = self.stored_bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        if stored >= self.evict_at {
            self.stored_bytes.store(0, Ordering::Relaxed);
            self.cache.run_pending_tasks();
        }
    }

    /// Every response stored for this path, or only those of one scope. Walks over all entries.
    #[must_use]
    pub fn inspect(&self, path: &str, scope: Option<ScopeId>) -> Vec<Inspection> {
        let of_path = |key: &CacheKey| {
            key.path() == path && scope.is_none_or(|scope| key.scope().id() == scope)
        };
        let mut found = Vec::new();
        for (key, variants) in self.cache.iter().filter(|(key, _)| of_path(key)) {
            found.extend(variants.iter().map(|entry| Inspection {
                key: Arc::clone(&key),
                entry: Arc::clone(entry),
                is_valid: self.is_valid(&key, entry),
            }));
        }
        found
    }

    /// Weighs an entry again after it has grown, if it is still stored.
    pub fn weigh(&self, key: &CacheKey, entry: &Arc<Entry>) {
        self.cache
            .entry_by_ref(key)
            .and_compute_with(|stored| match stored {
                Some(stored) if stored.value().iter().any(|other| Arc::ptr_eq(other, entry)) => {
                    Op::Put(stored.into_value())
                }
                _ => Op::Nop,
            });
        self.evict_excess(entry);
    }

    /// Ends what is stored: the fetch behind this fence has returned something newer that is not
    /// stored. Nor is, from now on, what fetches before it return. Where tokens share the scope, an
    /// answer to one of them ends what that token was shown, not what others were.
    pub fn end(&self, key: &CacheKey, fence: &Fence, ended: Ended<'_>) {
        // First: what is stored after the search below must find it.
        fence.supersede_earlier();
        let is_ended = |entry: &Arc<Entry>| match ended {
            Ended::Only(one) => Arc::ptr_eq(one, entry),
            _ if fence.is_shared() => false,
            Ended::Selected(sent) => entry.vary.matches(sent),
            Ended::Every => true,
        };
        self.cache.entry_by_ref(key).and_compute_with(|stored| {
            let Some(stored) = stored else { return Op::Nop };
            let rest: Variants = stored
                .value()
                .iter()
                .filter(|entry| entry.generation.is_after(&fence.generation) || !is_ended(entry))
                .map(Arc::clone)
                .collect();
            match rest.len() {
                0 => Op::Remove,
                left if left == stored.value().len() => Op::Nop,
                _ => Op::Put(rest),
            }
        });
    }

    /// Invalidates what is stored at these paths and below them, in every scope, with every query.
    /// However many they are, it is one invalidation.
    pub fn invalidate_paths(&self, paths: impl Iterator<Item: AsRef<str>>, cause: Invalidation) {
        for path in paths {
            for reach in [Reach::Here, Reach::Below] {
                self.generations.invalidate_path(path.as_ref(), reach);
            }
        }
        self.invalidated(cause);
    }

    /// Invalidates what a write has, or may have, changed, and answers whether there was anything.
    /// While the write is `pending`, what is fetched is not stored: the origin may still carry it out.
    pub fn invalidate_written<'p>(
        &self,
        paths: impl Iterator<Item = (&'p str, Reach)>,
        pending: Option<&Range<Duration>>,
    ) -> bool {
        let mut any = false;
        for (path, reach) in paths {
            if let Some(Range { start, end }) = pending {
                // First: a fetch that begins in between finds one or the other.
                self.generations.mark_pending(path, reach, *end, *start);
            }
            any |= self.generations.invalidate_path(path, reach);
        }
        any
    }

    /// Counts a write that has invalidated something.
    pub fn count_write(&self) {
        self.invalidated(Invalidation::Write);
    }

    /// Invalidates all that this scope may see. Where nothing is stored or in flight for it, it
    /// costs a look-up: guessed tokens are refused in great numbers.
    pub fn refuse(&self, scope: &Scope) {
        self.metrics.tokens_refused.inc();
        if self.generations.invalidate_scope(scope) {
            self.invalidated(Invalidation::Refusal);
        }
    }

    /// Invalidates all that one scope may see, by its name in logs.
    pub fn invalidate_scope(&self, scope: ScopeId, cause: Invalidation) {
        self.generations.invalidate_named_scope(scope);
        self.invalidated(cause);
    }

    /// Invalidates everything.
    pub fn invalidate_all(&self) {
        self.generations.invalidate_all();
        self.invalidated(Invalidation::PurgeAll);
    }

    fn invalidated(&self, cause: Invalidation) {
        self.metrics.invalidations.of(cause).inc();
        self.invalidated.notify_one();
    }

    /// Frees the memory of what was invalidated; answers how many keys were removed.
    pub fn sweep(&self) -> usize {
        let keys: Vec<_> = self
            .cache
            .iter()
            .filter(|(key, variants)| !self.any_valid(key, variants))
            .collect();
        let mut swept = 0;
        for (key, _) in keys {
            let removed = self
                .cache
                .entry_by_ref(&*key)
                .and_compute_with(|stored| match stored {
                    Some(stored) if !self.any_valid(&key, stored.value()) => Op::Remove,
                    _ => Op::Nop,
                });
            swept += usize::from(matches!(removed, CompResult::Removed(_)));
        }
        self.cache.run_pending_tasks();
        swept
    }

    fn any_valid(&self, key: &CacheKey, variants: &Variants) -> bool {
        variants.iter().any(|entry| self.is_valid(key, entry))
    }

    /// Sweeps whenever something was invalidated, at most once a second.
    pub async fn sweep_when_invalidated(self: Arc<Self>) {
        loop {
            self.invalidated.notified().await;
            let store = Arc::clone(&self);
            // It walks over all entries: not on a thread that answers requests.
            let _ = tokio::task::spawn_blocking(move || store.sweep()).await;
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
    }

    /// Brings the gauges up to date.
    pub fn measure(&self) {
        self.cache.run_pending_tasks();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.entries.set(gauge(self.cache.entry_count()));
        self.metrics.weight.set(gauge(self.cache.weighted_size()));
    }
}
