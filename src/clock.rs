//! The clock: the only source of the current time and of timeouts; tests replace it with a manual
//! one. The types of time that the pure modules compute with are in `policy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time;

use crate::policy::Moment;

/// The source of `now`: the machine's clocks, or a manual one. Cheap to clone; clones share its time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The boot clock and the wall clock at the start.
    start: Duration,
    wall: SystemTime,
    gain: Arc<Gain>,
    manual: Option<Manual>,
}

/// The time at which a wait ends, or from which its end is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: time::Instant,
    /// The same deadline on a manual clock, as a value of its `waited`.
    waited: Duration,
}

/// The time of a manual clock since its start, in nanoseconds.
#[derive(Clone, Debug, Default)]
struct Manual {
    elapsed: Arc<AtomicU64>,
    /// The part that ends waits in progress.
    waited: Arc<watch::Sender<Duration>>,
    /// How far the wall clock was set forward.
    stepped: Arc<AtomicU64>,
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
        Self {
            start: since_boot(),
            wall: SystemTime::now(),
            gain: Arc::default(),
            manual: None,
        }
    }

    /// A clock that stays at `wall` until [`Clock::advance`] moves it.
    pub fn manual(wall: SystemTime) -> Self {
        Self {
            start: Duration::ZERO,
            wall,
            gain: Arc::default(),
            manual: Some(Manual::default()),
        }
    }

    /// The current time, on the monotonic and the wall clock.
    pub fn now(&self) -> Moment {
        let since_start = self.since_start();
        let wall = match &self.manual {
            None => SystemTime::now(),
            Some(manual) => self.wall + since_start + nanos(&manual.stepped),
        };
        let elapsed = wall.duration_since(self.wall).unwrap_or_default();
        Moment {
            mono: START + self.gain.later(since_start, elapsed),
            wall,
        }
    }

    /// The current time on the monotonic clock, as far as [`Clock::now`] has seen the wall clock gain.
    pub fn mono(&self) -> Duration {
        START + self.since_start().saturating_add(self.gain.get())
    }

    /// The time since the start of the process.
    pub fn uptime(&self) -> Duration {
        self.mono().saturating_sub(START)
    }

    fn since_start(&self) -> Duration {
        match &self.manual {
            None => since_boot().saturating_sub(self.start),
            Some(manual) => nanos(&manual.elapsed),
        }
    }

    /// The deadline `limit` from now.
    pub fn deadline(&self, limit: Duration) -> Deadline {
        let waited = self.manual.as_ref().map(|manual| *manual.waited.borrow());
        Deadline {
            at: time::Instant::now() + limit,
            waited: waited.unwrap_or_default() + limit,
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
        let Some(manual) = &self.manual else {
            return limited.await.ok();
        };
        let mut waited = manual.waited.subscribe();
        tokio::select! {
            biased;
            output = limited => output.ok(),
            _ = waited.wait_for(|waited| *waited >= deadline.waited) => None,
        }
    }

    /// Whether a deadline has passed.
    pub fn has_passed(&self, deadline: Deadline) -> bool {
        let manual = self.manual.as_ref();
        manual.is_some_and(|manual| *manual.waited.borrow() >= deadline.waited)
            || deadline.at <= time::Instant::now()
    }

    /// Waits for this time.
    pub async fn sleep(&self, time: Duration) {
        let deadline = self.deadline(time);
        self.timeout_at(deadline, std::future::pending::<()>())
            .await;
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
        add(&self.by_hand().elapsed, by);
    }

    /// Moves a manual clock forward, waits in progress included.
    ///
    /// # Panics
    ///
    /// On the system clock.
    pub fn advance_waiters(&self, by: Duration) {
        self.advance(by);
        self.by_hand().waited.send_modify(|waited| *waited += by);
    }

    /// Sets the wall clock of a manual clock forward.
    ///
    /// # Panics
    ///
    /// On the system clock.
    pub fn step_wall(&self, by: Duration) {
        add(&self.by_hand().stepped, by);
    }

    fn by_hand(&self) -> &Manual {
        let manual = self.manual.as_ref();
        manual.expect("only a manual clock can be moved or set")
    }
}

fn nanos(time: &AtomicU64) -> Duration {
    Duration::from_nanos(time.load(Ordering::SeqCst))
}

fn add(time: &AtomicU64, by: Duration) {
    let by = u64::try_from(by.as_nanos()).expect("a test moves the clock by less than 584 years");
    time.fetch_add(by, Ordering::SeqCst);
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
