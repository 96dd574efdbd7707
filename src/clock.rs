//! The clock: the one place that asks what time it is, and the one that a test can move.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time;

use crate::policy::Moment;

/// Where `now` comes from. Cheap to clone; clones of a manual clock move together.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The machine's clocks. The monotonic one counts from `start`, so that ages
    /// survive a step of the wall clock.
    System { start: Instant },
    /// What a test has let pass since `wall`; watched by those who wait.
    Manual {
        wall: SystemTime,
        passed: Arc<watch::Sender<Duration>>,
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
            passed: Arc::new(watch::Sender::new(Duration::ZERO)),
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
            Source::Manual { passed, .. } => *passed.borrow(),
        }
    }

    /// What comes of `work`, or nothing where it has not ended by `deadline` on the monotonic
    /// clock.
    ///
    /// On a manual clock a wait ends when the clock is moved past its deadline, and also when as
    /// much real time has gone by: a story that nobody moves comes to its end all the same.
    pub async fn timeout_at<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        match &self.0 {
            Source::System { start } => {
                let deadline = time::Instant::from_std(*start + deadline);
                time::timeout_at(deadline, work).await.ok()
            }
            Source::Manual { passed, .. } => {
                let mut passed = passed.subscribe();
                let left = deadline.saturating_sub(*passed.borrow());
                let moved = passed.wait_for(|passed| *passed >= deadline);
                let limited = time::timeout(left, work);
                tokio::select! {
                    biased;
                    answer = limited => answer.ok(),
                    _ = moved => None,
                }
            }
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
        passed.send_modify(|passed| *passed += by);
    }
}
