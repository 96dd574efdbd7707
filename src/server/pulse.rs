//! The pulse of a connection: what it is doing and since when, so that one timer can bound it.
//!
//! hyper's own header timeout makes and drops a timer a request, and counts the pause between
//! requests as part of a head. Here bytes and requests leave a mark each, two stores, and the
//! connection's one timer looks at the marks when it runs out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::config;
use crate::telemetry::ConnectionBound;

/// How a client begins HTTP/2 (RFC 9113 §3.4). It comes in one read from all who mean well.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection is doing, shared by its socket, its requests and its timer.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    /// Requests whose responses have not ended.
    busy: AtomicUsize,
    /// Milliseconds after `born` of the last byte moved or request begun or ended.
    last: AtomicU64,
    /// Milliseconds after `born` of the first byte since the last request ended; 0 is none.
    head: AtomicU64,
    /// HTTP/2: what comes between requests is a ping or a window, not the beginning of a head.
    is_http2: AtomicBool,
}

/// When a connection is to be looked at again, or which bound it has reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    At(Instant),
    Reached(ConnectionBound),
}

/// A request on this connection; ends when dropped.
#[derive(Debug)]
pub(super) struct Beat(Arc<Pulse>);

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            busy: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            head: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
        })
    }

    /// A request has begun.
    pub(super) fn begin(self: &Arc<Self>) -> Beat {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        Beat(Arc::clone(self))
    }

    fn read(&self, bytes: &[u8]) {
        let now = self.now();
        if self.busy.load(Ordering::Relaxed) == 0 {
            if self.is_http2.load(Ordering::Relaxed) {
                // Nor is it life: a head could drip in, frame by frame, for ever.
                return;
            }
            if bytes.starts_with(HTTP2_PREFACE) {
                self.is_http2.store(true, Ordering::Relaxed);
            } else if self.head.load(Ordering::Relaxed) == 0 {
                self.head.store(now, Ordering::Relaxed);
            }
        }
        self.last.store(now, Ordering::Relaxed);
    }

    fn wrote(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Milliseconds of life; at least one, since 0 means "none".
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// Whether a bound is reached, else when to look again.
    pub(super) fn check(&self, settings: &config::Server) -> Check {
        let head = self.head.load(Ordering::Relaxed);
        let (since, limit, bound) = if self.busy.load(Ordering::Relaxed) > 0 {
            // The origin has deadlines of its own, all of them shorter than a client may idle.
            (
                self.last.load(Ordering::Relaxed),
                settings.idle_timeout,
                ConnectionBound::Stalled,
            )
        } else if head > 0 {
            (
                head,
                settings.header_timeout,
                ConnectionBound::HeaderTimeout,
            )
        } else {
            (
                self.last.load(Ordering::Relaxed),
                settings.idle_timeout,
                ConnectionBound::IdleTimeout,
            )
        };
        let deadline = self.born + Duration::from_millis(since) + limit;
        if deadline <= Instant::now() {
            Check::Reached(bound)
        } else {
            // A head may begin at any time: look at least as often as one may take.
            Check::At(deadline.min(Instant::now() + settings.header_timeout))
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.last.store(self.0.now(), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that leaves a mark in the pulse for each byte moved.
#[derive(Debug)]
pub(super) struct Felt<S> {
    socket: S,
    pulse: Arc<Pulse>,
}

impl<S> Felt<S> {
    pub(super) fn new(socket: S, pulse: Arc<Pulse>) -> Self {
        Self { socket, pulse }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Felt<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.socket).poll_read(cx, buf);
        if let bytes @ [_, ..] = &buf.filled()[before..] {
            this.pulse.read(bytes);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Felt<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_write(cx, bytes);
        if polled.is_ready() {
            this.pulse.wrote();
        }
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_write_vectored(cx, bytes);
        if polled.is_ready() {
            this.pulse.wrote();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test(start_paused = true)]
    async fn idle_head_and_busy_have_a_bound_each() {
        let settings = Config::default().server;
        let pass = tokio::time::advance;

        let pulse = Pulse::new();
        pass(Duration::from_secs(74)).await;
        assert!(matches!(pulse.check(&settings), Check::At(_)));
        pass(Duration::from_secs(1)).await;
        assert_eq!(
            pulse.check(&settings),
            Check::Reached(ConnectionBound::IdleTimeout)
        );

        let pulse = Pulse::new();
        pass(Duration::from_secs(1)).await;
        pulse.read(b"G");
        for _ in 0..9 {
            pass(Duration::from_secs(1)).await;
            // A byte now and then does not prolong a head.
            pulse.read(b"G");
            assert!(matches!(pulse.check(&settings), Check::At(_)));
        }
        pass(Duration::from_secs(1)).await;
        assert_eq!(
            pulse.check(&settings),
            Check::Reached(ConnectionBound::HeaderTimeout)
        );

        let beat = pulse.begin();
        assert!(matches!(pulse.check(&settings), Check::At(_)));
        pass(settings.idle_timeout).await;
        assert_eq!(
            pulse.check(&settings),
            Check::Reached(ConnectionBound::Stalled)
        );
        pulse.wrote();
        assert!(matches!(pulse.check(&settings), Check::At(_)));

        drop(beat);
        pass(settings.idle_timeout).await;
        assert_eq!(
            pulse.check(&settings),
            Check::Reached(ConnectionBound::IdleTimeout)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_between_requests_are_neither_a_head_nor_life() {
        let settings = Config::default().server;
        let pulse = Pulse::new();
        pulse.read(HTTP2_PREFACE);
        drop(pulse.begin());
        for _ in 0..74 {
            tokio::time::advance(Duration::from_secs(1)).await;
            pulse.read(b"ping");
            assert!(matches!(pulse.check(&settings), Check::At(_)));
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(
            pulse.check(&settings),
            Check::Reached(ConnectionBound::IdleTimeout)
        );
    }
}
