//! The lease: how long a replica may use what it has stored without applying the log to its end again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::counters::micros;

/// The end of the lease. Without a shared level it never ends.
#[derive(Debug)]
pub struct Lease {
    /// Monotonic, in microseconds.
    end: AtomicU64,
    /// `shared.lease`, in microseconds.
    length: AtomicU64,
}

impl Lease {
    /// A lease without an end.
    pub fn unlimited() -> Self {
        Self {
            end: AtomicU64::new(u64::MAX),
            length: AtomicU64::new(0),
        }
    }

    /// Limits a lease: it has ended at `now`, and is extended by `length` at a time.
    pub fn limit(&self, length: Duration, now: Duration) {
        self.length.store(micros(length), Ordering::SeqCst);
        self.end.store(micros(now), Ordering::SeqCst);
    }

    /// Extends the lease: the beat sent at `sent` was answered, and the log has been applied to its end.
    pub fn extend(&self, sent: Duration) {
        let end = micros(sent).saturating_add(self.length.load(Ordering::SeqCst));
        self.end.fetch_max(end, Ordering::SeqCst);
    }

    /// Whether the lease has not ended.
    pub fn is_held(&self, now: Duration) -> bool {
        micros(now) < self.end.load(Ordering::SeqCst)
    }

    /// The time until the lease ends.
    pub fn left(&self, now: Duration) -> Duration {
        let end = self.end.load(Ordering::SeqCst);
        Duration::from_micros(end.saturating_sub(micros(now)))
    }

    /// Whether a response may be used whose fetch began at `began`: while the lease lasts; and if the fetch
    /// began after its end, for the length of a lease from then. The arrival of the response does not
    /// count: it may be much later, if the process was stopped in between.
    pub fn admits(&self, began: Duration, now: Duration) -> bool {
        let end = self.end.load(Ordering::SeqCst);
        if micros(now) < end {
            return true;
        }
        let began = micros(began);
        let length = self.length.load(Ordering::SeqCst);
        began >= end && micros(now) < began.saturating_add(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_under_a_lease_ends_with_it() {
        let at = Duration::from_millis;
        let lease = Lease::unlimited();
        assert!(lease.admits(at(0), at(u64::MAX / 1_000 - 1)));
        lease.limit(at(2_000), at(1_000));
        for (received, now, is_admitted) in [
            (999, 1_000, false),
            (1_000, 1_000, true),
            (1_000, 2_999, true),
            (1_000, 3_000, false),
        ] {
            assert_eq!(
                lease.admits(at(received), at(now)),
                is_admitted,
                "{received} {now}"
            );
        }
        lease.extend(at(1_500));
        lease.extend(at(1_200));
        assert_eq!(lease.left(at(1_500)), at(2_000));
        for (received, now, is_admitted) in [
            (0, 3_499, true),
            (3_499, 3_500, false),
            (3_500, 5_499, true),
            (3_500, 5_500, false),
        ] {
            assert_eq!(
                lease.admits(at(received), at(now)),
                is_admitted,
                "{received} {now}"
            );
            assert_eq!(lease.is_held(at(now)), now < 3_500);
        }
    }
}
