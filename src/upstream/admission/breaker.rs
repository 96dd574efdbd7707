//! The circuit breaker: after consecutive connection failures the origin is not contacted for a pause,
//! then probed by one request. Pure: `now` is a parameter.
//!
//! Only failures to connect count (DNS, TCP, TLS). A response timeout does not: one call may be slow
//! and all others fast. Any new connection closes the breaker, even one for an old request.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct Breaker {
    /// Consecutive failures that open it; 0 disables it.
    limit: usize,
    pause: Duration,
    state: State,
}

/// The state of the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All requests pass; this many consecutive connections have failed.
    Closed { failures: usize },
    /// No request passes before this time.
    Open { until: Duration },
    /// One request probes; if its outcome is unknown by this time, the next one probes.
    HalfOpen { until: Duration },
}

/// The decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    Pass,
    /// Pass, over a new connection, while all others are refused.
    Probe,
    /// Refuse; retry after this time.
    Wait(Duration),
}

impl Breaker {
    pub(super) fn new(limit: usize, pause: Duration) -> Self {
        Self {
            limit,
            pause,
            state: State::Closed { failures: 0 },
        }
    }

    /// Decides on a request; from open, the first one after the pause becomes the probe.
    pub(super) fn admit(&mut self, now: Duration) -> Admit {
        match self.state {
            State::Closed { .. } => Admit::Pass,
            State::Open { until } | State::HalfOpen { until } if now < until => {
                Admit::Wait(until.saturating_sub(now))
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                let until = now + self.pause;
                self.state = State::HalfOpen { until };
                Admit::Probe
            }
        }
    }

    /// Records a new connection.
    pub(super) fn connected(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// Records a failure to connect.
    pub(super) fn failed(&mut self, now: Duration) {
        match self.state {
            State::Closed { failures } if self.limit == 0 || failures + 1 < self.limit => {
                let failures = failures.saturating_add(1);
                self.state = State::Closed { failures };
            }
            State::Closed { .. } | State::HalfOpen { .. } => {
                let until = now + self.pause;
                self.state = State::Open { until };
            }
            // The attempt began before the breaker opened.
            State::Open { .. } => {}
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }
}

impl State {
    /// The value of the gauge.
    pub(super) fn gauge(self) -> i64 {
        match self {
            Self::Closed { .. } => 0,
            Self::Open { .. } => 1,
            Self::HalfOpen { .. } => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn open() -> Breaker {
        let mut breaker = Breaker::new(3, SECOND);
        for _ in 0..3 {
            assert_eq!(breaker.admit(Duration::ZERO), Admit::Pass);
            breaker.failed(Duration::ZERO);
        }
        breaker
    }

    #[test]
    fn consecutive_failures_open_it_and_a_connection_resets_the_count() {
        let mut breaker = Breaker::new(3, SECOND);
        for _ in 0..10 {
            breaker.failed(SECOND);
            breaker.failed(SECOND);
            breaker.connected();
        }
        assert_eq!(breaker.admit(SECOND), Admit::Pass);
        assert_eq!(open().admit(SECOND / 4), Admit::Wait(SECOND * 3 / 4));
    }

    #[test]
    fn after_the_pause_one_request_probes() {
        let mut breaker = open();
        assert_eq!(breaker.admit(SECOND), Admit::Probe);
        assert_eq!(breaker.state(), State::HalfOpen { until: SECOND * 2 });
        assert_eq!(breaker.admit(SECOND), Admit::Wait(SECOND));

        breaker.failed(SECOND * 3 / 2);
        assert_eq!(breaker.admit(SECOND * 2), Admit::Wait(SECOND / 2));
        assert_eq!(breaker.admit(SECOND * 5 / 2), Admit::Probe);
        breaker.connected();
        assert_eq!(breaker.admit(SECOND * 5 / 2), Admit::Pass);
        assert_eq!(breaker.state(), State::Closed { failures: 0 });
    }

    #[test]
    fn a_probe_without_an_outcome_is_followed_by_another() {
        let mut breaker = open();
        assert_eq!(breaker.admit(SECOND), Admit::Probe);
        assert_eq!(breaker.admit(SECOND * 3 / 2), Admit::Wait(SECOND / 2));
        assert_eq!(breaker.admit(SECOND * 2), Admit::Probe);
        assert_eq!(breaker.admit(SECOND * 2), Admit::Wait(SECOND));
    }

    #[test]
    fn a_connection_for_an_earlier_request_closes_it() {
        let mut breaker = open();
        breaker.connected();
        assert_eq!(breaker.admit(Duration::ZERO), Admit::Pass);
    }

    #[test]
    fn without_a_limit_it_stays_closed() {
        let mut breaker = Breaker::new(0, SECOND);
        for _ in 0..5_000 {
            breaker.failed(SECOND);
        }
        assert_eq!(breaker.admit(SECOND), Admit::Pass);
    }
}
