//! What a connection is woken for besides its bytes: its one timer, and the drain.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

use super::Drain;
use super::drain::Stage;
use super::pulse::{Check, Pulse};
use crate::config;

/// How soon a new connection counts as paused. Many are used once, one after the other; if they
/// all kept their buffers for long, all would have some at once.
const FIRST_PATIENCE: Duration = Duration::from_millis(2);

/// The most that a connection's patience grows to, and a rest that shows that less would do. A
/// client that asks again and again is not to pay for buffers each time.
const MAX_PATIENCE: Duration = Duration::from_secs(1);

/// What a connection was woken for.
pub(super) enum Event<T> {
    /// What it was doing is done.
    Done(T),
    /// The timer: time to look at the pulse.
    Look,
    /// The drain has come further.
    Stage(Stage),
}

/// The bounds of one connection.
pub(super) struct Bounds<'a> {
    pub(super) pulse: &'a Arc<Pulse>,
    settings: &'a config::Server,
    timer: Pin<&'a mut Sleep>,
    stages: watch::Receiver<Stage>,
    /// The same, to be looked at while somebody waits on the other.
    sign: watch::Receiver<Stage>,
    /// How long a conversation goes on without a byte before it counts as paused.
    patience: Duration,
    /// Time to the next look, longer after each that has found something going on.
    interval: Duration,
}

impl<'a> Bounds<'a> {
    pub(super) fn new(
        pulse: &'a Arc<Pulse>,
        settings: &'a config::Server,
        timer: Pin<&'a mut Sleep>,
        drain: &Drain,
    ) -> Self {
        Self {
            pulse,
            settings,
            timer,
            stages: drain.stages(),
            sign: drain.stages(),
            patience: FIRST_PATIENCE,
            interval: FIRST_PATIENCE,
        }
    }

    /// Looks at the pulse at once.
    pub(super) fn look_now(&mut self) {
        self.look_at(Instant::now());
    }

    /// Looks at the pulse at this time, unless told otherwise.
    pub(super) fn look_at(&mut self, time: Instant) {
        self.timer.as_mut().reset(time);
    }

    /// What the connection is doing, and the next look after that.
    pub(super) fn check(&mut self) -> Check {
        let check = self.pulse.check(self.settings, self.interval);
        if let Check::Busy(next) = check {
            self.interval = (self.interval * 2).min(MAX_PATIENCE);
            self.look_at(next);
        }
        check
    }

    /// A conversation begins, after so long a rest.
    pub(super) fn begin(&mut self, rested: Duration) {
        self.patience = if rested < MAX_PATIENCE {
            (self.patience * 2).min(MAX_PATIENCE)
        } else {
            (self.patience / 2).max(FIRST_PATIENCE)
        };
        self.interval = self.patience;
        self.look_at(Instant::now() + self.interval.min(self.settings.header_timeout));
    }

    /// Does `work` until it is done or something else is to be seen to.
    pub(super) async fn until<T>(
        &mut self,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Event<T> {
        let Self {
            pulse,
            timer,
            stages,
            sign,
            ..
        } = self;
        // Out of its budget, a task is told "pending" by what does not know it yet.
        let mut next_stage = pin!(unconstrained(stages.changed()));
        let mut registered = false;
        poll_fn(|cx| {
            if let Poll::Ready(done) = work(cx) {
                return Poll::Ready(Event::Done(done));
            }
            pulse.pause();
            // Every connection is told by the same channel, behind one lock, and a timer keeps
            // the waker behind a lock too. Once both know this task, whose waker is always the
            // same, a look at each is enough.
            if registered && !timer.is_elapsed() && !sign.has_changed().unwrap_or(true) {
                return Poll::Pending;
            }
            if pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
                return Poll::Ready(Event::Look);
            }
            registered = true;
            next_stage
                .as_mut()
                .poll(cx)
                .map(|_| Event::Stage(*sign.borrow_and_update()))
        })
        .await
    }
}
