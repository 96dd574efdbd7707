//! The store: moka bounds it and evicts; the fence and the scope decide what may come out.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::sync::Cache;
use tokio::sync::Notify;

use super::fence::Generations;
use super::{Candidate, Entry, Fence, Reach};
use crate::config::Config;
use crate::policy::NotStored;
use crate::request::{CacheKey, Prehashed, Scope, ScopeId};
use crate::telemetry::{Eviction, Invalidation, Metrics};

/// Stored responses of one key that differ in nominated request fields (RFC 9111 §4.1). Beyond
/// it, the one stored longest ago goes.
const MAX_VARIANTS: usize = 8;

/// After this part of the capacity has been stored, what is too much goes at once. moka does so
/// by itself after 64 changes: of the largest responses, those are half a gigabyte.
const SETTLED_EVERY: u64 = 64;

/// How often what was voided is swept out of memory, at most.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Every stored response.
#[derive(Debug)]
pub struct Store {
    cache: Cache<CacheKey, Variants, Prehashed>,
    generations: Generations,
    metrics: Arc<Metrics>,
    /// Bytes that have been stored since what was too much went.
    unsettled: AtomicU64,
    /// At so many, it goes.
    settle_at: u64,
    /// Told when something was voided.
    voided: Notify,
}

/// Newest first.
type Variants = Arc<[Arc<Entry>]>;

/// What the store holds for a request.
#[derive(Debug)]
pub enum Found {
    /// A response that answers it, if its freshness allows.
    Entry(Arc<Entry>),
    /// Responses to other values of the nominated fields.
    OtherVariant,
    /// Nothing.
    Nothing,
}

/// A stored response as an operator sees it.
#[derive(Debug)]
pub struct Stored {
    /// Where it is stored.
    pub key: Arc<CacheKey>,
    /// The response.
    pub entry: Arc<Entry>,
    /// Whether nothing has voided it.
    pub stands: bool,
}

impl Store {
    /// An empty store of `cache.capacity` bytes.
    #[must_use]
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let evictions = Arc::clone(&metrics);
        let cache = Cache::builder()
            .max_capacity(config.cache.capacity.0)
            .weigher(|key: &CacheKey, variants: &Variants| {
                // Twice: moka keeps the key of what has gone until it makes its table anew, and has
                // as many places for them as for what is there.
                let bytes = 2 * key.heap_bytes()
                    + variants.iter().map(|entry| entry.weight()).sum::<usize>();
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .time_to_live(config.freshness.hard_limit)
            .eviction_listener(move |_, _, cause| {
                let cause = match cause {
                    RemovalCause::Size => Eviction::Size,
                    RemovalCause::Expired => Eviction::Expired,
                    RemovalCause::Explicit => Eviction::Void,
                    // So it is called too when an entry is only weighed again: counted where one
                    // is stored.
                    RemovalCause::Replaced => return,
                };
                evictions.evictions.of(cause).inc();
            })
            .build_with_hasher(Prehashed::default());
        metrics
            .cache_capacity
            .set(i64::try_from(config.cache.capacity.0).unwrap_or(i64::MAX));
        Self {
            cache,
            generations: Generations::new(&config.cache.routes),
            metrics,
            unsettled: AtomicU64::new(0),
            settle_at: config.cache.capacity.0 / SETTLED_EVERY,
            voided: Notify::new(),
        }
    }

    /// What is stored for this key. `sent` is the request as the origin would get it; it is made
    /// only where the origin has nominated fields (RFC 9111 §4.1).
    #[must_use]
    pub fn find(&self, key: &CacheKey, sent: impl FnOnce() -> HeaderMap) -> Found {
        let Some(variants) = self.cache.get(key) else {
            return Found::Nothing;
        };
        let mut standing = variants
            .iter()
            .filter(|entry| self.stands(key, entry))
            .peekable();
        match standing.peek() {
            None => return Found::Nothing,
            Some(entry) if entry.vary.nominates_nothing() => {
                return Found::Entry(Arc::clone(entry));
            }
            Some(_) => {}
        }
        let sent = sent();
        match standing.find(|entry| entry.vary.matches(&sent)) {
            Some(entry) => Found::Entry(Arc::clone(entry)),
            None => Found::OtherVariant,
        }
    }

    /// Whether an entry may still come out. The key has its scope already; that it is compared
    /// once more is the lock on the door of the locked room.
    fn stands(&self, key: &CacheKey, entry: &Entry) -> bool {
        entry.scope == *key.scope() && self.generations.hold(&entry.fence)
    }

    /// What a fetch for this key begins under; `now` is on the clock of ages.
    #[must_use]
    pub fn fence(&self, key: &CacheKey, now: Duration) -> Fence {
        self.generations.fence(key, now)
    }

    /// A token that is about to ask the origin for itself, under this fence; `own` is the key in
    /// its own scope.
    #[must_use]
    pub fn candidate(&self, own: &CacheKey, fence: &Fence) -> Candidate {
        let holder = *own.scope();
        let stood = self.generations.standing(&holder);
        Candidate::new(holder, stood, fence.turn_of(own))
    }

    /// The same token, which is about to ask a second time.
    #[must_use]
    pub fn candidate_again(&self, candidate: &Candidate, fence: &Fence) -> Candidate {
        let holder = *candidate.holder();
        let stood = self.generations.standing(&holder);
        Candidate::new(holder, stood, fence.turn_after(candidate.turn()))
    }

    /// The origin has not this response for a token that shares it: whoever has stored it, and
    /// whichever variant of it. Nor does it count what that token was answered before.
    pub fn dismiss(&self, key: &CacheKey, candidate: &Candidate) {
        // First: what comes to be stored after the search below is to find it.
        self.generations.end(candidate.turn());
        self.cache.entry_by_ref(key).and_compute_with(|stored| {
            for entry in stored.iter().flat_map(|stored| stored.value().iter()) {
                entry.keep_admitted(|turn| self.generations.counts(turn));
            }
            Op::Nop
        });
    }

    /// Whether nothing has voided what was fetched under this fence.
    #[must_use]
    pub fn holds(&self, fence: &Fence) -> bool {
        self.generations.hold(fence)
    }

    /// Stores the response to a request that was sent like this, beside those of its key that
    /// answer other requests. What answered this one before goes, also where `Vary` has changed
    /// in between: it could come back when the newer one ends.
    ///
    /// # Errors
    ///
    /// [`NotStored::Fenced`] when something voided it while it was fetched, or may have, or when
    /// a fetch that began later has already brought something newer.
    pub fn put(
        &self,
        key: &CacheKey,
        sent: &HeaderMap,
        entry: &Arc<Entry>,
    ) -> Result<(), NotStored> {
        let (mut admitted, mut replaced) = (false, false);
        self.cache.entry_by_ref(key).and_compute_with(|stored| {
            let stored = stored.map(moka::Entry::into_value);
            let standing = stored.iter().flat_map(|variants| variants.iter());
            let standing = standing.filter(|other| self.stands(key, other));
            let (answered, others): (Vec<_>, Vec<_>) =
                standing.partition(|other| other.vary.matches(sent));
            admitted = self.generations.admit(key, &entry.fence)
                && !answered
                    .iter()
                    .any(|other| other.fence.is_after(&entry.fence));
            if !admitted {
                return Op::Nop;
            }
            replaced = !answered.is_empty();
            for older in &answered {
                entry.inherit(older);
            }
            entry.keep_admitted(|turn| self.generations.counts(turn));
            let others = others.into_iter().take(MAX_VARIANTS - 1);
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
        if !admitted {
            self.metrics.fenced.inc();
            return Err(NotStored::Fenced);
        }
        self.settle(entry);
        Ok(())
    }

    /// Makes what is too much go, where enough has come.
    fn settle(&self, entry: &Entry) {
        let weight = entry.weight() as u64;
        let unsettled = self.unsettled.fetch_add(weight, Ordering::Relaxed) + weight;
        if unsettled >= self.settle_at {
            self.unsettled.store(0, Ordering::Relaxed);
            self.cache.run_pending_tasks();
        }
    }

    /// Every response stored for this path, or only those of one scope. Walks over all entries.
    #[must_use]
    pub fn stored(&self, path: &str, scope: Option<ScopeId>) -> Vec<Stored> {
        let of_path = |key: &CacheKey| {
            key.path() == path && scope.is_none_or(|scope| key.scope().id() == scope)
        };
        let mut found = Vec::new();
        for (key, variants) in self.cache.iter().filter(|(key, _)| of_path(key)) {
            found.extend(variants.iter().map(|entry| Stored {
                key: Arc::clone(&key),
                entry: Arc::clone(entry),
                stands: self.stands(&key, entry),
            }));
        }
        found
    }

    /// Weighs an entry again after it has grown, if it is still the one that is stored.
    pub fn weigh(&self, key: &CacheKey, entry: &Arc<Entry>) {
        self.cache
            .entry_by_ref(key)
            .and_compute_with(|stored| match stored {
                Some(stored) if stored.value().iter().any(|other| Arc::ptr_eq(other, entry)) => {
                    Op::Put(stored.into_value())
                }
                _ => Op::Nop,
            });
        self.settle(entry);
    }

    /// Ends what is stored for a request that is sent like this: a fetch has brought something
    /// newer, and that is not stored. Nor is, from now on, what fetches before it bring.
    pub fn end(&self, key: &CacheKey, sent: &HeaderMap, by: &Fence) {
        self.end_where(key, by, |entry| entry.vary.matches(sent));
    }

    /// Ends every variant that is stored: the origin says that there is nothing.
    pub fn end_all(&self, key: &CacheKey, by: &Fence) {
        self.end_where(key, by, |_| true);
    }

    fn end_where(&self, key: &CacheKey, by: &Fence, is_meant: impl Fn(&Entry) -> bool) {
        // First: what comes to be stored after the search below is to find it.
        self.generations.end(by.turn_of(key));
        self.cache.entry_by_ref(key).and_compute_with(|stored| {
            let Some(stored) = stored else { return Op::Nop };
            let rest: Variants = stored
                .value()
                .iter()
                .filter(|other| other.fence.is_after(by) || !is_meant(other))
                .map(Arc::clone)
                .collect();
            if rest.is_empty() {
                Op::Remove
            } else {
                Op::Put(rest)
            }
        });
    }

    /// Voids what is stored at these paths and below them, in every scope, with every query.
    /// However many they are, it is one invalidation.
    pub fn void_paths(&self, paths: impl Iterator<Item: AsRef<str>>, cause: Invalidation) {
        for path in paths {
            for reach in [Reach::Here, Reach::Below] {
                self.generations.void_path(path.as_ref(), reach);
            }
        }
        self.void(cause);
    }

    /// Voids what a write has, or may have, changed. While it is `unsettled`, what is fetched is
    /// not stored: nobody knows whether the write is still to come.
    pub fn void_written<'p>(
        &self,
        paths: impl Iterator<Item = (&'p str, Reach)>,
        unsettled: Option<&Range<Duration>>,
    ) {
        let mut voided = false;
        for (path, reach) in paths {
            if let Some(Range { start, end }) = unsettled {
                // First: a fetch that begins in between finds one or the other.
                self.generations.unsettle(path, reach, *end, *start);
            }
            voided |= self.generations.void_path(path, reach);
        }
        if voided {
            self.void(Invalidation::Write);
        }
    }

    /// Voids all that this scope may see. Where it has nothing stored and nothing in the air, it
    /// costs a look: guessed tokens are refused in great numbers.
    pub fn refuse(&self, scope: &Scope) {
        if self.generations.void_scope(scope) {
            self.void(Invalidation::Refusal);
        }
    }

    /// Voids all that one scope may see, by the name that logs give it.
    pub fn void_scope(&self, scope: ScopeId, cause: Invalidation) {
        self.generations.void_named_scope(scope);
        self.void(cause);
    }

    /// Voids everything.
    pub fn void_all(&self) {
        self.generations.void_all();
        self.void(Invalidation::PurgeAll);
    }

    fn void(&self, cause: Invalidation) {
        self.metrics.invalidations.of(cause).inc();
        self.voided.notify_one();
    }

    /// Frees the memory of what was voided; answers how many keys went.
    pub fn sweep(&self) -> usize {
        let keys: Vec<_> = self
            .cache
            .iter()
            .filter(|(key, variants)| !self.any_stands(key, variants))
            .collect();
        let mut swept = 0;
        for (key, _) in keys {
            let removed = self
                .cache
                .entry_by_ref(&*key)
                .and_compute_with(|stored| match stored {
                    Some(stored) if !self.any_stands(&key, stored.value()) => Op::Remove,
                    _ => Op::Nop,
                });
            swept += usize::from(matches!(
                removed,
                moka::ops::compute::CompResult::Removed(_)
            ));
        }
        self.cache.run_pending_tasks();
        swept
    }

    fn any_stands(&self, key: &CacheKey, variants: &Variants) -> bool {
        variants.iter().any(|entry| self.stands(key, entry))
    }

    /// Sweeps whenever something was voided, but not all the time.
    pub async fn sweep_when_voided(self: Arc<Self>) {
        loop {
            self.voided.notified().await;
            let store = Arc::clone(&self);
            // A walk over all entries: not for a thread that answers requests.
            let _ = tokio::task::spawn_blocking(move || store.sweep()).await;
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
    }

    /// Brings the gauges up to date.
    pub fn measure(&self) {
        self.cache.run_pending_tasks();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics
            .cache_entries
            .set(gauge(self.cache.entry_count()));
        self.metrics
            .cache_weight
            .set(gauge(self.cache.weighted_size()));
    }
}
