//! Streams a client's request body to the origin, within a size limit, and tracks its progress.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::Incoming;
use hyper::ext::on_informational;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::{oneshot, watch};

use super::admission::Permit;
use super::error::FetchError;
use super::timer::Timer;
use crate::clock::{Clock, Deadline};
use crate::config;

/// The minimum rate of an upload, in bytes per second since it began.
const MIN_RATE: u64 = 512;

/// Maximum time and bytes for which an upload goes on after the origin's final response: an origin
/// that responds early still reads the rest, so that its client gets the response.
const DRAIN_TIME: Duration = Duration::from_secs(5);
const DRAIN_BYTES: u64 = 4 << 20;

/// Time after which a body that the client holds back (`Expect: 100-continue`) is read although the
/// origin has not requested it.
const CONTINUE_TIME: Duration = Duration::from_secs(1);

/// The body of a request to the origin: the client's, or empty.
pub(super) type Outbound = Either<Upload, Empty<Bytes>>;

/// Dropped when the origin's response has ended, or is an error.
pub(super) type Responding = oneshot::Sender<Infallible>;
/// Completes when [`Responding`] is dropped.
pub(super) type Responded = oneshot::Receiver<Infallible>;

/// A client's body, streamed.
#[derive(Debug)]
pub(super) struct Upload {
    body: Incoming,
    /// Whether the client uses HTTP/2, where only `END_STREAM` ends a body. hyper reports a stream
    /// that was reset without an error as ended.
    is_http2: bool,
    /// Bytes remaining until the size limit.
    remaining: u64,
    progress: watch::Sender<Progress>,
    /// Set until a body that the client holds back may be read.
    expecting: Option<Expecting>,
    drain: Drain,
    /// Held until the body is sent, even after an early response.
    _permit: Arc<Permit>,
}

/// The wait for the origin's `100 Continue`. hyper's server sends one when the body is first read.
#[derive(Debug)]
struct Expecting {
    /// Closed without a value if the origin refuses the body.
    continued: oneshot::Receiver<()>,
    end: Deadline,
    timer: Timer,
}

/// The rest of an upload after the origin's final response.
#[derive(Debug)]
pub(super) struct Drain {
    responded: Responded,
    /// When the rest is cut off, once there is a response.
    end: Option<Deadline>,
    /// Bytes left until the rest is cut off.
    left: u64,
    timer: Timer,
    clock: Clock,
    /// Counts uploads that were cut off.
    cut: IntCounter,
}

/// The progress of an upload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The idle timeout (`upstream.total_timeout`).
    idle: Duration,
    began: Deadline,
    /// The time of the last transfer, since `began`.
    last_transfer: Duration,
    /// Bytes transferred.
    bytes: u64,
    /// Whether the last poll waited for the client; else the origin applies backpressure.
    pub(super) is_starved: bool,
    /// Whether the whole body is sent; a change wakes the task that waits for the response.
    pub(super) has_ended: bool,
}

/// The end of an upload, which may be later than that of the response.
#[derive(Debug)]
pub struct UploadEnd(watch::Receiver<Progress>);

/// Reads a body of declared length 0 to its end. With data, the request is malformed
/// (RFC 9113 §8.1.1).
pub(super) async fn read_empty(body: &mut Incoming) -> Result<(), FetchError> {
    while let Some(frame) = body.frame().await {
        let source = match frame {
            Ok(frame) if frame.data_ref().is_none_or(Bytes::is_empty) => continue,
            Ok(_) => None,
            Err(error) => Some(Arc::new(error)),
        };
        return Err(FetchError::UploadIncomplete(source));
    }
    Ok(())
}

/// A body that the client holds back; `None` once it is permitted or refused.
pub(super) type HeldBack = Arc<Mutex<Option<oneshot::Sender<()>>>>;

/// With `Expect: 100-continue`, delays the first read of the body until the origin has sent a 100, for
/// at most [`CONTINUE_TIME`]: an upload that the origin refuses by its head is not sent.
pub(super) fn await_continue(request: &mut Request<Outbound>) -> Option<HeldBack> {
    let expect = request.headers().get(EXPECT)?.as_bytes();
    if !expect.eq_ignore_ascii_case(b"100-continue") {
        return None;
    }
    let Outbound::Left(upload) = request.body_mut() else {
        return None;
    };
    let (sender, continued) = oneshot::channel();
    let clock = &upload.drain.clock;
    upload.expecting = Some(Expecting {
        continued,
        end: clock.deadline(CONTINUE_TIME),
        timer: Timer::new(clock.clone()),
    });
    let sender = Arc::new(Mutex::new(Some(sender)));
    let on_100 = Arc::clone(&sender);
    on_informational(request, move |interim| {
        if interim.status() == StatusCode::CONTINUE {
            settle(&on_100, true);
        }
    });
    Some(sender)
}

/// Permits or refuses a body; returns whether it was still held back.
pub(super) fn settle(body: &HeldBack, is_permitted: bool) -> bool {
    let sender = body.lock().take();
    sender.is_some_and(|sender| {
        // Closed if the upload has ended, or did not wait any longer.
        let is_held_back = !sender.is_closed();
        if is_permitted {
            let _ = sender.send(());
        }
        is_held_back
    })
}

impl Upload {
    /// The upload of a body of up to `max` bytes, and its progress.
    pub(super) fn new(
        body: Incoming,
        version: Version,
        max: u64,
        permit: &Arc<Permit>,
        idle: Duration,
        drain: Drain,
    ) -> (Self, watch::Receiver<Progress>) {
        let (progress, receiver) = watch::channel(Progress {
            idle,
            began: drain.clock.deadline(Duration::ZERO),
            last_transfer: Duration::ZERO,
            bytes: 0,
            is_starved: false,
            has_ended: false,
        });
        let upload = Self {
            body,
            is_http2: version == Version::HTTP_2,
            remaining: max,
            progress,
            expecting: None,
            drain,
            _permit: Arc::clone(permit),
        };
        (upload, receiver)
    }

    /// Ready when the body may be read: never once it is refused.
    fn poll_expecting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(expecting) = &mut self.expecting else {
            return Poll::Ready(());
        };
        if expecting.continued.is_terminated() {
            return Poll::Pending;
        }
        match Pin::new(&mut expecting.continued).poll(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Pending,
            Poll::Pending => {
                let end = expecting.end;
                ready!(expecting.timer.poll(cx, || end));
            }
        }
        self.expecting = None;
        Poll::Ready(())
    }

    fn record(&self, bytes: u64, has_ended: bool) {
        self.progress.send_if_modified(|progress| {
            if !progress.has_ended {
                progress.last_transfer = progress.began.elapsed();
                progress.bytes += bytes;
                progress.has_ended = has_ended;
            }
            has_ended
        });
    }
}

impl Drain {
    pub(super) fn new(responded: Responded, cut: IntCounter, clock: Clock) -> Self {
        Self {
            responded,
            end: None,
            left: DRAIN_BYTES,
            timer: Timer::new(clock.clone()),
            clock,
            cut,
        }
    }

    /// Ready when the rest of the upload is cut off: at once if it `is_held_back`.
    fn poll_end(&mut self, cx: &mut Context<'_>, is_held_back: bool) -> Poll<FetchError> {
        let end = if let Some(end) = self.end {
            end
        } else {
            // The sender is dropped without a value.
            let _ = ready!(Pin::new(&mut self.responded).poll(cx));
            if is_held_back {
                return Poll::Ready(FetchError::UploadSlow);
            }
            *self.end.insert(self.clock.deadline(DRAIN_TIME))
        };
        ready!(self.timer.poll(cx, || end));
        self.cut.inc();
        Poll::Ready(FetchError::UploadSlow)
    }

    /// Counts transferred bytes.
    fn record(&mut self, bytes: u64) -> Result<(), FetchError> {
        if self.end.is_some() {
            let left = self.left.checked_sub(bytes);
            self.left = left.ok_or_else(|| {
                self.cut.inc();
                FetchError::UploadTooLarge
            })?;
        }
        Ok(())
    }
}

impl UploadEnd {
    /// `None` if it has passed.
    pub(super) fn of(progress: watch::Receiver<Progress>) -> Option<Self> {
        let has_ended = progress.borrow().has_ended;
        (!has_ended).then_some(Self(progress))
    }

    /// Waits for it. An upload that is broken off is dropped.
    pub async fn wait(mut self) {
        let _ = self.0.wait_for(|upload| upload.has_ended).await;
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
        // First: the response may have permitted the body, and have ended since.
        let permitted = this.poll_expecting(cx);
        if let Poll::Ready(cut) = this.drain.poll_end(cx, permitted.is_pending()) {
            return Poll::Ready(Some(Err(cut)));
        }
        ready!(permitted);
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.progress.send_if_modified(|progress| {
            progress.is_starved = polled.is_pending();
            false
        });
        let Poll::Ready(frame) = polled else {
            return Poll::Pending;
        };
        if frame.is_none() && this.is_http2 && !this.body.is_end_stream() {
            return Poll::Ready(Some(Err(FetchError::UploadIncomplete(None))));
        }
        let incomplete = |error| FetchError::UploadIncomplete(Some(Arc::new(error)));
        let frame = frame.transpose().map_err(incomplete)?;
        let data = frame.as_ref().and_then(Frame::data_ref);
        let bytes = data.map_or(0, Bytes::len) as u64;
        // hyper does not poll after the declared length, but over HTTP/2 the client may send the end
        // in a separate frame.
        let has_ended = frame.is_none() || this.body.size_hint().exact() == Some(0);
        this.record(bytes, has_ended);
        this.drain.record(bytes)?;
        let remaining = this.remaining.checked_sub(bytes);
        this.remaining = remaining.ok_or(FetchError::UploadTooLarge)?;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        let has_ended = self.body.is_end_stream();
        if has_ended {
            // hyper does not poll after this.
            self.record(0, true);
        }
        has_ended
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Progress {
    /// The deadline of the response head, given the progress so far: once the body is sent,
    /// `upstream.forward_timeout`.
    ///
    /// During the upload, an idle timeout and a minimum rate apply: otherwise a client that sends a
    /// byte now and then (slowloris) would hold a slot forever.
    pub(super) fn deadline(&self, settings: &config::Upstream) -> Deadline {
        if self.has_ended {
            self.began
                .later(self.last_transfer + settings.forward_timeout)
        } else {
            self.too_slow_at()
        }
    }

    /// The time at which the upload is too slow, unless more bytes are transferred.
    fn too_slow_at(&self) -> Deadline {
        let at_min_rate = Duration::from_secs(self.bytes / MIN_RATE);
        self.began
            .later(self.last_transfer.min(at_min_rate) + self.idle)
    }
}
