//! Retries: their rules, budget and counters. The attempts are made in `upstream` and `connector`.
//!
//! A request that may be repeated (RFC 9110 §9.2.2) and failed before the first byte of its response
//! is retried once, on a new connection. A refused connection is retried within
//! `upstream.connect_timeout`, so that a restart of the origin only delays requests; nothing has been
//! sent by then, so this applies to every method and is not charged to the budget.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::policy::Budget;
use crate::telemetry::{Metrics, Retry};

/// The pause before the second attempt to connect, doubled after each attempt up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_millis(400);

/// Maximum attempts to connect. The pauses between them add up to 1.15 s.
const MAX_ATTEMPTS: u32 = 6;

/// The price of one retry, in units of time: ten per second are always allowed.
const RETRY_PRICE: Duration = Duration::from_millis(100);

/// The pause before the next attempt to connect, after `refused` attempts.
fn connect_pause(refused: u32) -> Option<Duration> {
    (refused < MAX_ATTEMPTS).then(|| MAX_PAUSE.min(FIRST_PAUSE * 2_u32.pow(refused - 1)))
}

/// The retries of all requests; clones share the budget.
#[derive(Clone, Debug)]
pub(super) struct Retries {
    budget: Arc<Mutex<Budget>>,
    percent: u32,
    metrics: Arc<Metrics>,
}

impl Retries {
    /// `reserve` retries may be made at once after a quiet period: one per connection, since all
    /// connections fail when the origin restarts.
    pub(super) fn new(percent: usize, reserve: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            budget: Arc::new(Mutex::new(Budget::new(RETRY_PRICE, reserve))),
            percent: u32::try_from(percent).unwrap_or(u32::MAX),
            metrics,
        }
    }

    /// Deposits `upstream.retries` percent of a retry, for a request's first attempt.
    pub(super) fn first_attempt(&self) {
        self.budget.lock().deposit(RETRY_PRICE * self.percent / 100);
    }

    /// The pause before an unanswered request is retried, if the budget allows; counts the retry.
    pub(super) fn pause_to_resend(&self, why: Retry, now: Duration) -> Option<Duration> {
        if self.percent == 0 {
            return None;
        }
        if !self.budget.lock().withdraw(now) {
            self.metrics.upstream_retries_denied.inc();
            return None;
        }
        self.metrics.upstream_retries.of(why).inc();
        Some(match why {
            // The origin was closing the connection as the request was sent.
            Retry::Pooled => Duration::ZERO,
            // It needs a moment to restart.
            Retry::Closed | Retry::Connect => FIRST_PAUSE,
        })
    }

    /// The pause before the next attempt to connect, if the time allows one; counts the retry.
    pub(super) fn pause_to_connect(&self, refused: u32, remaining: Duration) -> Option<Duration> {
        let pause =
            connect_pause(refused).filter(|pause| self.percent > 0 && *pause < remaining)?;
        self.metrics.upstream_retries.of(Retry::Connect).inc();
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_retries_outlast_a_restart_of_the_origin() {
        let pauses: Vec<_> = (1..).map_while(connect_pause).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 400].map(Duration::from_millis));
        assert!(pauses.iter().sum::<Duration>() > Duration::from_secs(1));
    }
}
