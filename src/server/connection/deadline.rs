//! The deadlines of a connection: its one timer, and the drain.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

use super::super::drain::{Drain, Stage};
use super::activity::{Activity, ConnectionState};
use crate::config;
use crate::telemetry::CloseReason;

/// Initial and minimum grace period. Many connections are used once, one after the other: with a
/// long grace period, all of them would hold buffers at the same time.
const MIN_GRACE: Duration = Duration::from_millis(2);

/// Maximum grace period. The grace period doubles after an idle time below this, so that frequent
/// requests do not each allocate new buffers, and halves after a longer one.
const MAX_GRACE: Duration = Duration::from_secs(1);

/// Why [`Deadlines::run`] returned.
pub(super) enum Event<T> {
    /// The work is done.
    Done(T),
    /// The connection is idle; it times out at this time.
    Idle(Instant),
    /// A deadline has passed; [`CloseReason::DrainTimeout`] at the end of the drain, and
    /// [`CloseReason::Memory`] when the ledger of bytes in transit closes the connection.
    TimedOut(CloseReason),
    /// The drain has begun.
    Draining,
}

/// The timer of one connection, and the stages of the drain.
pub(super) struct Deadlines<'a> {
    pub(super) activity: &'a Arc<Activity>,
    pub(super) settings: &'a config::Server,
    timer: Pin<&'a mut Sleep>,
    stages: watch::Receiver<Stage>,
    /// A second receiver, to read while a future borrows the first.
    stage: watch::Receiver<Stage>,
    /// Grace period: how long hyper keeps the connection without a byte before it counts as idle.
    grace: Duration,
    /// Time to the next check; doubles with each check that finds activity.
    interval: Duration,
}

impl<'a> Deadlines<'a> {
    pub(super) fn new(
        activity: &'a Arc<Activity>,
        settings: &'a config::Server,
        timer: Pin<&'a mut Sleep>,
        drain: &Drain,
    ) -> Self {
        Self {
            activity,
            settings,
            timer,
            stages: drain.stages(),
            stage: drain.stages(),
            grace: MIN_GRACE,
            interval: MIN_GRACE,
        }
    }

    /// Sets the time of the next check.
    pub(super) fn arm(&mut self, time: Instant) {
        self.timer.as_mut().reset(time);
    }

    /// Makes checks rare, as hyper holds no buffers.
    pub(super) fn rest(&mut self) {
        self.interval = self.settings.header_timeout;
    }

    /// Begins the drain of this connection, which closes at once if it has been idle long enough.
    pub(super) fn begin_drain(&mut self) {
        self.activity.begin_drain();
        self.arm(Instant::now());
    }

    /// Adapts the grace period when hyper takes over the connection after this idle time.
    pub(super) fn begin(&mut self, idle: Duration) {
        self.grace = if idle < MAX_GRACE {
            (self.grace * 2).min(MAX_GRACE)
        } else {
            (self.grace / 2).max(MIN_GRACE)
        };
        self.interval = self.grace;
        self.arm(Instant::now() + self.interval.min(self.settings.header_timeout));
    }

    /// Polls `work` until it is done, a deadline passes or the drain advances.
    pub(super) async fn run<T>(
        &mut self,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Event<T> {
        // Unconstrained: a task without coop budget would get `Pending` from the timer and the
        // channel without being registered with either.
        let mut next_stage = pin!(unconstrained(self.stages.changed()));
        let mut registered = false;
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(done) = work(cx) {
                    return Poll::Ready(Event::Done(done));
                }
                let waker = (!registered).then(|| cx.waker());
                if self.activity.account.must_close(waker) {
                    return Poll::Ready(Event::TimedOut(CloseReason::Memory));
                }
                self.activity.time_slow_head();
                // All connections share the channel of the stages, behind one lock, and a timer
                // keeps its waker behind a lock too. Once both have this task's waker, which
                // never changes, reading their values is enough.
                if registered
                    && !self.timer.is_elapsed()
                    && !self.stage.has_changed().unwrap_or(true)
                {
                    return Poll::Pending;
                }
                let timer = pin!(unconstrained(self.timer.as_mut()));
                if timer.poll(cx).is_pending() {
                    break;
                }
                match self.activity.check(self.settings, self.interval) {
                    ConnectionState::Active(next_check) => {
                        let longer = (self.interval * 2).min(MAX_GRACE);
                        self.interval = self.interval.max(longer);
                        self.timer.as_mut().reset(next_check);
                        registered = false;
                    }
                    ConnectionState::Idle(until) => return Poll::Ready(Event::Idle(until)),
                    ConnectionState::TimedOut(reason) => {
                        return Poll::Ready(Event::TimedOut(reason));
                    }
                }
            }
            registered = true;
            let _ = ready!(next_stage.as_mut().poll(cx));
            Poll::Ready(match *self.stage.borrow_and_update() {
                Stage::Serving | Stage::Draining => Event::Draining,
                Stage::Over => Event::TimedOut(CloseReason::DrainTimeout),
            })
        })
        .await
    }
}
