//! Pauses operations on entries: after several failures in a row the engine is taken to be unavailable,
//! and further requests would wait for it in vain.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::counters::micros;

/// Failures in a row that begin a pause.
const FAILURES: u32 = 5;

/// The length of a pause.
const LENGTH: Duration = Duration::from_secs(1);

/// Counts failures. After a pause, one more begins the next.
#[derive(Debug, Default)]
pub struct Pause {
    failures: AtomicU32,
    /// Monotonic, in microseconds.
    until: AtomicU64,
}

impl Pause {
    /// Whether operations are paused.
    pub fn is_on(&self, now: Duration) -> bool {
        micros(now) < self.until.load(Ordering::Relaxed)
    }

    /// Records the result of an operation.
    pub fn record(&self, succeeded: bool, now: Duration) {
        if succeeded {
            self.failures.store(0, Ordering::Relaxed);
        } else if self.failures.fetch_add(1, Ordering::Relaxed) >= FAILURES - 1 {
            self.until.store(micros(now + LENGTH), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_pause_operations_for_a_second() {
        let pause = Pause::default();
        let at = Duration::from_millis;
        // When, the result if there is one, whether operations are paused then.
        for (now, result, is_on) in [
            (0, Some(false), false),
            (0, Some(true), false),
            (1, Some(false), false),
            (2, Some(false), false),
            (3, Some(false), false),
            (4, Some(false), false),
            (5, Some(false), true),
            (1_004, None, true),
            (1_005, None, false),
            (1_006, Some(false), true),
            (2_006, Some(true), false),
            (2_007, Some(false), false),
        ] {
            if let Some(succeeded) = result {
                pause.record(succeeded, at(now));
            }
            assert_eq!(pause.is_on(at(now)), is_on, "{now}");
        }
    }
}
