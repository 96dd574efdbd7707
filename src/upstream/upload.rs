//! A client's request body on its way to the origin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::admission::Permit;
use super::error::FetchError;
use super::stream::Timer;
use crate::clock::{Clock, Deadline};
use crate::config;

/// The least pace of an upload in the long run, in bytes a second.
const MIN_PACE: u64 = 512;

/// The body of a request to the origin: the client's, or none.
pub(super) type Outbound = Either<Upload, Empty<Bytes>>;

/// A client's body, sent as it is received.
#[derive(Debug)]
pub(super) struct Upload {
    body: Incoming,
    /// Whether the client sends it over HTTP/2, where only `END_STREAM` ends it. hyper takes a
    /// stream that was reset without an error for one that has ended.
    is_http2: bool,
    /// How much larger it may be.
    left: u64,
    progress: watch::Sender<Progress>,
    /// Held until the origin has all of the body, also after an early response; but not for an
    /// upload that is too slow.
    permit: Option<Arc<Permit>>,
    slowness: Timer,
}

/// The progress of an upload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The longest silence (`upstream.total_timeout`).
    silence: Duration,
    began: Deadline,
    /// The time after `began` at which bytes last moved.
    moved: Duration,
    /// Bytes that have moved.
    bytes: u64,
    /// Whether the client has been waited for since; else the origin takes no more.
    pub(super) is_starved: bool,
    /// Whether all of it is sent; a change notifies the task that waits for the response.
    pub(super) has_ended: bool,
}

/// Reads a body that is declared empty to its end. Data makes it no request (RFC 9113 §8.1.1).
pub(super) async fn read_empty(body: &mut Incoming) -> Result<(), FetchError> {
    while let Some(frame) = body.frame().await {
        let source = match frame {
            Ok(frame) if frame.data_ref().is_none_or(Bytes::is_empty) => continue,
            Ok(_) => None,
            Err(error) => Some(Arc::new(error)),
        };
        return Err(FetchError::UploadBroken(source));
    }
    Ok(())
}

impl Upload {
    /// The upload of a body of up to `max` bytes, and its progress.
    pub(super) fn new(
        body: Incoming,
        version: Version,
        max: u64,
        permit: &Arc<Permit>,
        silence: Duration,
        clock: &Clock,
    ) -> (Self, watch::Receiver<Progress>) {
        let (progress, waiting) = watch::channel(Progress {
            silence,
            began: clock.deadline(Duration::ZERO),
            moved: Duration::ZERO,
            bytes: 0,
            is_starved: false,
            has_ended: false,
        });
        let upload = Self {
            body,
            is_http2: version == Version::HTTP_2,
            left: max,
            progress,
            permit: Some(Arc::clone(permit)),
            slowness: Timer::new(clock.clone()),
        };
        (upload, waiting)
    }

    fn moved(&self, bytes: u64, has_ended: bool) {
        self.progress.send_if_modified(|progress| {
            if !progress.has_ended {
                progress.moved = progress.began.passed();
                progress.bytes += bytes;
                progress.has_ended = has_ended;
            }
            has_ended
        });
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.progress.send_if_modified(|progress| {
            progress.is_starved = polled.is_pending();
            false
        });
        let Poll::Ready(frame) = polled else {
            let progress = &this.progress;
            let slow_from = || progress.borrow().slow_from();
            if this.permit.is_some() && this.slowness.poll(cx, slow_from).is_ready() {
                this.permit = None;
            }
            return Poll::Pending;
        };
        if frame.is_none() && this.is_http2 && !this.body.is_end_stream() {
            return Poll::Ready(Some(Err(FetchError::UploadBroken(None))));
        }
        let broken = |error| FetchError::UploadBroken(Some(Arc::new(error)));
        let frame = frame.transpose().map_err(broken)?;
        let data = frame.as_ref().and_then(Frame::data_ref);
        let bytes = data.map_or(0, Bytes::len) as u64;
        // hyper polls no further after the declared length, and over HTTP/2 the client may send the
        // end in a frame of its own.
        let has_ended = frame.is_none() || this.body.size_hint().exact() == Some(0);
        this.moved(bytes, has_ended);
        let left = this.left.checked_sub(bytes);
        this.left = left.ok_or(FetchError::UploadTooLarge)?;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        let has_ended = self.body.is_end_stream();
        if has_ended {
            // hyper polls no further after this.
            self.moved(0, true);
        }
        has_ended
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Progress {
    /// When the wait for the response head is over, as far as is known now.
    ///
    /// While the client uploads, silence is bounded, and so is a trickle: else a byte now and
    /// then would keep a slot at the origin for ever.
    pub(super) fn deadline(&self, settings: &config::Upstream) -> Deadline {
        if self.has_ended {
            let limit = settings.connect_timeout + settings.response_timeout;
            self.began.later(self.moved + limit)
        } else {
            self.slow_from()
        }
    }

    /// When it becomes too slow, unless more of it moves.
    fn slow_from(&self) -> Deadline {
        let paced = Duration::from_secs(self.bytes / MIN_PACE);
        self.began.later(self.moved.min(paced) + self.silence)
    }
}
