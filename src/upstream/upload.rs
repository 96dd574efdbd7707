//! A client's request body on its way to the origin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::watch;

use super::admission::Permit;
use super::error::FetchError;
use super::stream::Timer;
use crate::clock::{Clock, Deadline};
use crate::config;

/// The least pace of an upload in the long run, in bytes a second.
const MIN_PACE: u64 = 512;

/// A request body.
#[derive(Debug)]
pub(super) enum Outbound {
    /// No body.
    Empty,
    /// The client's.
    Upload(Upload),
}

/// A client's body, sent as it is received.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) body: Incoming,
    /// Whether the client sends it over HTTP/2, where only `END_STREAM` ends it. hyper takes a
    /// stream that was reset without an error for one that has ended.
    pub(super) is_http2: bool,
    /// How much larger it may be.
    pub(super) left: u64,
    pub(super) progress: watch::Sender<Progress>,
    /// Held until the origin has all of the body, also after an early response; but not for an
    /// upload that is too slow.
    pub(super) permit: Option<Arc<Permit>>,
    pub(super) slowness: Timer,
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

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.progress.send_if_modified(|progress| {
            progress.is_starved = polled.is_pending();
            false
        });
        let Poll::Ready(frame) = polled else {
            let progress = &self.progress;
            let slow_from = || progress.borrow().slow_from();
            if self.permit.is_some() && self.slowness.poll(cx, slow_from).is_ready() {
                self.permit = None;
            }
            return Poll::Pending;
        };
        if frame.is_none() && self.is_http2 && !self.body.is_end_stream() {
            return Poll::Ready(Some(Err(FetchError::UploadBroken(None))));
        }
        let frame = match frame.transpose() {
            Ok(frame) => frame,
            Err(error) => {
                let error = FetchError::UploadBroken(Some(Arc::new(error)));
                return Poll::Ready(Some(Err(error)));
            }
        };
        let data = frame.as_ref().and_then(Frame::data_ref);
        let bytes = data.map_or(0, Bytes::len) as u64;
        // hyper polls no further after the declared length, and over HTTP/2 the client may send the
        // end in a frame of its own.
        self.moved(
            bytes,
            frame.is_none() || self.body.size_hint().exact() == Some(0),
        );
        let Some(left) = self.left.checked_sub(bytes) else {
            return Poll::Ready(Some(Err(FetchError::UploadTooLarge)));
        };
        self.left = left;
        Poll::Ready(frame.map(Ok))
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Upload(upload) => upload.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload(upload) => {
                let has_ended = upload.body.is_end_stream();
                if has_ended {
                    // hyper polls no further after this.
                    upload.moved(0, true);
                }
                has_ended
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload(upload) => upload.body.size_hint(),
        }
    }
}

impl Progress {
    pub(super) fn begin(clock: &Clock, silence: Duration) -> Self {
        Self {
            silence,
            began: clock.deadline(Duration::ZERO),
            moved: Duration::ZERO,
            bytes: 0,
            is_starved: false,
            has_ended: false,
        }
    }

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
