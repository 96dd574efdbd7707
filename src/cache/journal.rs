//! The journal: the latest items of the shared log, indexed by what they concern.
//!
//! A response that another replica has fetched is used only if no item has concerned it since its fetch
//! began. The local counters cannot show that, because they count only for responses stored here.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

/// Maximum items; responses fetched before the oldest of them are not used.
const MAX_ITEMS: usize = 10_000;

/// Maximum refusals (403) of one token among them. With more, all shared responses for this token count as
/// invalidated, so that one token cannot use up the journal.
const MAX_REFUSALS: usize = 100;

/// Hashes of invalidated paths, tokens and scopes, each with the number of its latest item.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// A blocking mutex: held for a few map operations, never by a hit.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Items up to this one may be missing, so responses from before it count as invalidated.
    floor: u64,
    latest: HashMap<u64, u64>,
    items: VecDeque<Item>,
}

#[derive(Debug)]
struct Item {
    id: u64,
    /// Hashes of the paths, tokens or scopes that it concerns.
    concerned: Box<[u64]>,
    /// The hash of the token, if a resource was refused to it.
    refused: Option<u64>,
}

impl Journal {
    /// Records an item of the log, and the hashes of what it concerns.
    pub(super) fn record(&self, id: u64, concerned: Box<[u64]>) {
        self.state.lock().push(Item {
            id,
            concerned,
            refused: None,
        });
    }

    /// Records an item of the log by which a resource was refused to a token.
    pub(super) fn record_refusal(&self, id: u64, resource: u64, token: u64) {
        let mut state = self.state.lock();
        let refusals = state
            .items
            .iter()
            .filter(|item| item.refused == Some(token));
        let are_too_many = refusals.count() >= MAX_REFUSALS;
        if are_too_many {
            state.remove(|item| item.refused == Some(token));
        }
        state.push(Item {
            id,
            concerned: Box::new([if are_too_many { token } else { resource }]),
            refused: (!are_too_many).then_some(token),
        });
    }

    /// Forgets every item: everything up to `floor` may have been invalidated.
    pub(super) fn reset(&self, floor: u64) {
        *self.state.lock() = State {
            floor,
            ..State::default()
        };
    }

    /// Whether an item after `id` concerns one of these hashes, or may do so.
    pub(super) fn has_since(&self, id: u64, mut concerned: impl Iterator<Item = u64>) -> bool {
        let state = self.state.lock();
        id < state.floor || concerned.any(|hash| state.latest.get(&hash).is_some_and(|at| *at > id))
    }
}

impl State {
    /// Adds an item. One that concerns the same, such as the repetition of a write, is replaced.
    fn push(&mut self, item: Item) {
        let same = item
            .concerned
            .first()
            .and_then(|hash| self.latest.get(hash));
        if let Some(same) = same
            && let Ok(place) = self.items.binary_search_by_key(same, |item| item.id)
            && self.items[place].concerned == item.concerned
        {
            self.items.remove(place);
        }
        if self.items.len() == MAX_ITEMS
            && let Some(oldest) = self.items.pop_front()
        {
            self.floor = self.floor.max(oldest.id);
            forget(&mut self.latest, &oldest);
        }
        let hashes = item.concerned.iter();
        self.latest.extend(hashes.map(|hash| (*hash, item.id)));
        self.items.push_back(item);
    }

    /// Removes items that a later one includes.
    fn remove(&mut self, is_included: impl Fn(&Item) -> bool) {
        let latest = &mut self.latest;
        self.items.retain(|item| {
            let is_included = is_included(item);
            if is_included {
                forget(latest, item);
            }
            !is_included
        });
    }
}

fn forget(latest: &mut HashMap<u64, u64>, item: &Item) {
    for hash in &item.concerned {
        if latest.get(hash) == Some(&item.id) {
            latest.remove(hash);
        }
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
            journal.record(id, Box::new([9, 1_000 + id]));
        }
        assert!(has_since(1, 5), "the items up to the second are forgotten");
        assert!(!has_since(2, 7) && !has_since(2, 5) && has_since(2, 9));
        assert_eq!(journal.state.lock().latest.len(), MAX_ITEMS + 1);
        journal.reset(40_000);
        assert!(has_since(39_999, 5) && !has_since(40_000, 9));
    }

    #[test]
    fn the_same_again_takes_no_more_room() {
        let journal = Journal::default();
        journal.record(1, Box::new([5]));
        for id in 2..=3 * MAX_ITEMS as u64 {
            journal.record(id, Box::new([7, 8]));
        }
        let has_since = |id, hash| journal.has_since(id, std::iter::once(hash));
        assert!(has_since(0, 5) && !has_since(1, 5) && has_since(2, 7) && has_since(2, 8));
        assert_eq!(journal.state.lock().items.len(), 2);
    }

    #[test]
    fn many_refusals_of_one_token_become_one_of_all_its_responses() {
        let journal = Journal::default();
        let has_since = |id, hash| journal.has_since(id, std::iter::once(hash));
        let (token, other) = (1, 2);
        journal.record_refusal(1, 500, other);
        for id in 2..=9_000 {
            journal.record_refusal(id, 100, token);
        }
        assert_eq!(
            journal.state.lock().items.len(),
            2,
            "one resource is one item"
        );
        for id in 0..50 * MAX_REFUSALS as u64 {
            journal.record_refusal(10_000 + id, 10_000 + id, token);
            assert!(has_since(9_999 + id, 10_000 + id) || has_since(9_999 + id, token));
            assert!(journal.state.lock().items.len() <= MAX_REFUSALS + 51);
        }
        assert!(
            has_since(0, 500) && !has_since(1, 500),
            "others lose nothing"
        );
        assert!(has_since(9_999, token) && !has_since(20_000, token));
    }
}
