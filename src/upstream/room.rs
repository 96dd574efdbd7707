//! The memory of bodies that are being read for the cache, all together (`cache.max_filling`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What fetches in flight share. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Filling {
    limit: u64,
    taken: Arc<AtomicU64>,
}

/// Room for one body; free when dropped.
#[derive(Debug)]
pub(super) struct Room {
    filling: Filling,
    bytes: u64,
}

impl Filling {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    /// Room for nothing yet.
    pub(super) fn room(&self) -> Room {
        Room {
            filling: self.clone(),
            bytes: 0,
        }
    }
}

impl Room {
    /// Grows to so many bytes; answers whether they fit, beside those of all others.
    pub(super) fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let Filling { limit, taken } = &self.filling;
        let fits = taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(more).filter(|sum| sum <= limit)
            })
            .is_ok();
        if fits {
            self.bytes += more;
        }
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.filling.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_share_what_there_is_and_give_it_back() {
        let filling = Filling::new(10);
        let (mut one, mut two) = (filling.room(), filling.room());
        assert!(one.grow_to(6));
        assert!(one.grow_to(4), "it has that much already");
        assert!(!two.grow_to(5));
        assert!(two.grow_to(4));
        assert!(!one.grow_to(7));
        drop(one);
        assert!(two.grow_to(10));
        assert!(!two.grow_to(u64::MAX));
    }
}
