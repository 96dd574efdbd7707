//! Bodies on their way: the client's to the origin, and the origin's to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::sync::Notify;

use super::FetchError;
use super::coded::Received;
use super::gate::Ticket;
use super::room::Room;
use crate::clock::{Clock, Deadline};
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
        /// Whether the client sends it over HTTP/2, where only `END_STREAM` ends it. hyper takes a
        /// stream that was reset without an error for one that has ended.
        is_stream: bool,
        left: u64,
        upload: Upload,
        /// The origin is waited for until it has all of it, even behind an early answer; but not
        /// when it comes too slowly.
        ticket: Option<Arc<Ticket>>,
        slowness: Timer,
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
    Broken(#[source] Option<Arc<hyper::Error>>),
}

/// How far an upload has come: shared between the body that moves and the one who waits.
#[derive(Clone, Debug)]
pub(super) struct Upload(Arc<Progress>);

#[derive(Debug)]
struct Progress {
    /// The longest that is borne (`upstream.total_timeout`).
    silence: Duration,
    began: Deadline,
    /// Microseconds after `began` at which bytes last moved.
    moved: AtomicU64,
    /// How many have moved.
    bytes: AtomicU64,
    /// Whether the client has been waited for since; else it is the origin that takes no more.
    starved: AtomicBool,
    ended: AtomicBool,
    /// Told when it has ended: who waits for the response head waits less long from then on.
    end: Notify,
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

/// A timer that is set when there is silence, and again only when it has run out, so that moving
/// bytes do not touch it.
///
/// Silence begins when the origin is asked for bytes and has none; while the client is slow to
/// take what came, nobody waits for the origin.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    since: Option<Deadline>,
    timer: Timer,
}

/// A wait until a deadline that may be put off meanwhile.
pub(super) struct Timer {
    clock: Clock,
    set: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

// === impl Outbound ===

impl Outbound {
    pub(super) fn upload(
        body: Incoming,
        version: Version,
        limit: u64,
        ticket: Arc<Ticket>,
        clock: &Clock,
        silence: Duration,
    ) -> (Self, Upload) {
        let upload = Upload::begin(false, clock, silence);
        (
            Self::Client {
                body,
                is_stream: version == Version::HTTP_2,
                left: limit,
                upload: upload.clone(),
                ticket: Some(ticket),
                slowness: Timer::new(clock.clone()),
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
            body,
            is_stream,
            left,
            upload,
            ticket,
            slowness,
        } = self.get_mut()
        else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        upload.starved(polled.is_pending());
        let Poll::Ready(frame) = polled else {
            if ticket.is_some() && slowness.poll(cx, || upload.slow_from()).is_ready() {
                *ticket = None;
            }
            return Poll::Pending;
        };
        if frame.is_none() && *is_stream && !body.is_end_stream() {
            return Poll::Ready(Some(Err(UploadError::Broken(None))));
        }
        let data = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref());
        let bytes = data.map_or(0, Bytes::len) as u64;
        // When there is as much as was declared, hyper's client does not look for the end, which over
        // HTTP/2 may come in a frame of its own.
        let is_over = frame.is_none() || body.size_hint().exact() == Some(0);
        upload.moved(bytes, is_over);
        Poll::Ready(match frame {
            Some(Ok(frame)) => match left.checked_sub(bytes) {
                Some(rest) => {
                    *left = rest;
                    Some(Ok(frame))
                }
                None => Some(Err(UploadError::TooLarge)),
            },
            Some(Err(error)) => Some(Err(UploadError::Broken(Some(error.into())))),
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
    pub(super) fn none(clock: &Clock) -> Self {
        Self::begin(true, clock, Duration::ZERO)
    }

    fn begin(ended: bool, clock: &Clock, silence: Duration) -> Self {
        Self(Arc::new(Progress {
            silence,
            began: clock.deadline(Duration::ZERO),
            moved: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            ended: ended.into(),
            end: Notify::new(),
        }))
    }

    fn moved(&self, bytes: u64, ended: bool) {
        if !self.0.ended.load(Ordering::Relaxed) {
            let micros = u64::try_from(self.0.began.passed().as_micros()).unwrap_or(u64::MAX);
            self.0.moved.store(micros, Ordering::Relaxed);
            self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.0.ended.store(ended, Ordering::Release);
            if ended {
                self.0.end.notify_one();
            }
        }
    }

    /// Waits for the end; one at a time.
    pub(super) async fn until_ended(&self) {
        while !self.has_ended() {
            self.0.end.notified().await;
        }
    }

    fn starved(&self, starved: bool) {
        self.0.starved.store(starved, Ordering::Relaxed);
    }

    /// Whether it is the client that is waited for.
    pub(super) fn is_starved(&self) -> bool {
        self.0.starved.load(Ordering::Relaxed)
    }

    /// Whether all of it is out.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// When the wait for the response head is over, as far as is known now.
    ///
    /// While the client uploads, silence is bounded, and so is a trickle: else a byte now and
    /// then would keep a place at the origin for ever.
    pub(super) fn deadline(&self, settings: &config::Upstream) -> Deadline {
        if self.has_ended() {
            let limit = self.moved_last() + settings.connect_timeout + settings.response_timeout;
            self.0.began.later(limit)
        } else {
            self.slow_from()
        }
    }

    /// From when on it is too slow, unless more of it moves.
    fn slow_from(&self) -> Deadline {
        let paced = self.0.bytes.load(Ordering::Relaxed) / MIN_PACE;
        let limit = self.moved_last().min(Duration::from_secs(paced)) + self.0.silence;
        self.0.began.later(limit)
    }

    fn moved_last(&self) -> Duration {
        Duration::from_micros(self.0.moved.load(Ordering::Relaxed))
    }
}

// === impl ResponseStream ===

impl ResponseStream {
    pub(super) fn new(
        (read, room): (Bytes, Option<Room>),
        rest: Received,
        limit: Duration,
        clock: Clock,
    ) -> Self {
        Self {
            read,
            room,
            rest,
            silence: Silence {
                limit,
                since: None,
                timer: Timer::new(clock),
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
        let now = || self.timer.clock.deadline(Duration::ZERO);
        let deadline = self.since.get_or_insert_with(now).later(self.limit);
        self.timer.poll(cx, || deadline).map(|()| self.limit)
    }
}

// === impl Timer ===

impl Timer {
    fn new(clock: Clock) -> Self {
        Self { clock, set: None }
    }

    /// Ready when what is the deadline by then is over.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: impl Fn() -> Deadline) -> Poll<()> {
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

impl FetchError {
    fn silent(limit: Duration) -> Self {
        let limit = humantime::format_duration(limit);
        Self::new(
            Fault::ResponseTimeout,
            &format!("not a byte within {limit} (upstream.total_timeout)"),
        )
    }
}
