//! The clock: the one place that asks what time it is, and the one that a test can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::policy::Moment;

/// Where `now` comes from. Cheap to clone; clones of a manual clock move together.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The machine's clocks. The monotonic one counts from `start`, so that ages
    /// survive a step of the wall clock.
    System { start: Instant },
    /// Nanoseconds that a test has let pass since `wall`.
    Manual {
        wall: SystemTime,
        passed: Arc<AtomicU64>,
    },
}

impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System {
            start: Instant::now(),
        })
    }

    /// A clock that stands at `wall` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(wall: SystemTime) -> Self {
        Self(Source::Manual {
            wall,
            passed: Arc::default(),
        })
    }

    /// This moment, on both clocks.
    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System { .. } => Moment {
                mono: self.mono(),
                wall: SystemTime::now(),
            },
            Source::Manual { wall, .. } => {
                let mono = self.mono();
                Moment {
                    mono,
                    wall: *wall + mono,
                }
            }
        }
    }

    /// What this moment is on the monotonic clock alone.
    #[must_use]
    pub fn mono(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual { passed, .. } => Duration::from_nanos(passed.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    ///
    /// On the system clock, which nobody moves.
    pub fn advance(&self, by: Duration) {
        let Source::Manual { passed, .. } = &self.0 else {
            panic!("only a manual clock can be moved");
        };
        let nanos =
            u64::try_from(by.as_nanos()).expect("a test moves the clock by less than 584 years");
        passed.fetch_add(nanos, Ordering::SeqCst);
    }
}
