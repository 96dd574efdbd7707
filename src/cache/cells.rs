//! Generations that exist only while somebody holds them.

use std::collections::HashMap;
use std::hash::{Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Fewer than this are never cleared out.
const FEW: usize = 1 << 10;

/// One counter for each name that something stored or in the air stands under.
#[derive(Debug)]
pub(super) struct Cells<K> {
    /// A plain mutex: held for a map operation, on the way of a fetch or of a void, not of a hit.
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    cells: HashMap<K, Weak<AtomicU64>, RandomState>,
    /// At this size those that nobody holds are cleared out.
    clear_at: usize,
}

impl<K> Default for Cells<K> {
    fn default() -> Self {
        Self {
            known: Mutex::new(Known {
                cells: HashMap::default(),
                clear_at: FEW,
            }),
        }
    }
}

impl<K: Hash + Eq> Cells<K> {
    /// The counter of this name.
    pub(super) fn cell(&self, name: K) -> Arc<AtomicU64> {
        let mut known = self.lock();
        if known.cells.len() >= known.clear_at {
            known.cells.retain(|_, cell| cell.strong_count() > 0);
            // Twice what is left: clearing out costs each newcomer a constant.
            known.clear_at = (2 * known.cells.len()).max(FEW);
        }
        let slot = known.cells.entry(name).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let cell = Arc::default();
            *slot = Arc::downgrade(&cell);
            cell
        })
    }

    /// Moves a counter forward; answers whether anybody holds it.
    pub(super) fn advance(&self, name: &K) -> bool {
        let known = self.lock();
        let cell = known.cells.get(name).and_then(Weak::upgrade);
        cell.inspect(|cell| {
            cell.fetch_add(1, Ordering::SeqCst);
        })
        .is_some()
    }

    /// Moves every counter forward whose name is one of these. Walks over all of them.
    pub(super) fn advance_all(&self, is_one: impl Fn(&K) -> bool) {
        let known = self.lock();
        for (_, cell) in known.cells.iter().filter(|(name, _)| is_one(name)) {
            if let Some(cell) = cell.upgrade() {
                cell.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known<K>> {
        // A map operation does not panic half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_lives_as_long_as_it_is_held() {
        let cells = Cells::default();
        let held = cells.cell("a");
        assert!(cells.advance(&"a"));
        assert_eq!(held.load(Ordering::SeqCst), 1);
        assert!(Arc::ptr_eq(&held, &cells.cell("a")));
        drop(held);
        assert!(!cells.advance(&"a"));
    }

    #[test]
    fn names_that_nobody_holds_take_no_memory() {
        let cells = Cells::default();
        let held: Vec<_> = (0..10).map(|name| cells.cell(name)).collect();
        for name in 10..100_000 {
            drop(cells.cell(name));
        }
        assert!(cells.lock().cells.len() <= FEW);
        assert!((0..10).all(|name| cells.advance(&name)));
        assert!(held.iter().all(|cell| cell.load(Ordering::SeqCst) == 1));
    }
}
