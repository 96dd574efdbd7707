//! Retries: their rules, the budget that bounds them, and their counters.
//!
//! A request that may be repeated (RFC 9110 §9.2.2) and failed before the first byte of its response
//! is sent again, once, over a new connection. A refused connection is retried within
//! `upstream.connect_timeout`, so that an origin which restarts costs its clients milliseconds and no
//! request; nothing has been sent then, so that holds for every method and costs no budget.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::traffic::Unanswered;
use crate::telemetry::{Metrics, Retry};

/// The pause before the second attempt to connect; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Attempts to connect. The pauses between them come to 1.15 s.
const CONNECTS: u32 = 6;

/// The time that pays for one retry: ten each second are always allowed.
const RETRY: Duration = Duration::from_millis(100);

/// The pause before the next attempt to connect, after this many that were refused.
fn of_connection(refused: u32) -> Option<Duration> {
    (refused < CONNECTS).then(|| LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(refused - 1)))
}

/// The retries of all requests; clones share the budget.
#[derive(Clone, Debug)]
pub(super) struct Retries {
    budget: Arc<Mutex<Budget>>,
    percent: u32,
    metrics: Arc<Metrics>,
}

/// A token bucket of retries, in units of time: [`RETRY`] is the price of one.
#[derive(Debug)]
struct Budget {
    balance: Duration,
    /// The most it holds.
    reserve: Duration,
    /// When time was deposited last.
    deposited: Duration,
}

impl Retries {
    /// `reserve` requests may be retried at once after a quiet time: as many as there may be
    /// connections, which all fail when the origin restarts.
    pub(super) fn new(percent: usize, reserve: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            budget: Arc::new(Mutex::new(Budget::new(reserve))),
            percent: u32::try_from(percent).unwrap_or(u32::MAX),
            metrics,
        }
    }

    /// Counts a request that is sent for the first time.
    pub(super) fn first_attempt(&self) {
        self.lock().deposit(RETRY * self.percent / 100);
    }

    /// The pause before an unanswered request is sent again, if the budget allows that; counts it.
    pub(super) fn pause_to_resend(
        &self,
        unanswered: Unanswered,
        now: Duration,
    ) -> Option<Duration> {
        if self.percent == 0 {
            return None;
        }
        if !self.lock().withdraw(now) {
            self.metrics.upstream_retries_denied.inc();
            return None;
        }
        let (why, pause) = match unanswered {
            Unanswered::Reused => (Retry::Pooled, Duration::ZERO),
            // The origin needs a moment to restart.
            Unanswered::New => (Retry::Closed, FIRST_PAUSE),
        };
        self.metrics.upstream_retries.of(why).inc();
        Some(pause)
    }

    /// The pause before the next attempt to connect, if the time left allows one; counts it.
    pub(super) fn pause_to_connect(&self, refused: u32, left: Duration) -> Option<Duration> {
        let pause = of_connection(refused).filter(|pause| self.percent > 0 && *pause < left)?;
        self.metrics.upstream_retries.of(Retry::Connect).inc();
        Some(pause)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Budget> {
        // Arithmetic leaves no invariant broken.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    fn new(reserve: usize) -> Self {
        let reserve = RETRY.saturating_mul(u32::try_from(reserve).unwrap_or(u32::MAX));
        Self {
            balance: reserve,
            reserve,
            deposited: Duration::ZERO,
        }
    }

    fn deposit(&mut self, amount: Duration) {
        self.balance = self.balance.saturating_add(amount).min(self.reserve);
    }

    /// Takes one retry out, if there is one.
    fn withdraw(&mut self, now: Duration) -> bool {
        self.deposit(now.saturating_sub(self.deposited));
        self.deposited = self.deposited.max(now);
        let rest = self.balance.checked_sub(RETRY);
        self.balance = rest.unwrap_or(self.balance);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: usize = 128;

    fn withdrawn(budget: &mut Budget, now: Duration) -> usize {
        let mut count = 0;
        while budget.withdraw(now) {
            count += 1;
        }
        count
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
        assert_eq!(
            withdrawn(&mut budget, now),
            RESERVE,
            "the reserve is finite"
        );
        for _ in 0..50 {
            budget.deposit(RETRY / 5);
        }
        assert_eq!(withdrawn(&mut budget, now), 10, "a fifth of fifty");
    }

    #[test]
    fn time_deposits_a_little_and_no_more_than_the_reserve() {
        let mut budget = Budget::new(RESERVE);
        withdrawn(&mut budget, Duration::ZERO);
        let second = Duration::from_secs(1);
        assert_eq!(withdrawn(&mut budget, second), 10);
        assert_eq!(withdrawn(&mut budget, second * 2), 10);
        assert_eq!(withdrawn(&mut budget, second * 3_600), RESERVE);
    }

    /// Asked often, it must not lose the fractions.
    #[test]
    fn looking_into_the_bucket_all_the_time_does_not_keep_it_empty() {
        let mut budget = Budget::new(RESERVE);
        withdrawn(&mut budget, Duration::ZERO);
        let count = (1..=20_000_u32)
            .filter(|tick| budget.withdraw(Duration::from_micros(100) * *tick))
            .count();
        assert_eq!(count, 20, "two seconds of ten each");
    }
}
