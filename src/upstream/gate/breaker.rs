//! The breaker: an origin that cannot be reached is left alone for a while, and then tried by one
//! request before the others follow. Pure: `now` is a parameter.
//!
//! What counts is a run of requests that got no answer, without a single answer in between: a
//! connection that could not be made counts each time; a request that was made and not answered
//! counts once for its target, so that one slow call, asked for again and again, is its own
//! trouble and not the origin's. Any answer ends the run, whatever its status: a 500 is what the
//! origin has to say.

use std::time::Duration;

/// Open or closed, as of a circuit.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures that open it; 0 is never.
    limit: usize,
    pause: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Requests go through.
    Closed(Run),
    /// None does, until then.
    Open { until: Duration },
    /// One does; from then on, if it is still not known how it went, the next one. An upload that
    /// takes for ever is not to keep all others out.
    Probing { until: Duration },
}

/// Failures without an answer in between.
#[derive(Debug, Default)]
struct Run {
    unreachable: usize,
    /// No more than the limit.
    unanswered: Vec<u64>,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Go.
    Go,
    /// Go, alone: the others wait for how it ends.
    Probe,
    /// Not now; after so long, perhaps.
    Wait(Duration),
}

/// What became of a request that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection.
    Unreachable,
    /// A connection, and no answer to this target.
    Unanswered(u64),
}

/// How it stands, for a gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    Closed = 0,
    Open = 1,
    HalfOpen = 2,
}

impl Breaker {
    pub(super) fn new(limit: usize, pause: Duration) -> Self {
        Self {
            limit,
            pause,
            state: State::Closed(Run::default()),
        }
    }

    /// Asks leave for a request.
    pub(super) fn leave(&mut self, now: Duration) -> Leave {
        match self.state {
            State::Closed(_) => Leave::Go,
            State::Open { until } | State::Probing { until } if now < until => {
                Leave::Wait(until.saturating_sub(now))
            }
            State::Open { .. } | State::Probing { .. } => {
                let until = now + self.pause;
                self.state = State::Probing { until };
                Leave::Probe
            }
        }
    }

    /// A request was answered: the origin is there, however old the request is.
    pub(super) fn answered(&mut self) {
        match &mut self.state {
            State::Closed(run) if run.is_empty() => {}
            state => *state = State::Closed(Run::default()),
        }
    }

    /// A request was not answered.
    pub(super) fn failed(&mut self, trouble: Trouble, is_probe: bool, now: Duration) {
        let opens = match &mut self.state {
            State::Closed(run) => {
                run.add(trouble);
                self.limit > 0 && run.len() >= self.limit
            }
            State::Probing { .. } => is_probe,
            // It went out before.
            State::Open { .. } => false,
        };
        if opens {
            let until = now + self.pause;
            self.state = State::Open { until };
        }
    }

    /// The probe has ended, and says nothing of the origin: its client hung up.
    pub(super) fn abandoned(&mut self, now: Duration) {
        if matches!(self.state, State::Probing { .. }) {
            self.state = State::Open { until: now };
        }
    }

    pub(super) fn stand(&self) -> Stand {
        match self.state {
            State::Closed(_) => Stand::Closed,
            State::Open { .. } => Stand::Open,
            State::Probing { .. } => Stand::HalfOpen,
        }
    }
}

impl Run {
    fn add(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Unreachable => self.unreachable = self.unreachable.saturating_add(1),
            // Beyond the longest run that opens, nobody counts.
            Trouble::Unanswered(target) => {
                if self.unanswered.len() < MAX_RUN && !self.unanswered.contains(&target) {
                    self.unanswered.push(target);
                }
            }
        }
    }

    fn len(&self) -> usize {
        self.unreachable.saturating_add(self.unanswered.len())
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The longest run that may be asked for.
pub(super) const MAX_RUN: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn open() -> Breaker {
        let mut breaker = Breaker::new(3, SECOND);
        for _ in 0..3 {
            assert_eq!(breaker.leave(Duration::ZERO), Leave::Go);
            breaker.failed(Trouble::Unreachable, false, Duration::ZERO);
        }
        breaker
    }

    #[test]
    fn a_run_opens_it_and_an_answer_ends_the_run() {
        let mut breaker = Breaker::new(3, SECOND);
        for _ in 0..10 {
            breaker.failed(Trouble::Unreachable, false, SECOND);
            breaker.failed(Trouble::Unanswered(1), false, SECOND);
            breaker.answered();
        }
        assert_eq!(breaker.leave(SECOND), Leave::Go);
        assert_eq!(open().leave(SECOND / 4), Leave::Wait(SECOND * 3 / 4));
    }

    #[test]
    fn one_call_that_is_never_answered_opens_nothing() {
        let mut breaker = Breaker::new(3, SECOND);
        for _ in 0..100 {
            breaker.failed(Trouble::Unanswered(1), false, SECOND);
            breaker.failed(Trouble::Unanswered(2), false, SECOND);
        }
        assert_eq!(breaker.stand(), Stand::Closed);
        breaker.failed(Trouble::Unanswered(3), false, SECOND);
        assert_eq!(breaker.stand(), Stand::Open);
    }

    #[test]
    fn after_the_pause_one_goes_alone() {
        let mut breaker = open();
        assert_eq!(breaker.leave(SECOND), Leave::Probe);
        assert_eq!(breaker.stand(), Stand::HalfOpen);
        assert_eq!(breaker.leave(SECOND), Leave::Wait(SECOND));
        // Those that went out before tell nothing new.
        breaker.failed(Trouble::Unreachable, false, SECOND);
        assert_eq!(breaker.stand(), Stand::HalfOpen);

        breaker.failed(Trouble::Unanswered(9), true, SECOND * 2);
        assert_eq!(breaker.leave(SECOND * 2), Leave::Wait(SECOND));
        assert_eq!(breaker.leave(SECOND * 3), Leave::Probe);
        breaker.answered();
        assert_eq!(breaker.leave(SECOND * 3), Leave::Go);
        assert_eq!(breaker.stand(), Stand::Closed);
    }

    #[test]
    fn a_probe_that_hangs_up_leaves_its_place_to_the_next() {
        let mut breaker = open();
        assert_eq!(breaker.leave(SECOND), Leave::Probe);
        breaker.abandoned(SECOND);
        assert_eq!(breaker.leave(SECOND), Leave::Probe);
    }

    #[test]
    fn a_probe_that_takes_for_ever_keeps_nobody_out() {
        let mut breaker = open();
        assert_eq!(breaker.leave(SECOND), Leave::Probe);
        assert_eq!(breaker.leave(SECOND * 3 / 2), Leave::Wait(SECOND / 2));
        assert_eq!(breaker.leave(SECOND * 2), Leave::Probe);
        assert_eq!(breaker.leave(SECOND * 2), Leave::Wait(SECOND));
    }

    #[test]
    fn a_late_answer_to_an_old_request_closes_it() {
        let mut breaker = open();
        breaker.answered();
        assert_eq!(breaker.leave(Duration::ZERO), Leave::Go);
    }

    #[test]
    fn without_a_limit_it_stays_closed() {
        let mut breaker = Breaker::new(0, SECOND);
        for target in 0..5_000 {
            breaker.failed(Trouble::Unanswered(target), false, SECOND);
        }
        assert_eq!(breaker.leave(SECOND), Leave::Go);
    }
}
