//! Bodies on their way: the client's to the origin, and the origin's to the client.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use prometheus::IntGauge;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::FetchError;
use super::coded::Received;
use super::room::Room;
use crate::config;
use crate::outcome::Fault;

/// Bytes a second that an upload has to come with in the long run.
const MIN_PACE: u64 = 512;

/// A request body.
#[derive(Debug)]
pub(super) enum Outbound {
    /// None.
    Empty,
    /// The client's, as it comes.
    Client {
        body: Incoming,
        left: u64,
        upload: Upload,
        /// The origin is waited for until it has all of it, even behind an early answer.
        _ticket: Arc<Ticket>,
    },
}

/// Why the client's body did not go out whole.
#[derive(Clone, Debug, Error)]
pub(super) enum UploadError {
    #[error("the request body is larger than limits.request_body")]
    TooLarge,
    #[error("the client's request body comes too slowly")]
    Slow,
    #[error("the client's request body broke off")]
    Broken(#[source] Arc<hyper::Error>),
}

/// How far an upload has come: shared between the body that moves and the one who waits.
#[derive(Clone, Debug)]
pub(super) struct Upload(Arc<Progress>);

#[derive(Debug)]
struct Progress {
    began: Instant,
    /// Microseconds after `began` at which bytes last moved.
    moved: AtomicU64,
    /// How many have moved.
    bytes: AtomicU64,
    ended: AtomicBool,
    /// Noted here because hyper's HTTP/2 client tells only that the stream was reset.
    failed: OnceLock<UploadError>,
}

/// A response body on its way from the origin.
///
/// Ends with an error, so that the client's connection breaks off rather than end as if the
/// body were whole, when the origin breaks off or is silent for too long.
#[derive(Debug)]
pub struct ResponseStream {
    /// What was read for the cache already, and the room that it takes there.
    read: Bytes,
    room: Option<Room>,
    rest: Received,
    silence: Silence,
}

/// A place among the requests that wait for the origin (`limits.in_flight`); free when dropped.
///
/// A response that is streamed holds none: its pace is the client's, and one client that does
/// not read would take a place from all others. Those are bounded by their connections.
#[derive(Debug)]
pub(super) struct Ticket {
    _place: OwnedSemaphorePermit,
    in_flight: IntGauge,
}

/// A timer that is set again only when it has run out, so that moving bytes do not touch it.
///
/// Silence begins when the origin is asked for bytes and has none; while the client is slow to
/// take what came, nobody waits for the origin.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

// === impl Outbound ===

impl Outbound {
    pub(super) fn upload(body: Incoming, limit: u64, ticket: Arc<Ticket>) -> (Self, Upload) {
        let upload = Upload::begin(false);
        (
            Self::Client {
                body,
                left: limit,
                upload: upload.clone(),
                _ticket: ticket,
            },
            upload,
        )
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Self::Client {
            body, left, upload, ..
        } = self.get_mut()
        else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        let data = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref());
        let bytes = data.map_or(0, Bytes::len) as u64;
        upload.moved(bytes, frame.is_none());
        Poll::Ready(match frame {
            Some(Ok(frame)) => match left.checked_sub(bytes) {
                Some(rest) => {
                    *left = rest;
                    Some(Ok(frame))
                }
                None => Some(Err(upload.failed(UploadError::TooLarge))),
            },
            Some(Err(error)) => Some(Err(upload.failed(UploadError::Broken(error.into())))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { body, upload, .. } => {
                let ended = body.is_end_stream();
                if ended {
                    // hyper asks no further once it has been told.
                    upload.moved(0, true);
                }
                ended
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { body, .. } => body.size_hint(),
        }
    }
}

// === impl Upload ===

impl Upload {
    /// For a request without a body.
    pub(super) fn none() -> Self {
        Self::begin(true)
    }

    fn begin(ended: bool) -> Self {
        Self(Arc::new(Progress {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            ended: ended.into(),
            failed: OnceLock::new(),
        }))
    }

    fn moved(&self, bytes: u64, ended: bool) {
        if !self.0.ended.load(Ordering::Relaxed) {
            let micros = u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.0.moved.store(micros, Ordering::Relaxed);
            self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.0.ended.store(ended, Ordering::Release);
        }
    }

    fn failed(&self, error: UploadError) -> UploadError {
        self.0.failed.get_or_init(|| error).clone()
    }

    /// What became of the request: an upload that failed is why the exchange did.
    pub(super) fn blame(&self, error: FetchError) -> FetchError {
        match self.0.failed.get() {
            Some(upload) => FetchError::from_upload(upload),
            None => error,
        }
    }

    /// When the wait for the response head is over, as far as is known now.
    ///
    /// While the client uploads, silence is bounded, and so is a trickle: else a byte now and
    /// then would keep a place at the origin for ever.
    pub(super) fn deadline(&self, settings: &config::Upstream) -> Instant {
        let moved = Duration::from_micros(self.0.moved.load(Ordering::Relaxed));
        let limit = settings.total_timeout;
        self.0.began
            + if self.has_ended() {
                moved + settings.connect_timeout + settings.response_timeout
            } else {
                let paced = self.0.bytes.load(Ordering::Relaxed) / MIN_PACE;
                limit + moved.min(Duration::from_secs(paced))
            }
    }

    /// Whether the client has sent all.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }
}

// === impl ResponseStream ===

impl ResponseStream {
    pub(super) fn new(
        (read, room): (Bytes, Option<Room>),
        rest: Received,
        limit: Duration,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep(limit));
        Self {
            read,
            room,
            rest,
            silence: Silence {
                limit,
                since: None,
                timer,
            },
        }
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
        this.room = None;
        match Pin::new(&mut this.rest).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence.since = None;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => this
                .silence
                .poll(cx)
                .map(|limit| Some(Err(FetchError::silent(limit)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.len() as u64;
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Silence {
    /// Ready when nothing was heard for `limit`.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let deadline = since + self.limit;
            if deadline <= Instant::now() {
                return Poll::Ready(self.limit);
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl FetchError {
    fn silent(limit: Duration) -> Self {
        let limit = humantime::format_duration(limit);
        Self::new(
            Fault::ResponseTimeout,
            &format!("not a byte within {limit} (upstream.total_timeout)"),
        )
    }
}

// === impl Ticket ===

impl Ticket {
    pub(super) fn new(place: OwnedSemaphorePermit, in_flight: IntGauge) -> Self {
        in_flight.inc();
        Self {
            _place: place,
            in_flight,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}
