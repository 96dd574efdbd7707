//! Whether something is tried once more: the rules, the budget they are kept within, and the
//! counting of both.
//!
//! Two things are. A request that may be repeated (RFC 9110 §9.2.2) and died before the first
//! byte of its answer is sent again, once, over a connection of its own. And a connection that
//! the origin refuses is tried again within `upstream.connect_timeout`, so that an origin which
//! starts anew costs its clients some milliseconds and no request; nothing has been sent then, so
//! it holds for every method, and costs no budget.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::telemetry::{Metrics, Retry};

/// The wait before the second try to connect; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Tries to connect. The pauses between them come to 1.15 s.
const CONNECTS: u32 = 6;

/// Requests that may be sent again each second however few there are in all.
const FLOOR: u32 = 10;

/// A request that has died before the first byte of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// With a connection that had served before: the origin closed it as it was used.
    Pooled,
    /// With a connection made for it: the origin ended in the middle, or the request ended it.
    Fresh,
}

/// Why, and after how long, a lost request is sent again.
pub(super) fn of_request(lost: Lost) -> (Retry, Duration) {
    match lost {
        Lost::Pooled => (Retry::Pooled, Duration::ZERO),
        // The origin needs a moment to come back.
        Lost::Fresh => (Retry::Closed, FIRST_PAUSE),
    }
}

/// How long to wait before the next try to connect, after so many that were refused.
pub(super) fn of_connection(refused: u32) -> Option<Duration> {
    (refused < CONNECTS).then(|| LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(refused - 1)))
}

/// What may be tried again, shared by all who ask. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Retries {
    budget: Arc<Mutex<Budget>>,
    percent: u32,
    metrics: Arc<Metrics>,
}

/// A bucket of requests that may be sent again, in hundredths of one.
#[derive(Debug)]
struct Budget {
    hundredths: u32,
    /// The most there can be, after a quiet time.
    reserve: u32,
    /// When the floor was paid in last.
    paid: Duration,
}

impl Retries {
    /// `reserve` requests may be sent again at once after a quiet time: as many as there may be
    /// connections, which die together when the origin starts anew.
    pub(super) fn new(percent: usize, reserve: usize, metrics: Arc<Metrics>) -> Self {
        let reserve = u32::try_from(reserve).unwrap_or(u32::MAX);
        Self {
            budget: Arc::new(Mutex::new(Budget::new(reserve))),
            percent: u32::try_from(percent).unwrap_or(u32::MAX),
            metrics,
        }
    }

    /// A request goes out for the first time.
    pub(super) fn asked(&self) {
        self.lock().pay_in(self.percent);
    }

    /// Whether a lost request is sent again, and counts it.
    pub(super) fn may_ask_again(&self, why: Retry, now: Duration) -> bool {
        if self.percent == 0 {
            return false;
        }
        let is_paid = self.lock().draw(now);
        if is_paid {
            self.metrics.upstream_retries.of(why).inc();
        } else {
            self.metrics.upstream_retries_denied.inc();
        }
        is_paid
    }

    /// How long to wait before the next try to connect, where that is `left`, and counts it.
    pub(super) fn pause_to_connect(&self, refused: u32, left: Duration) -> Option<Duration> {
        let pause = of_connection(refused).filter(|pause| self.percent > 0 && *pause < left)?;
        self.metrics.upstream_retries.of(Retry::Connect).inc();
        Some(pause)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Budget> {
        // Arithmetic does not panic half-way.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    fn new(reserve: u32) -> Self {
        let reserve = reserve.saturating_mul(100);
        Self {
            hundredths: reserve,
            reserve,
            paid: Duration::ZERO,
        }
    }

    fn pay_in(&mut self, hundredths: u32) {
        self.hundredths = self.hundredths.saturating_add(hundredths).min(self.reserve);
    }

    /// Takes one out, if it is there at this time.
    fn draw(&mut self, now: Duration) -> bool {
        let hundredth = Duration::from_secs(1) / (FLOOR * 100);
        let since = now.saturating_sub(self.paid);
        let due = since.as_micros() / hundredth.as_micros();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        // What is less than a hundredth stays due.
        self.paid += hundredth * due;
        self.pay_in(due);
        let rest = self.hundredths.checked_sub(100);
        self.hundredths = rest.unwrap_or(self.hundredths);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: u32 = 128;

    fn drawn(budget: &mut Budget, now: Duration) -> u32 {
        let mut drawn = 0;
        while budget.draw(now) {
            drawn += 1;
        }
        drawn
    }

    #[test]
    fn an_origin_that_is_gone_for_half_a_second_is_found_again() {
        let pauses: Vec<_> = (1..).map_while(of_connection).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 400].map(Duration::from_millis));
        assert!(pauses.iter().sum::<Duration>() > Duration::from_secs(1));
    }

    #[test]
    fn what_is_sent_again_is_a_share_of_what_is_sent() {
        let mut budget = Budget::new(RESERVE);
        let now = Duration::ZERO;
        assert_eq!(drawn(&mut budget, now), RESERVE, "the reserve is finite");
        for _ in 0..50 {
            budget.pay_in(20);
        }
        assert_eq!(drawn(&mut budget, now), 10, "a fifth of fifty");
    }

    #[test]
    fn time_pays_in_a_little_and_no_more_than_the_reserve() {
        let mut budget = Budget::new(RESERVE);
        drawn(&mut budget, Duration::ZERO);
        let second = Duration::from_secs(1);
        assert_eq!(drawn(&mut budget, second), FLOOR);
        assert_eq!(drawn(&mut budget, second * 2), FLOOR);
        assert_eq!(drawn(&mut budget, second * 3_600), RESERVE);
    }

    /// Asked often, it must not lose the fractions.
    #[test]
    fn looking_into_the_bucket_all_the_time_does_not_keep_it_empty() {
        let mut budget = Budget::new(RESERVE);
        drawn(&mut budget, Duration::ZERO);
        let drawn = (1..=20_000_u32)
            .filter(|tick| budget.draw(Duration::from_micros(100) * *tick))
            .count();
        assert_eq!(drawn, 20, "two seconds of ten each");
    }
}
