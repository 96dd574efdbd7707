//! Counters that exist only while something holds them.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Fewer counters than this are never cleared out.
const FEW: usize = 1 << 10;

/// Writes of unknown outcome that are told apart; reaching it takes two thousand a second.
const MAX_PENDING: usize = 1 << 16;

/// A number that only grows, and until when a write of unknown outcome may still change what it
/// stands for.
#[derive(Debug, Default)]
pub(super) struct Counter {
    value: AtomicU64,
    /// Microseconds on the clock of ages; zero unless it is among the pending ones.
    pending_until: AtomicU64,
}

/// A counter, and its value at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    counter: Arc<Counter>,
    value: u64,
}

/// One counter for each name under which something is stored, in flight or pending.
#[derive(Debug)]
pub(super) struct LiveCounters<K> {
    /// A plain mutex: held for a map operation, by a fetch or an invalidation, never by a hit.
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    counters: HashMap<K, Weak<Counter>, RandomState>,
    /// At this size the counters that nothing holds are cleared out.
    clear_at: usize,
    /// Counters with a pending write, each once, held until its deadline, the earliest first.
    pending: VecDeque<(Duration, Arc<Counter>)>,
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
            known: Mutex::new(Known {
                counters: HashMap::default(),
                clear_at: FEW,
                pending: VecDeque::new(),
            }),
        }
    }
}

impl<K: Hash + Eq> LiveCounters<K> {
    /// The counter of this name.
    pub(super) fn counter(&self, name: K) -> Arc<Counter> {
        self.lock().counter(name)
    }

    /// Moves a counter forward; answers whether anything holds it.
    pub(super) fn advance(&self, name: &K) -> bool {
        let known = self.lock();
        let counter = known.counters.get(name).and_then(Weak::upgrade);
        counter.inspect(|counter| counter.advance()).is_some()
    }

    /// Moves every counter forward whose name is one of these. Walks over all of them.
    pub(super) fn advance_all(&self, is_one: impl Fn(&K) -> bool) {
        let known = self.lock();
        for (_, counter) in known.counters.iter().filter(|(name, _)| is_one(name)) {
            if let Some(counter) = counter.upgrade() {
                counter.advance();
            }
        }
    }

    /// Marks what this counter stands for as changing until then. Answers whether there was room
    /// to remember it.
    pub(super) fn mark_pending(&self, name: K, until: Duration, now: Duration) -> bool {
        let mut known = self.lock();
        known.end_pending(now);
        let counter = known.counter(name);
        if counter.pending_until.load(Ordering::SeqCst) == 0 {
            if known.pending.len() == MAX_PENDING {
                return false;
            }
            known.pending.push_back((until, Arc::clone(&counter)));
        }
        counter
            .pending_until
            .fetch_max(micros(until), Ordering::SeqCst);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Known<K>> {
        // A map operation does not panic half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Known<K> {
    fn counter(&mut self, name: K) -> Arc<Counter> {
        if self.counters.len() >= self.clear_at {
            self.counters
                .retain(|_, counter| counter.strong_count() > 0);
            // Twice what is left, so that clearing out has an amortised constant cost.
            self.clear_at = (2 * self.counters.len()).max(FEW);
        }
        let slot = self.counters.entry(name).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let counter = Arc::default();
            *slot = Arc::downgrade(&counter);
            counter
        })
    }

    /// Gives up the counters whose writes are no longer pending.
    fn end_pending(&mut self, now: Duration) {
        while let Some((_, counter)) = self.pending.pop_front_if(|(end, _)| *end <= now) {
            // A later write has prolonged it.
            if counter.is_pending(now) {
                let until = counter.pending_until.load(Ordering::SeqCst);
                self.pending
                    .push_back((Duration::from_micros(until), counter));
            } else {
                counter.pending_until.store(0, Ordering::SeqCst);
            }
        }
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_counter_lives_as_long_as_it_is_held() {
        let counters = LiveCounters::default();
        let held = counters.counter("a");
        assert!(counters.advance(&"a"));
        assert_eq!(held.value(), 1);
        assert!(Arc::ptr_eq(&held, &counters.counter("a")));
        drop(held);
        assert!(!counters.advance(&"a"));
    }

    #[test]
    fn names_that_nothing_holds_take_no_memory() {
        let counters = LiveCounters::default();
        let held: Vec<_> = (0..10).map(|name| counters.counter(name)).collect();
        for name in 10..100_000 {
            drop(counters.counter(name));
        }
        assert!(counters.lock().counters.len() <= FEW);
        assert!((0..10).all(|name| counters.advance(&name)));
        assert!(held.iter().all(|counter| counter.value() == 1));
    }

    #[test]
    fn a_pending_write_ends_in_its_time_and_never_earlier_than_another() {
        let counters = LiveCounters::default();
        assert!(counters.mark_pending(1, SECOND * 3, Duration::ZERO));
        assert!(counters.mark_pending(1, SECOND * 2, Duration::ZERO));
        let counter = counters.counter(1);
        assert!(counter.is_pending(SECOND * 2) && !counter.is_pending(SECOND * 3));
        assert!(!counters.counter(2).is_pending(SECOND));
    }

    #[test]
    fn pending_writes_of_one_name_take_one_place_to_the_last_deadline() {
        let counters = LiveCounters::default();
        for millis in 0..2_000 {
            let now = Duration::from_millis(millis);
            assert!(counters.mark_pending(1, now + SECOND, now));
            assert_eq!(counters.lock().pending.len(), 1);
        }
        assert!(counters.counter(1).is_pending(SECOND * 2));
        assert!(counters.mark_pending(2, SECOND * 5, SECOND * 4));
        assert!(!counters.advance(&1), "nothing holds it");
    }

    #[test]
    fn pending_writes_are_bounded_and_make_room_as_they_end() {
        let counters = LiveCounters::default();
        for name in 0..MAX_PENDING {
            assert!(counters.mark_pending(name, SECOND, Duration::ZERO));
        }
        assert!(!counters.mark_pending(MAX_PENDING, SECOND, Duration::ZERO));
        assert!(counters.mark_pending(MAX_PENDING, SECOND * 2, SECOND));
        assert_eq!(counters.lock().pending.len(), 1);
    }
}
