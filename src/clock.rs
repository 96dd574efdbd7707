//! The clock: the only source of the current time and of timeouts; tests replace it with a manual
//! one. The types of time that the pure modules compute with are in `policy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
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
    /// The machine's clocks, since `start` on the boot clock and `wall` on the wall clock.
    System {
        start: Duration,
        wall: SystemTime,
        gain: Arc<Gain>,
    },
    /// `elapsed` is in nanoseconds since `wall`; `waited` is the part that ends waits in progress,
    /// `stepped` the nanoseconds that the wall clock was set forward.
    Manual {
        wall: SystemTime,
        elapsed: Arc<AtomicU64>,
        waited: Arc<watch::Sender<Duration>>,
        stepped: Arc<AtomicU64>,
        gain: Arc<Gain>,
    },
}

/// The most that the wall clock has gained on the boot clock, in nanoseconds. Time counts by the later
/// of the two: a virtual machine that continues from a snapshot has lost its boot time, but not the
/// age of what it stores. If the wall clock is set back, time does not go back.
#[derive(Debug, Default)]
struct Gain(AtomicU64);

/// The monotonic time at the start of the process. It is not zero, so that there are times before it: a
/// response of another replica can be older than this process.
const START: Duration = Duration::from_hours(24 * 365);

/// A smaller gain is not recorded: the clocks drift, and readers would contend for the record.
const MIN_GAIN: Duration = Duration::from_secs(1);

impl Gain {
    fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// The later of two elapsed times.
    fn later(&self, boot: Duration, wall: Duration) -> Duration {
        let counted = boot.saturating_add(self.get());
        if wall.saturating_sub(counted) < MIN_GAIN {
            return counted;
        }
        let gain = wall.saturating_sub(boot).as_nanos();
        self.0
            .fetch_max(u64::try_from(gain).unwrap_or(u64::MAX), Ordering::Relaxed);
        wall
    }
}

/// Time since the machine was booted, including that it was suspended for.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
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
    pub fn system() -> Self {
        Self(TimeSource::System {
            start: since_boot(),
            wall: SystemTime::now(),
            gain: Arc::default(),
        })
    }

    /// A clock that stays at `wall` until [`Clock::advance`] moves it.
    pub fn manual(wall: SystemTime) -> Self {
        Self(TimeSource::Manual {
            wall,
            elapsed: Arc::default(),
            waited: Arc::new(watch::Sender::new(Duration::ZERO)),
            stepped: Arc::default(),
            gain: Arc::default(),
        })
    }

    /// The current time, on the monotonic and the wall clock.
    pub fn now(&self) -> Moment {
        let (start, now, gain) = match &self.0 {
            TimeSource::System { wall, gain, .. } => (*wall, SystemTime::now(), gain),
            TimeSource::Manual {
                wall,
                stepped,
                gain,
                ..
            } => {
                let stepped = Duration::from_nanos(stepped.load(Ordering::SeqCst));
                (*wall, *wall + self.since_start() + stepped, gain)
            }
        };
        let elapsed = now.duration_since(start).unwrap_or_default();
        Moment {
            mono: START + gain.later(self.since_start(), elapsed),
            wall: now,
        }
    }

    /// The current time on the monotonic clock, as far as [`Clock::now`] has seen the wall clock gain.
    pub fn mono(&self) -> Duration {
        let (TimeSource::System { gain, .. } | TimeSource::Manual { gain, .. }) = &self.0;
        START + self.since_start().saturating_add(gain.get())
    }

    /// The time since the start of the process.
    pub fn uptime(&self) -> Duration {
        self.mono().saturating_sub(START)
    }

    fn since_start(&self) -> Duration {
        match &self.0 {
            TimeSource::System { start, .. } => since_boot().saturating_sub(*start),
            TimeSource::Manual { elapsed, .. } => {
                Duration::from_nanos(elapsed.load(Ordering::SeqCst))
            }
        }
    }

    /// The deadline `limit` from now.
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

    /// Sets the wall clock of a manual clock forward.
    ///
    /// # Panics
    ///
    /// On the system clock.
    pub fn step_wall(&self, by: Duration) {
        let TimeSource::Manual { stepped, .. } = &self.0 else {
            panic!("only a manual clock can be set");
        };
        let nanos = u64::try_from(by.as_nanos()).expect("a step is less than 584 years");
        stepped.fetch_add(nanos, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_counts_by_the_later_clock_and_never_goes_back() {
        let gain = Gain::default();
        // Seconds on the boot and the wall clock, and those that count.
        for (boot, wall, counted) in [
            (1, 1, 1),
            // Suspended: the boot clock has counted it, whatever the wall clock shows.
            (3_601, 1, 3_601),
            (3_602, 3_602, 3_602),
            // A snapshot: only the wall clock has counted it.
            (3_603, 7_203, 7_203),
            (3_604, 7_204, 7_204),
            // The wall clock is set back, and forward again.
            (3_605, 5, 7_205),
            (3_606, 7_206, 7_206),
            (3_607, 9_000, 9_000),
        ] {
            assert_eq!(gain.later(SECOND * boot, SECOND * wall), SECOND * counted);
            assert_eq!(SECOND * boot + gain.get(), SECOND * counted);
        }
    }

    #[test]
    fn clocks_that_drift_apart_differ_by_less_than_a_second() {
        let gain = Gain::default();
        let ahead = SECOND + Duration::from_millis(999);
        assert_eq!(gain.later(SECOND, ahead), SECOND);
        assert_eq!(gain.later(SECOND, SECOND * 2), SECOND * 2);
    }

    #[test]
    fn the_system_clock_counts_from_its_start() {
        let clock = Clock::system();
        let (first, second) = (clock.now(), clock.mono());
        assert!(first.mono <= second && clock.uptime() < SECOND * 3_600);
    }
}
