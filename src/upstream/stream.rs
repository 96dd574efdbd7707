//! A response body that is passed on as it comes, with a bound on the origin's silence.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::error::FetchError;
use super::origin_body::OriginBody;
use crate::clock::{Clock, Deadline};

/// A response body on its way from the origin.
///
/// When the origin breaks off or is silent for too long, it ends with an error: the client's
/// connection then breaks off too, and does not end as if the body were whole.
#[derive(Debug)]
pub struct ResponseStream {
    /// The part that was read for the cache already, with its reservation there.
    read: Bytes,
    reservation: Option<OwnedSemaphorePermit>,
    rest: OriginBody,
    /// The longest silence.
    limit: Duration,
    /// When the origin was asked for bytes and had none. While the client is slow to read, the
    /// origin is not waited for.
    silent_since: Option<Deadline>,
    timer: Timer,
}

/// A timer for a deadline that moves: set again only when it has run out, so that moving bytes do
/// not touch it.
pub(super) struct Timer {
    clock: Clock,
    set: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl ResponseStream {
    pub(super) fn new(
        read: Option<(Bytes, OwnedSemaphorePermit)>,
        rest: OriginBody,
        limit: Duration,
        clock: Clock,
    ) -> Self {
        let (read, reservation) = read.unzip();
        Self {
            read: read.unwrap_or_default(),
            reservation,
            rest,
            limit,
            silent_since: None,
            timer: Timer::new(clock),
        }
    }

    /// Ready when nothing was received for the limit.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<FetchError> {
        let now = || self.timer.clock.deadline(Duration::ZERO);
        let deadline = self.silent_since.get_or_insert_with(now).later(self.limit);
        let limit = self.limit;
        self.timer
            .poll(cx, || deadline)
            .map(|()| FetchError::Silent(limit))
    }
}

impl Body for ResponseStream {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = self.get_mut();
        if !this.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.read)))));
        }
        // hyper asks for more when it has written most of what it got.
        this.reservation = None;
        match Pin::new(&mut this.rest).poll_frame(cx) {
            Poll::Pending => this.poll_silence(cx).map(|error| Some(Err(error))),
            frame @ Poll::Ready(_) => {
                this.silent_since = None;
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.read.len() as u64) + self.rest.size_hint()
    }
}

impl Timer {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, set: None }
    }

    /// Ready when the deadline is over, as it is by then.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: impl Fn() -> Deadline,
    ) -> Poll<()> {
        loop {
            let set = || Box::pin(self.clock.clone().sleep_until(deadline())) as _;
            ready!(self.set.get_or_insert_with(set).as_mut().poll(cx));
            self.set = None;
            if self.clock.is_over(deadline()) {
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
