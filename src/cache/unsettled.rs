//! Paths that a write of unknown end may still change.

use std::collections::HashMap;
use std::time::Duration;

use crate::request::Prehashed;

/// Paths that are told apart; it takes two thousand lost writes a second to come here.
const MOST: usize = 1 << 16;

/// Until when nothing that is fetched is stored, by the hash of a path.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    until: HashMap<u64, Duration, Prehashed>,
    /// The same for every path: set when there are more than can be told apart. To store nothing
    /// for a while is better than to store what may be wrong.
    everywhere: Duration,
}

impl Unsettled {
    pub(super) fn add(&mut self, path: u64, until: Duration, now: Duration) {
        if self.until.len() >= MOST {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() < MOST {
            let known = self.until.entry(path).or_default();
            *known = until.max(*known);
        } else {
            self.everywhere = until.max(self.everywhere);
        }
    }

    pub(super) fn holds(&self, path: u64, now: Duration) -> bool {
        now < self.everywhere || self.until.get(&path).is_some_and(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_path_settles_in_its_time() {
        let mut unsettled = Unsettled::default();
        unsettled.add(1, SECOND * 3, Duration::ZERO);
        unsettled.add(1, SECOND * 2, Duration::ZERO);
        assert!(unsettled.holds(1, SECOND * 2) && !unsettled.holds(1, SECOND * 3));
        assert!(!unsettled.holds(2, SECOND));
    }

    #[test]
    fn more_than_can_be_told_apart_are_all_unsettled_and_settle_again() {
        let mut unsettled = Unsettled::default();
        for path in 0..=MOST as u64 {
            unsettled.add(path, SECOND, Duration::ZERO);
        }
        assert!(unsettled.holds(u64::MAX, Duration::ZERO));
        assert!(!unsettled.holds(u64::MAX, SECOND));
        unsettled.add(7, SECOND * 2, SECOND);
        assert_eq!(unsettled.until.len(), 1);
        assert!(!unsettled.holds(8, SECOND) && unsettled.holds(7, SECOND));
    }
}
