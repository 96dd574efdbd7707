//! A timer for a deadline that moves.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::clock::{Clock, Deadline};

/// A timer for a deadline that moves. It is reset only after it has fired, so that transferred bytes
/// do not touch it.
pub(super) struct Timer {
    pub(super) clock: Clock,
    sleep: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Timer {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, sleep: None }
    }

    /// Ready when the deadline has passed. It is evaluated again each time the timer fires.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: impl Fn() -> Deadline,
    ) -> Poll<()> {
        loop {
            let sleep = || Box::pin(self.clock.clone().sleep_until(deadline())) as _;
            ready!(self.sleep.get_or_insert_with(sleep).as_mut().poll(cx));
            self.sleep = None;
            if self.clock.has_passed(deadline()) {
                return Poll::Ready(());
            }
        }
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").finish_non_exhaustive()
    }
}
