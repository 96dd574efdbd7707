//! The circuit breaker: after consecutive connection failures the origin is not contacted for a pause,
//! then probed by one request. Pure: `now` is a parameter.
//!
//! Only failures to connect count (DNS, TCP, TLS). A response timeout does not: one call may be slow
//! and all others fast. Any new connection closes the breaker, even one for an old request.

use std::time::Duration;

use crate::label::labels;

#[derive(Debug)]
pub(super) struct Breaker {
    /// Consecutive failures that open it; 0 disables it.
    limit: usize,
    pause: Duration,
    pub(super) state: State,
}

/// The state of the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All requests pass; this many consecutive connections have failed.
    Closed { failures: usize },
    /// No request passes before `until`; connections have failed since `since`.
    Open { since: Duration, until: Duration },
    /// One request probes; if its outcome is unknown by `until`, the next one probes.
    HalfOpen { since: Duration, until: Duration },
}

labels! {
    /// The state of the circuit breaker, in the order of the gauge's values.
    pub enum BreakerState {
        /// Requests are sent to the origin.
        Closed => "closed",
        /// No request is sent.
        Open => "open",
        /// One request probes the origin.
        HalfOpen => "half_open",
    }
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
            State::Open { until, .. } | State::HalfOpen { until, .. } if now < until => {
                Admit::Wait(until.saturating_sub(now))
            }
            State::Open { since, .. } | State::HalfOpen { since, .. } => {
                let until = now + self.pause;
                self.state = State::HalfOpen { since, until };
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
        let until = now + self.pause;
        self.state = match self.state {
            State::Closed { failures } if self.limit == 0 || failures + 1 < self.limit => {
                let failures = failures.saturating_add(1);
                State::Closed { failures }
            }
            State::Closed { .. } => State::Open { since: now, until },
            State::HalfOpen { since, .. } => State::Open { since, until },
            // The attempt began before the breaker opened.
            open @ State::Open { .. } => open,
        };
    }
}

impl State {
    /// Its name, the time since which connections have failed, and the time of the next probe.
    pub(super) fn seen(self) -> (BreakerState, Option<(Duration, Duration)>) {
        match self {
            Self::Closed { .. } => (BreakerState::Closed, None),
            Self::Open { since, until } => (BreakerState::Open, Some((since, until))),
            Self::HalfOpen { since, until } => (BreakerState::HalfOpen, Some((since, until))),
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
        let half_open = (BreakerState::HalfOpen, Some((Duration::ZERO, SECOND * 2)));
        assert_eq!(breaker.state.seen(), half_open);
        assert_eq!(breaker.admit(SECOND), Admit::Wait(SECOND));

        breaker.failed(SECOND * 3 / 2);
        let still_open = (BreakerState::Open, Some((Duration::ZERO, SECOND * 5 / 2)));
        assert_eq!(breaker.state.seen(), still_open, "since the first failure");
        assert_eq!(breaker.admit(SECOND * 2), Admit::Wait(SECOND / 2));
        assert_eq!(breaker.admit(SECOND * 5 / 2), Admit::Probe);
        breaker.connected();
        assert_eq!(breaker.admit(SECOND * 5 / 2), Admit::Pass);
        assert_eq!(breaker.state, State::Closed { failures: 0 });
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
