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
use crate::telemetry::ConnectionBound;

/// How soon a new connection counts as idle. Many are used once, one after the other; if they all
/// kept their buffers for long, all would have some at once.
const MIN_PATIENCE: Duration = Duration::from_millis(2);

/// The most that a connection's patience grows to; a longer idle time shows that less is enough. A
/// client with frequent requests should not cost new buffers for each.
const MAX_PATIENCE: Duration = Duration::from_secs(1);

/// Why [`Deadlines::run`] returned.
pub(super) enum Event<T> {
    /// The work is done.
    Done(T),
    /// The connection is idle, and may stay so until this time.
    Idle(Instant),
    /// A bound is reached; [`ConnectionBound::DrainTimeout`] at the end of the drain.
    TimedOut(ConnectionBound),
    /// The drain has begun.
    Draining,
}

/// The timer of one connection, and its view of the drain.
pub(super) struct Deadlines<'a> {
    pub(super) activity: &'a Arc<Activity>,
    pub(super) settings: &'a config::Server,
    timer: Pin<&'a mut Sleep>,
    stages: watch::Receiver<Stage>,
    /// A second receiver, to look at while a future borrows the first.
    stage: watch::Receiver<Stage>,
    /// How long hyper keeps the connection without a byte before it counts as idle.
    patience: Duration,
    /// Time to the next check, longer after each that found activity.
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
            patience: MIN_PATIENCE,
            interval: MIN_PATIENCE,
        }
    }

    /// Sets the next check.
    pub(super) fn arm(&mut self, time: Instant) {
        self.timer.as_mut().reset(time);
    }

    /// The drain ends this connection, at once if it is idle for long enough.
    pub(super) fn begin_drain(&mut self) {
        self.activity.begin_drain();
        self.arm(Instant::now());
    }

    /// hyper takes over the connection, which was idle for this time.
    pub(super) fn begin(&mut self, idle: Duration) {
        self.patience = if idle < MAX_PATIENCE {
            (self.patience * 2).min(MAX_PATIENCE)
        } else {
            (self.patience / 2).max(MIN_PATIENCE)
        };
        self.interval = self.patience;
        self.arm(Instant::now() + self.interval.min(self.settings.header_timeout));
    }

    /// Polls `work` until it is done, or until the timer or the drain has something for it.
    pub(super) async fn run<T>(
        &mut self,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Event<T> {
        // Unconstrained: a task out of its budget would get "pending" from both, without being
        // registered with either.
        let mut next_stage = pin!(unconstrained(self.stages.changed()));
        let mut registered = false;
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(done) = work(cx) {
                    return Poll::Ready(Event::Done(done));
                }
                self.activity.time_slow_head();
                // All connections share the channel of the stages, behind one lock, and a timer
                // keeps its waker behind a lock too. Once both have this task's waker, which
                // never changes, looking at their values is enough.
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
                        self.interval = (self.interval * 2).min(MAX_PATIENCE);
                        self.timer.as_mut().reset(next_check);
                        registered = false;
                    }
                    ConnectionState::Idle(until) => return Poll::Ready(Event::Idle(until)),
                    ConnectionState::TimedOut(bound) => {
                        return Poll::Ready(Event::TimedOut(bound));
                    }
                }
            }
            registered = true;
            let _ = ready!(next_stage.as_mut().poll(cx));
            Poll::Ready(match *self.stage.borrow_and_update() {
                Stage::Serving | Stage::Draining => Event::Draining,
                Stage::Over => Event::TimedOut(ConnectionBound::DrainTimeout),
            })
        })
        .await
    }
}
