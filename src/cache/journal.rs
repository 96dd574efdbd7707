//! The journal: the latest invalidations of the log that the replicas share, by what they concern.
//!
//! A response that another replica has fetched is used only if nothing has concerned it since its
//! fetch began; the local counters do not know, since they count only for what is stored here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum items that are remembered; what was fetched before the oldest of them is not used.
const MAX_ITEMS: usize = 10_000;

/// Hashes of what was invalidated, with the number of the latest item that concerned it.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// A std mutex: held for a few map operations, never by a hit.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Everything up to this item may have been invalidated by items that are not remembered.
    floor: u64,
    latest: HashMap<u64, u64>,
    items: VecDeque<(u64, Box<[u64]>)>,
}

impl Journal {
    /// Records an item of the log, and the hashes of what it concerns.
    pub(super) fn record(&self, id: u64, concerned: Box<[u64]>) {
        let mut state = self.lock();
        if state.items.len() == MAX_ITEMS
            && let Some((oldest, hashes)) = state.items.pop_front()
        {
            state.floor = state.floor.max(oldest);
            for hash in hashes {
                if state.latest.get(&hash) == Some(&oldest) {
                    state.latest.remove(&hash);
                }
            }
        }
        state
            .latest
            .extend(concerned.iter().map(|hash| (*hash, id)));
        state.items.push_back((id, concerned));
    }

    /// Forgets every item: everything up to `floor` may have been invalidated.
    pub(super) fn reset(&self, floor: u64) {
        *self.lock() = State {
            floor,
            ..State::default()
        };
    }

    /// Whether an item after `id` concerns one of these, or may do so.
    pub(super) fn has_since(&self, id: u64, mut concerned: impl Iterator<Item = u64>) -> bool {
        let state = self.lock();
        id < state.floor || concerned.any(|hash| state.latest.get(&hash).is_some_and(|at| *at > id))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Map operations do not panic midway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_invalidated_since_counts_as_invalidated() {
        let journal = Journal::default();
        let has_since = |id, hash| journal.has_since(id, std::iter::once(hash));
        assert!(!has_since(0, 7));
        journal.record(1, Box::new([7, 8]));
        journal.record(2, Box::new([7]));
        for (id, hash, expected) in [(0, 7, true), (1, 7, true), (2, 7, false), (0, 8, true)] {
            assert_eq!(has_since(id, hash), expected, "{id} {hash}");
        }
        assert!(!has_since(1, 8));
        for id in 3..=MAX_ITEMS as u64 + 2 {
            journal.record(id, Box::new([9]));
        }
        assert!(has_since(1, 5), "the items up to the second are forgotten");
        assert!(!has_since(2, 7) && !has_since(2, 5) && has_since(2, 9));
        assert_eq!(journal.lock().latest.len(), 1);
        journal.reset(40_000);
        assert!(has_since(39_999, 5) && !has_since(40_000, 9));
    }
}
