//! A response body that is streamed to the client, with an idle timeout for the origin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::admission::Permit;
use super::error::FetchError;
use super::origin_body::OriginBody;
use super::timer::Timer;
use super::upload::{Responding, UploadEnd};
use crate::clock::{Clock, Deadline};
use crate::in_transit::Share;

/// A response body that is streamed from the origin.
///
/// If the origin closes the connection early or the idle timeout expires, it ends with an error, so
/// that hyper aborts the client's response too and a truncated body does not look complete.
#[derive(Debug)]
pub struct ResponseStream {
    /// The part that was read for the cache already, the frame that did not fit in it, and the
    /// part's share of the bytes in transit.
    read: [Bytes; 2],
    share: Option<Share>,
    rest: OriginBody,
    /// The idle timeout.
    limit: Duration,
    /// When the origin last stopped sending; `None` while bytes arrive, or while the client reads slowly
    /// (backpressure).
    idle_since: Option<Deadline>,
    timer: Timer,
    /// The end of the request's upload, unless the head of the response was later.
    pub upload: Option<UploadEnd>,
    /// Held until the end.
    held: Option<(Arc<Permit>, Option<Responding>)>,
}

impl ResponseStream {
    pub(super) fn new(
        read: Option<([Bytes; 2], Share)>,
        rest: OriginBody,
        limit: Duration,
        clock: Clock,
    ) -> Self {
        let (read, share) = read.unzip();
        Self {
            read: read.unwrap_or_default(),
            share,
            rest,
            limit,
            idle_since: None,
            timer: Timer::new(clock),
            upload: None,
            held: None,
        }
    }

    /// Holds these until the end.
    pub(super) fn hold(&mut self, permit: Arc<Permit>, responding: Option<Responding>) {
        self.held = Some((permit, responding));
    }

    /// Ready when the idle timeout has expired.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<FetchError> {
        let now = || self.timer.clock.deadline(Duration::ZERO);
        let deadline = self.idle_since.get_or_insert_with(now).later(self.limit);
        let limit = self.limit;
        self.timer
            .poll(cx, || deadline)
            .map(|()| FetchError::IdleTimeout(limit))
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
        if let Some(read) = this.read.iter_mut().find(|read| !read.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(read)))));
        }
        // hyper polls again when it has written most of the first frame.
        this.share = None;
        match Pin::new(&mut this.rest).poll_frame(cx) {
            Poll::Pending => this.poll_idle(cx).map(|error| Some(Err(error))),
            frame @ Poll::Ready(_) => {
                this.idle_since = None;
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.iter().all(Bytes::is_empty) && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: usize = self.read.iter().map(Bytes::len).sum();
        SizeHint::with_exact(read as u64) + self.rest.size_hint()
    }
}
