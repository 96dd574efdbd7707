//! The clock: the only source of the current time and of timeouts; tests replace it with a manual
//! one. The types of time that the pure modules compute with are in `policy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time;

use crate::policy::Moment;

/// The source of `now`. Cheap to clone; clones of a manual clock share its time.
#[derive(Clone, Debug)]
pub struct Clock(TimeSource);

/// The time at which a wait ends, or from which its end is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: time::Instant,
    /// The same deadline on a manual clock, as a value of its `waited`.
    waited: Duration,
}

#[derive(Clone, Debug)]
enum TimeSource {
    /// The machine's clocks. The monotonic one counts from `start`, so that a step of the wall
    /// clock does not change ages.
    System { start: Instant },
    /// `elapsed` is in nanoseconds since `wall`; `waited` is the part that ends waits in progress.
    Manual {
        wall: SystemTime,
        elapsed: Arc<AtomicU64>,
        waited: Arc<watch::Sender<Duration>>,
    },
}

impl Deadline {
    /// The deadline `by` after this one.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self {
            at: self.at + by,
            waited: self.waited + by,
        }
    }

    /// The real time elapsed since the deadline.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.at.elapsed()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clocks"
)]
impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(TimeSource::System {
            start: Instant::now(),
        })
    }

    /// A clock that stays at `wall` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(wall: SystemTime) -> Self {
        Self(TimeSource::Manual {
            wall,
            elapsed: Arc::default(),
            waited: Arc::new(watch::Sender::new(Duration::ZERO)),
        })
    }

    /// The current time, on the monotonic and the wall clock.
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

    /// The current time on the monotonic clock.
    #[must_use]
    pub fn mono(&self) -> Duration {
        match &self.0 {
            TimeSource::System { start } => start.elapsed(),
            TimeSource::Manual { elapsed, .. } => {
                Duration::from_nanos(elapsed.load(Ordering::SeqCst))
            }
        }
    }

    /// The deadline `limit` from now.
    #[must_use]
    pub fn deadline(&self, limit: Duration) -> Deadline {
        let waited = match &self.0 {
            TimeSource::System { .. } => Duration::ZERO,
            TimeSource::Manual { waited, .. } => *waited.borrow(),
        };
        Deadline {
            at: time::Instant::now() + limit,
            waited: waited + limit,
        }
    }

    /// The output of `work`, or `None` if it is not complete by the deadline.
    ///
    /// On a manual clock the wait times out when a test [moves](Clock::advance_waiters) it past the
    /// deadline, or when that much real time has passed: a test that does not move the clock must
    /// still end.
    pub async fn timeout_at<T>(
        &self,
        deadline: Deadline,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let limited = time::timeout_at(deadline.at, work);
        match &self.0 {
            TimeSource::System { .. } => limited.await.ok(),
            TimeSource::Manual { waited, .. } => {
                let mut waited = waited.subscribe();
                tokio::select! {
                    biased;
                    output = limited => output.ok(),
                    _ = waited.wait_for(|waited| *waited >= deadline.waited) => None,
                }
            }
        }
    }

    /// Whether a deadline has passed.
    #[must_use]
    pub fn has_passed(&self, deadline: Deadline) -> bool {
        let has_waited = match &self.0 {
            TimeSource::System { .. } => false,
            TimeSource::Manual { waited, .. } => *waited.borrow() >= deadline.waited,
        };
        has_waited || deadline.at <= time::Instant::now()
    }

    /// Waits until the deadline.
    pub async fn sleep_until(self, deadline: Deadline) {
        self.timeout_at(deadline, std::future::pending::<()>())
            .await;
    }

    /// Moves a manual clock forward, without effect on waits in progress: a test may let a day pass
    /// during a fetch.
    ///
    /// # Panics
    ///
    /// On the system clock.
    pub fn advance(&self, by: Duration) {
        let TimeSource::Manual { elapsed, .. } = &self.0 else {
            panic!("only a manual clock can be moved");
        };
        let nanos =
            u64::try_from(by.as_nanos()).expect("a test moves the clock by less than 584 years");
        elapsed.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Moves a manual clock forward, waits in progress included.
    ///
    /// # Panics
    ///
    /// On the system clock.
    pub fn advance_waiters(&self, by: Duration) {
        self.advance(by);
        if let TimeSource::Manual { waited, .. } = &self.0 {
            waited.send_modify(|waited| *waited += by);
        }
    }
}
