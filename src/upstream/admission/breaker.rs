//! The circuit breaker: after a run of failed connections the origin is not contacted for a while,
//! then probed by one request. Pure: `now` is a parameter.
//!
//! Only failures to connect count (name, TCP, TLS). A request without an answer does not: the call
//! may be slow, and all others fast. One new connection ends the run, however old its request is.

use std::time::Duration;

/// The breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that open it; 0 disables it.
    limit: usize,
    pause: Duration,
    state: State,
}

/// The state of the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Requests pass; this many connections in a row have failed.
    Closed { failures: usize },
    /// No request passes before this time.
    Open { until: Duration },
    /// One request probes; if its outcome is unknown by this time, the next one does.
    HalfOpen { until: Duration },
}

/// The admission of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// Pass.
    Pass,
    /// Pass, over a new connection, while all others wait for its outcome.
    Probe,
    /// Fail; retry after this time.
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

    /// Admits a request, or says how long to wait.
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

    /// A new connection was made.
    pub(super) fn connected(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A connection could not be made.
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
    fn a_run_of_failures_opens_it_and_a_connection_ends_the_run() {
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
    fn a_probe_without_an_outcome_gives_way_to_the_next() {
        let mut breaker = open();
        assert_eq!(breaker.admit(SECOND), Admit::Probe);
        assert_eq!(breaker.admit(SECOND * 3 / 2), Admit::Wait(SECOND / 2));
        assert_eq!(breaker.admit(SECOND * 2), Admit::Probe);
        assert_eq!(breaker.admit(SECOND * 2), Admit::Wait(SECOND));
    }

    #[test]
    fn a_late_connection_of_an_old_request_closes_it() {
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
