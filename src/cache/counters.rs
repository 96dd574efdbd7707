//! Counters by key that exist only while something holds them; `generation` defines what they count.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::request::{Prehashed, Scope};

/// Dropped counters are removed from the table only when it holds at least this many.
const MIN_CLEAR: usize = 1 << 10;

/// Maximum counters with a pending write (one that the origin may still apply). At the bound a
/// further write is not tracked: it has invalidated, but a response fetched while the origin may
/// still apply it is stored.
const MAX_PENDING: usize = 1 << 16;

/// Maximum of them for the writes of one token, or of all that are not accepted, so that it cannot
/// use them up for others.
const MAX_PENDING_OF_TOKEN: usize = MAX_PENDING / 16;

/// A number that only grows, and the deadline of a pending write to the resource that it counts for.
#[derive(Debug, Default)]
pub(super) struct Counter {
    value: AtomicU64,
    /// Monotonic time in microseconds; zero unless the counter is in the queue of pending ones.
    pending_until: AtomicU64,
}

/// A counter, and its value when the snapshot was taken.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    counter: Arc<Counter>,
    value: u64,
}

/// A counter for each key under which something is stored, in flight or pending. Keys are hashes or digests.
#[derive(Debug)]
pub(super) struct LiveCounters<K> {
    /// A blocking mutex: held for a map operation, by a fetch or an invalidation, never by a hit.
    table: Mutex<Table<K>>,
}

#[derive(Debug)]
struct Table<K> {
    counters: HashMap<K, Weak<Counter>, Prehashed>,
    /// The size at which dropped counters are removed.
    clear_at: usize,
    /// Counters with a pending write, each once, held until its deadline; earliest first.
    pending: VecDeque<Pending>,
    /// The number of them by the token that wrote first.
    pending_of: HashMap<Option<Scope>, usize, RandomState>,
}

#[derive(Debug)]
struct Pending {
    until: Duration,
    counter: Arc<Counter>,
    token: Option<Scope>,
}

// === impl Counter ===

impl Counter {
    pub(super) fn value(&self) -> u64 {
        self.value.load(Ordering::SeqCst)
    }

    fn advance(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn raise_to(&self, value: u64) {
        self.value.fetch_max(value, Ordering::SeqCst);
    }

    pub(super) fn is_pending(&self, now: Duration) -> bool {
        micros(now) < self.pending_until.load(Ordering::SeqCst)
    }
}

// === impl Snapshot ===

impl Snapshot {
    pub(super) fn of(counter: Arc<Counter>) -> Self {
        let value = counter.value();
        Self { counter, value }
    }

    pub(super) fn is_current(&self) -> bool {
        self.counter.value() == self.value
    }

    pub(super) fn is_pending(&self, now: Duration) -> bool {
        self.counter.is_pending(now)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.counter, &other.counter) && self.value == other.value
    }
}

// === impl LiveCounters ===

impl<K> Default for LiveCounters<K> {
    fn default() -> Self {
        Self {
            table: Mutex::new(Table {
                counters: HashMap::default(),
                clear_at: MIN_CLEAR,
                pending: VecDeque::new(),
                pending_of: HashMap::default(),
            }),
        }
    }
}

impl<K: Hash + Eq> LiveCounters<K> {
    /// The counter of this key, created if necessary.
    pub(super) fn counter(&self, key: K) -> Arc<Counter> {
        self.table.lock().counter(key)
    }

    /// Advances a counter; returns whether it exists.
    pub(super) fn advance(&self, key: &K) -> bool {
        self.find(key)
            .inspect(|counter| counter.advance())
            .is_some()
    }

    /// Advances every counter whose key matches; returns whether there is one. Iterates over all of them.
    pub(super) fn advance_all(&self, matches: impl Fn(&K) -> bool) -> bool {
        let found = self.find_all(matches);
        for counter in &found {
            counter.advance();
        }
        !found.is_empty()
    }

    /// The counter of this key, if it exists.
    pub(super) fn find(&self, key: &K) -> Option<Arc<Counter>> {
        self.table.lock().counters.get(key).and_then(Weak::upgrade)
    }

    /// Every counter whose key matches. Iterates over all of them.
    pub(super) fn find_all(&self, matches: impl Fn(&K) -> bool) -> Vec<Arc<Counter>> {
        let table = self.table.lock();
        let counters = table.counters.iter().filter(|(key, _)| matches(key));
        counters
            .filter_map(|(_, counter)| counter.upgrade())
            .collect()
    }

    /// Marks a write as pending until then; returns false if there are too many pending writes, in
    /// total or of this token (`None`: of those that are not accepted).
    pub(super) fn mark_pending(
        &self,
        key: K,
        token: Option<&Scope>,
        until: Duration,
        now: Duration,
    ) -> bool {
        let mut table = self.table.lock();
        table.end_pending(now);
        let counter = table.counter(key);
        if counter.pending_until.load(Ordering::SeqCst) == 0 {
            let token = token.copied();
            let of_token = table.pending_of.get(&token).copied().unwrap_or(0);
            if table.pending.len() == MAX_PENDING || of_token == MAX_PENDING_OF_TOKEN {
                return false;
            }
            table.pending_of.insert(token, of_token + 1);
            table.enqueue(Pending {
                until,
                counter: Arc::clone(&counter),
                token,
            });
        }
        counter
            .pending_until
            .fetch_max(micros(until), Ordering::SeqCst);
        true
    }
}

impl<K: Hash + Eq> Table<K> {
    fn counter(&mut self, key: K) -> Arc<Counter> {
        if self.counters.len() >= self.clear_at {
            self.counters
                .retain(|_, counter| counter.strong_count() > 0);
            // Twice the remaining number, for an amortised constant cost.
            self.clear_at = (2 * self.counters.len()).max(MIN_CLEAR);
        }
        let slot = self.counters.entry(key).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let counter = Arc::default();
            *slot = Arc::downgrade(&counter);
            counter
        })
    }

    /// Queues a pending write by its deadline; most are later than all others.
    fn enqueue(&mut self, write: Pending) {
        let at = self.pending.partition_point(|one| one.until <= write.until);
        self.pending.insert(at, write);
    }

    /// Releases the counters whose writes are no longer pending.
    fn end_pending(&mut self, now: Duration) {
        while let Some(mut ended) = self.pending.pop_front_if(|first| first.until <= now) {
            // A later write has moved the deadline.
            if ended.counter.is_pending(now) {
                let until = ended.counter.pending_until.load(Ordering::SeqCst);
                ended.until = Duration::from_micros(until);
                self.enqueue(ended);
                continue;
            }
            ended.counter.pending_until.store(0, Ordering::SeqCst);
            if let Entry::Occupied(mut left) = self.pending_of.entry(ended.token) {
                *left.get_mut() -= 1;
                if *left.get() == 0 {
                    left.remove();
                }
            }
        }
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::request::ScopeKey;

    const SECOND: Duration = Duration::from_secs(1);

    fn token() -> Scope {
        ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"))
    }

    #[test]
    fn a_counter_exists_while_it_is_held() {
        let counters = LiveCounters::default();
        let held = counters.counter(1_u64);
        assert!(counters.advance(&1));
        assert_eq!(held.value(), 1);
        assert!(Arc::ptr_eq(&held, &counters.counter(1_u64)));
        drop(held);
        assert!(!counters.advance(&1));
    }

    #[test]
    fn keys_of_dropped_counters_are_removed() {
        let counters = LiveCounters::default();
        let held: Vec<_> = (0..10_u64).map(|key| counters.counter(key)).collect();
        for key in 10..100_000 {
            drop(counters.counter(key));
        }
        assert!(counters.table.lock().counters.len() <= MIN_CLEAR);
        assert!((0..10).all(|key| counters.advance(&key)));
        assert!(held.iter().all(|counter| counter.value() == 1));
    }

    #[test]
    fn the_latest_deadline_of_a_pending_write_counts() {
        let (counters, token) = (LiveCounters::default(), token());
        assert!(counters.mark_pending(1_u64, Some(&token), SECOND * 3, Duration::ZERO));
        assert!(counters.mark_pending(1_u64, Some(&token), SECOND * 2, Duration::ZERO));
        let counter = counters.counter(1);
        assert!(counter.is_pending(SECOND * 2) && !counter.is_pending(SECOND * 3));
        assert!(!counters.counter(2).is_pending(SECOND));
    }

    #[test]
    fn pending_writes_to_one_key_take_one_slot_until_the_last_deadline() {
        let (counters, token) = (LiveCounters::default(), token());
        for millis in 0..2_000 {
            let now = Duration::from_millis(millis);
            assert!(counters.mark_pending(1_u64, Some(&token), now + SECOND, now));
            assert_eq!(counters.table.lock().pending.len(), 1);
        }
        assert!(counters.counter(1).is_pending(SECOND * 2));
        assert!(counters.mark_pending(2, Some(&token), SECOND * 5, SECOND * 4));
        assert!(!counters.advance(&1), "the counter is dropped");
    }

    #[test]
    fn pending_writes_are_bounded_and_free_their_slots_when_they_end() {
        let counters = LiveCounters::default();
        let tokens: Vec<_> = (0..16).map(|_| token()).collect();
        for (key, token) in (0..MAX_PENDING as u64).zip(tokens.iter().cycle()) {
            assert!(counters.mark_pending(key, Some(token), SECOND, Duration::ZERO));
        }
        let (next, other) = (MAX_PENDING as u64, token());
        assert!(!counters.mark_pending(next, Some(&other), SECOND, Duration::ZERO));
        assert!(counters.mark_pending(next, Some(&other), SECOND * 2, SECOND));
        let table = counters.table.lock();
        assert_eq!((table.pending.len(), table.pending_of.len()), (1, 1));
    }

    #[test]
    fn a_long_pending_write_does_not_keep_the_slots_of_shorter_ones() {
        let (counters, token) = (LiveCounters::default(), token());
        assert!(counters.mark_pending(0_u64, Some(&token), SECOND * 30, Duration::ZERO));
        for key in 1..10 {
            assert!(counters.mark_pending(key, None, SECOND, Duration::ZERO));
        }
        assert!(counters.mark_pending(10, None, SECOND * 2, SECOND));
        let table = counters.table.lock();
        assert_eq!(table.pending.len(), 2);
        assert!(table.pending.iter().is_sorted_by_key(|write| write.until));
    }

    #[test]
    fn one_token_does_not_use_up_the_pending_writes_of_others() {
        let counters = LiveCounters::default();
        let (one, other) = (token(), token());
        let last = MAX_PENDING_OF_TOKEN as u64;
        for key in 0..MAX_PENDING as u64 {
            let is_tracked = counters.mark_pending(key, Some(&one), SECOND, Duration::ZERO);
            assert_eq!(is_tracked, key < last);
        }
        assert!(counters.mark_pending(MAX_PENDING as u64, Some(&other), SECOND, Duration::ZERO));
        assert!(!counters.counter(last).is_pending(Duration::ZERO));
    }
}
