//! A connection to the origin that tracks its traffic: a failed request may be retried only if no
//! response byte had been received, an origin that reads nothing is disconnected, and the response of
//! one that closes early is read. The retries themselves are in `retry`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Extensions;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::timer::Timer;
use crate::clock::{Clock, Deadline};
use crate::telemetry::{Metrics, OriginConnection, Retry};

/// A connection above TLS, so that a TLS alert does not count as a response byte.
#[derive(Debug)]
pub struct TrackedConnection<T> {
    inner: T,
    traffic: Traffic,
    stall: Stall,
}

/// The wait for an origin that does not read. hyper does not poll an upload meanwhile, nor has a
/// request left to time out once its response has ended.
#[derive(Debug)]
struct Stall {
    timer: Timer,
    limit: Duration,
    /// The deadline, while nothing can be written.
    deadline: Option<Deadline>,
}

/// The traffic of a connection; part of its `connect_info`, which hyper attaches to responses and
/// errors.
#[derive(Clone, Debug)]
pub(super) struct Traffic(Arc<State>);

#[derive(Debug)]
struct State {
    /// Flags, and above them the number of requests on it.
    bits: AtomicU32,
    /// The monotonic time from which the connection is not reused.
    expires: Duration,
    /// `None` if connections are not counted.
    metrics: Option<Arc<Metrics>>,
}

/// A request on a connection. The connection is idle after it, unless the next one has begun.
#[derive(Debug)]
pub(super) struct Exchange {
    traffic: Traffic,
    number: u32,
}

/// Bytes were received after the last bytes were sent.
const RECEIVED: u32 = 1;
/// Bytes were sent after some had been received: the connection is reused.
const REUSED: u32 = 2;
/// No request is on it.
const IDLE: u32 = 4;
const CLOSED: u32 = 8;
/// Number of bits of the flags.
const FLAGS: u32 = 4;

impl<T> TrackedConnection<T> {
    /// A connection that fails if its peer reads nothing for `limit`, and is not reused from `expires`
    /// on.
    pub(super) fn new(
        inner: T,
        limit: Duration,
        expires: Duration,
        clock: Clock,
        metrics: Option<Arc<Metrics>>,
    ) -> Self {
        Self {
            inner,
            traffic: Traffic::new(expires, metrics),
            stall: Stall {
                timer: Timer::new(clock),
                limit,
                deadline: None,
            },
        }
    }
}

impl Stall {
    /// The result of a write, or an error if none has been possible for too long.
    ///
    /// A failed write counts as one that is not possible yet: an origin that refuses an upload responds
    /// and closes, and hyper would drop the response. Reading then ends, and so does the wait.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.deadline = None;
            return written;
        }
        let begin = || self.timer.clock.deadline(self.limit);
        let deadline = *self.deadline.get_or_insert_with(begin);
        ready!(self.timer.poll(cx, || deadline));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Traffic {
    fn new(expires: Duration, metrics: Option<Arc<Metrics>>) -> Self {
        let traffic = Self(Arc::new(State {
            bits: AtomicU32::new(IDLE),
            expires,
            metrics,
        }));
        traffic.count(OriginConnection::Idle, 1);
        traffic
    }

    fn count(&self, state: OriginConnection, change: i64) {
        if let Some(metrics) = &self.0.metrics {
            metrics.upstream_connections.of(state).add(change);
        }
    }

    /// Whether the connection is too old for another request.
    pub(super) fn has_expired(&self, now: Duration) -> bool {
        self.0.expires <= now
    }

    /// Why a failed request may be retried: no byte has been received since it was sent.
    pub(super) fn unanswered(&self) -> Option<Retry> {
        let flags = self.0.bits.load(Ordering::Relaxed);
        if flags & RECEIVED != 0 {
            None
        } else if flags & REUSED != 0 {
            Some(Retry::Pooled)
        } else {
            Some(Retry::Closed)
        }
    }

    fn received(&self) {
        self.0.bits.fetch_or(RECEIVED, Ordering::Relaxed);
    }

    fn sent(&self) {
        let begins = |bits: u32| bits & (RECEIVED | IDLE) != 0;
        let next = |bits: u32| {
            let number = (bits >> FLAGS).wrapping_add(1);
            let reused = if bits & RECEIVED == 0 { 0 } else { REUSED };
            begins(bits).then_some(number << FLAGS | reused)
        };
        let bits = &self.0.bits;
        if begins(bits.load(Ordering::Relaxed))
            && let Ok(before) = bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            && before & IDLE != 0
        {
            self.count(OriginConnection::Idle, -1);
            self.count(OriginConnection::InUse, 1);
        }
    }

    fn closed(&self) {
        let before = self.0.bits.fetch_or(CLOSED, Ordering::Relaxed);
        let state = if before & IDLE == 0 {
            OriginConnection::InUse
        } else {
            OriginConnection::Idle
        };
        self.count(state, -1);
    }
}

impl Exchange {
    /// The request of a response with these extensions.
    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
        let traffic = extensions.get::<Traffic>()?.clone();
        let number = traffic.0.bits.load(Ordering::Relaxed) >> FLAGS;
        Some(Self { traffic, number })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let ended = |bits: u32| {
            let is_last = bits >> FLAGS == self.number && bits & (IDLE | CLOSED) == 0;
            is_last.then_some(bits | IDLE)
        };
        let bits = &self.traffic.0.bits;
        let ended = bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, ended);
        if ended.is_ok() {
            self.traffic.count(OriginConnection::InUse, -1);
            self.traffic.count(OriginConnection::Idle, 1);
        }
    }
}

impl<T> Drop for TrackedConnection<T> {
    fn drop(&mut self) {
        self.traffic.closed();
    }
}

impl<T> Connection for TrackedConnection<T> {
    fn connected(&self) -> Connected {
        // Nothing of the inner connection: it would be copied into each response.
        Connected::new().extra(self.traffic.clone())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TrackedConnection<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            this.traffic.received();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TrackedConnection<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.traffic.sent();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.stall.poll(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.traffic.sent();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, parts);
        this.stall.poll(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.stall.poll(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
