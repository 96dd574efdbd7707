//! The lifecycle of a call: its status at a given time, and the parts that exist by then.
//!
//! A lifecycle is a list of steps from the call's creation; the phase at `now` is the sum of the
//! steps before it. The last digit of an ordinary call's number selects its lifecycle, relative to
//! the start of the simulator:
//!
//! | digit | lifecycle |
//! |---|---|
//! | 1 2 3 4 5 | created between an hour and 30 days before, completed |
//! | 6 | created within the minute before |
//! | 7 | ended less than 30 s before: transcript and summary are still missing |
//! | 8 | created within ten minutes after; 404 until then |
//! | 9 | ended before as busy, unanswered, failed or canceled |
//! | 0 | pending approval |

use std::time::Duration;

use jiff::Timestamp;

use crate::call_id::{CallId, Kind};
use crate::seeded_rng::SeededRng;

/// The status of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    PendingApproval,
    Queued,
    Registered,
    Initiated,
    Ringing,
    Canceled,
    InProgress,
    Completed,
    Busy,
    NoAnswer,
    Failed,
}

/// The state of a call at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) status: Status,
    /// Number of steps so far: two phases of a lifecycle with the same number are equal.
    pub(crate) steps: usize,
    pub(crate) created: Timestamp,
    /// Time of the last step after the creation, if any.
    pub(crate) modified: Option<Timestamp>,
    pub(crate) began: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) has_transcript: bool,
    pub(crate) has_summary: bool,
}

/// Changes of a call's lifecycle by clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// Time of the first request for a live call.
    pub(crate) first_requested: Option<Timestamp>,
    /// Time of the approval of a pending call.
    pub(crate) approved: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    created: Timestamp,
    steps: Vec<(Duration, Step)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Status(Status),
    Transcript,
    Summary,
}

/// Durations of the parts of a call, in seconds.
#[derive(Clone, Copy, Debug)]
struct Timings {
    queued: u32,
    registered: u32,
    initiated: u32,
    ringing: u32,
    talk: u32,
    transcript: u32,
    summary: u32,
}

/// Timings of live calls, short enough for a demonstration.
const LIVE: Timings = Timings {
    queued: 3,
    registered: 1,
    initiated: 1,
    ringing: 5,
    talk: 20,
    transcript: 10,
    summary: 10,
};

// === impl Status ===

impl Status {
    /// As the API writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PendingApproval => "pending_approval",
            Self::Queued => "queued",
            Self::Registered => "registered",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::Canceled => "canceled",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Failed => "failed",
        }
    }

    /// The disconnection reason of an ended call.
    pub(crate) fn disconnection(self) -> Option<&'static str> {
        match self {
            Self::Completed => Some("user_hangup"),
            Self::Busy => Some("dial_busy"),
            Self::NoAnswer => Some("dial_no_answer"),
            Self::Failed => Some("dial_failed"),
            Self::Canceled => Some("canceled_by_user"),
            Self::PendingApproval
            | Self::Queued
            | Self::Registered
            | Self::Initiated
            | Self::Ringing
            | Self::InProgress => None,
        }
    }
}

// === impl Timings ===

impl Timings {
    fn of(rng: &mut SeededRng) -> Self {
        Self {
            queued: rng.within(5..=20),
            registered: rng.within(1..=3),
            initiated: rng.within(1..=3),
            ringing: rng.within(4..=20),
            talk: rng.within(60..=360),
            transcript: rng.within(20..=60),
            summary: rng.within(15..=60),
        }
    }

    /// Time from the creation to the end of an answered call.
    fn to_end(self) -> u32 {
        self.queued + self.registered + self.initiated + self.ringing + self.talk
    }
}

// === impl Lifecycle ===

impl Lifecycle {
    /// The lifecycle of `id` in a simulator started at `started`; `None` for a live call before the
    /// first request for it.
    pub(crate) fn of(id: &CallId, started: Timestamp, events: Events) -> Option<Self> {
        let mut rng = SeededRng::of(&["life", &id.to_string()]);
        let timings = Timings::of(&mut rng);
        let before = |seconds: u32| started - Duration::from_secs(u64::from(seconds));
        let long_ago = before(rng.within(3_600..=30 * 86_400));
        let unlucky = rng.pick(&[
            Status::Busy,
            Status::NoAnswer,
            Status::Failed,
            Status::Canceled,
        ]);
        let lifecycle = match (id.kind, id.number % 10) {
            (Kind::Live, _) => Self::new(events.first_requested?, LIVE, Status::Completed),
            (Kind::Pending, _) | (Kind::Plain, 0) => {
                Self::pending(before(rng.within(600..=86_400)), events.approved)
            }
            (Kind::Busy, _) => Self::new(long_ago, timings, Status::Busy),
            (Kind::NoAnswer, _) => Self::new(long_ago, timings, Status::NoAnswer),
            (Kind::Failed, _) => Self::new(long_ago, timings, Status::Failed),
            (Kind::Canceled, _) => Self::new(long_ago, timings, Status::Canceled),
            (Kind::Plain, 6) => Self::new(before(rng.within(0..=60)), timings, Status::Completed),
            (Kind::Plain, 7) => {
                // Ended less than the shortest wait for a transcript ago, so that it has none yet.
                let age = timings.to_end() + rng.within(0..=15);
                Self::new(before(age), timings, Status::Completed)
            }
            (Kind::Plain, 8) => {
                let later = Duration::from_secs(u64::from(rng.within(1..=600)));
                Self::new(started + later, timings, Status::Completed)
            }
            (Kind::Plain, 9) => Self::new(long_ago, timings, unlucky),
            _ => Self::new(long_ago, timings, Status::Completed),
        };
        Some(lifecycle)
    }

    /// A call that ends with this status.
    fn new(created: Timestamp, timings: Timings, end: Status) -> Self {
        let mut lifecycle = Self {
            created,
            steps: Vec::new(),
        };
        lifecycle.run(0, timings, end);
        lifecycle
    }

    /// A call that is pending approval, or was approved at this time.
    fn pending(created: Timestamp, approved: Option<Timestamp>) -> Self {
        let mut lifecycle = Self {
            created,
            steps: vec![(Duration::ZERO, Step::Status(Status::PendingApproval))],
        };
        if let Some(approved) = approved {
            let waited = approved.as_second() - created.as_second();
            let waited = u32::try_from(waited).expect("an approval follows the creation soon");
            lifecycle.run(waited, LIVE, Status::Completed);
        }
        lifecycle
    }

    /// Adds the steps of a call that enters the queue at second `at`.
    fn run(&mut self, mut at: u32, timings: Timings, end: Status) {
        let mut then = |wait: u32, step: Step| {
            at += wait;
            self.steps.push((Duration::from_secs(u64::from(at)), step));
        };
        then(0, Step::Status(Status::Queued));
        if end == Status::Canceled {
            then(timings.queued, Step::Status(end));
            return;
        }
        then(timings.queued, Step::Status(Status::Registered));
        then(timings.registered, Step::Status(Status::Initiated));
        if end == Status::Failed {
            then(timings.initiated, Step::Status(end));
            return;
        }
        then(timings.initiated, Step::Status(Status::Ringing));
        if end != Status::Completed {
            then(timings.ringing, Step::Status(end));
            return;
        }
        then(timings.ringing, Step::Status(Status::InProgress));
        then(timings.talk, Step::Status(Status::Completed));
        then(timings.transcript, Step::Transcript);
        then(timings.summary, Step::Summary);
    }

    /// The phase at `now`; `None` before the creation.
    pub(crate) fn at(&self, now: Timestamp) -> Option<Phase> {
        let mut phase = Phase {
            status: Status::Queued,
            steps: 0,
            created: self.created,
            modified: None,
            began: None,
            ended: None,
            has_transcript: false,
            has_summary: false,
        };
        for (after, step) in &self.steps {
            let moment = self.created + *after;
            if moment > now {
                break;
            }
            if phase.steps > 0 {
                phase.modified = Some(moment);
            }
            phase.steps += 1;
            match step {
                Step::Transcript => phase.has_transcript = true,
                Step::Summary => phase.has_summary = true,
                Step::Status(status) => {
                    phase.status = *status;
                    if *status == Status::InProgress {
                        phase.began = Some(moment);
                    }
                    if status.disconnection().is_some() {
                        phase.ended = Some(moment);
                    }
                }
            }
        }
        (phase.steps > 0).then_some(phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: i64 = 1_790_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(STARTED + second).expect("a test's second is in range")
    }

    fn phase(id: &str, second: i64, events: Events) -> Option<Phase> {
        let id = CallId::parse(id).expect("a test's id is well formed");
        Lifecycle::of(&id, at(0), events)?.at(at(second))
    }

    #[test]
    fn a_live_call_goes_through_every_status_once_requested() {
        let events = Events {
            first_requested: Some(at(100)),
            ..Events::default()
        };
        let statuses: Vec<_> = [100, 103, 104, 105, 110, 130]
            .map(|second| phase("call_live_acme_0001", second, events))
            .into_iter()
            .map(|phase| phase.expect("the call is created").status.as_str())
            .collect();
        assert_eq!(
            statuses,
            [
                "queued",
                "registered",
                "initiated",
                "ringing",
                "in_progress",
                "completed"
            ]
        );
        assert_eq!(phase("call_live_acme_0001", 100, Events::default()), None);
    }

    #[test]
    fn the_transcript_follows_the_end_and_the_summary_the_transcript() {
        let events = Events {
            first_requested: Some(at(0)),
            ..Events::default()
        };
        let known = |second| {
            let phase = phase("call_live_acme_0001", second, events).expect("the call is created");
            assert_eq!(phase.ended, Some(at(30)));
            (phase.has_transcript, phase.has_summary, phase.modified)
        };
        assert_eq!(known(30), (false, false, Some(at(30))));
        assert_eq!(known(40), (true, false, Some(at(40))));
        assert_eq!(known(50), (true, true, Some(at(50))));
    }

    #[test]
    fn a_pending_call_is_queued_when_it_is_approved() {
        let waiting = phase("call_pending_acme_0001", 86_400, Events::default());
        assert_eq!(
            waiting.expect("the call is created").status,
            Status::PendingApproval
        );
        let events = Events {
            approved: Some(at(10)),
            ..Events::default()
        };
        let queued = phase("call_pending_acme_0001", 10, events).expect("the call is created");
        assert_eq!(queued.status, Status::Queued);
        assert_eq!(queued.modified, Some(at(10)));
    }

    #[test]
    fn the_last_digit_of_a_number_selects_its_lifecycle() {
        let completed = phase("call_acme_0001", 0, Events::default()).expect("long completed");
        assert!(completed.has_summary);
        let settling = phase("call_acme_0007", 0, Events::default()).expect("just completed");
        assert_eq!(settling.status, Status::Completed);
        assert!(!settling.has_transcript);
        assert_eq!(phase("call_acme_0008", 0, Events::default()), None);
        assert!(phase("call_acme_0008", 600, Events::default()).is_some());
        for (id, status) in [
            ("call_busy_acme_0001", Status::Busy),
            ("call_no_answer_acme_0001", Status::NoAnswer),
            ("call_failed_acme_0001", Status::Failed),
            ("call_canceled_acme_0001", Status::Canceled),
        ] {
            let ended = phase(id, 0, Events::default()).expect("ended long ago");
            assert_eq!(ended.status, status);
            assert_eq!(ended.began, None);
        }
    }
}
