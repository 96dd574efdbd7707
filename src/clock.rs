//! The clock: the one place that asks what time it is, and the one that a test can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time;

use crate::policy::Moment;

/// Where `now` comes from. Cheap to clone; clones of a manual clock move together.
#[derive(Clone, Debug)]
pub struct Clock(TimeSource);

/// The end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: time::Instant,
    /// Where it lies in what those who wait have lived through on a manual clock.
    lived: Duration,
}

#[derive(Clone, Debug)]
enum TimeSource {
    /// The machine's clocks. The monotonic one counts from `start`, so that ages
    /// survive a step of the wall clock.
    System { start: Instant },
    /// Nanoseconds that a test has let pass since `wall`, and how much of it those who wait have
    /// lived through.
    Manual {
        wall: SystemTime,
        passed: Arc<AtomicU64>,
        lived: Arc<watch::Sender<Duration>>,
    },
}

impl Deadline {
    /// The deadline `by` later.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self {
            at: self.at + by,
            lived: self.lived + by,
        }
    }

    /// Real time that has passed since.
    #[must_use]
    pub fn passed(self) -> Duration {
        self.at.elapsed()
    }
}

impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(TimeSource::System {
            start: Instant::now(),
        })
    }

    /// A clock that stands at `wall` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(wall: SystemTime) -> Self {
        Self(TimeSource::Manual {
            wall,
            passed: Arc::default(),
            lived: Arc::new(watch::Sender::new(Duration::ZERO)),
        })
    }

    /// This moment, on both clocks.
    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.0 {
            TimeSource::System { .. } => Moment {
                mono: self.mono(),
                wall: SystemTime::now(),
            },
            TimeSource::Manual { wall, .. } => {
                let mono = self.mono();
                Moment {
                    mono,
                    wall: *wall + mono,
                }
            }
        }
    }

    /// The time on the monotonic clock alone.
    #[must_use]
    pub fn mono(&self) -> Duration {
        match &self.0 {
            TimeSource::System { start } => start.elapsed(),
            TimeSource::Manual { passed, .. } => {
                Duration::from_nanos(passed.load(Ordering::SeqCst))
            }
        }
    }

    /// The deadline after `limit` from now.
    #[must_use]
    pub fn deadline(&self, limit: Duration) -> Deadline {
        let lived = match &self.0 {
            TimeSource::System { .. } => Duration::ZERO,
            TimeSource::Manual { lived, .. } => *lived.borrow(),
        };
        Deadline {
            at: time::Instant::now() + limit,
            lived: lived + limit,
        }
    }

    /// The output of `work`, or `None` where it has not ended by its deadline.
    ///
    /// On a manual clock a wait ends when a test [moves](Clock::advance_waiters) it past its deadline,
    /// and also when as much real time has passed: a test that does not move the clock ends all the
    /// same.
    pub async fn timeout_at<T>(
        &self,
        deadline: Deadline,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let limited = time::timeout_at(deadline.at, work);
        match &self.0 {
            TimeSource::System { .. } => limited.await.ok(),
            TimeSource::Manual { lived, .. } => {
                let mut lived = lived.subscribe();
                tokio::select! {
                    biased;
                    answer = limited => answer.ok(),
                    _ = lived.wait_for(|lived| *lived >= deadline.lived) => None,
                }
            }
        }
    }

    /// Whether a deadline has passed.
    #[must_use]
    pub fn is_over(&self, deadline: Deadline) -> bool {
        let is_lived = match &self.0 {
            TimeSource::System { .. } => false,
            TimeSource::Manual { lived, .. } => *lived.borrow() >= deadline.lived,
        };
        is_lived || deadline.at <= time::Instant::now()
    }

    /// Ends at a deadline.
    pub async fn sleep_until(self, deadline: Deadline) {
        self.timeout_at(deadline, std::future::pending::<()>())
            .await;
    }

    /// Moves a manual clock forward. Waits do not notice: a test may let a day pass during a fetch.
    ///
    /// # Panics
    ///
    /// On the system clock.
    pub fn advance(&self, by: Duration) {
        let TimeSource::Manual { passed, .. } = &self.0 else {
            panic!("only a manual clock can be moved");
        };
        let nanos =
            u64::try_from(by.as_nanos()).expect("a test moves the clock by less than 584 years");
        passed.fetch_add(nanos, Ordering::SeqCst);
    }

    /// The same, and those who wait live through it.
    ///
    /// # Panics
    ///
    /// On the system clock.
    pub fn advance_waiters(&self, by: Duration) {
        self.advance(by);
        if let TimeSource::Manual { lived, .. } = &self.0 {
            lived.send_modify(|lived| *lived += by);
        }
    }
}
