//! A connection to the origin that tracks its traffic, so that a failed request is known to be
//! retriable: no response byte had arrived.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, inside its TLS: an alert that ends a session is no response byte.
#[derive(Debug)]
pub struct TrackedConnection<T> {
    inner: T,
    traffic: Traffic,
}

/// The traffic of a connection; hyper hands it out with an error.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<AtomicU8>);

/// A request that failed before the first byte of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// On a connection that had served before: the origin closed it as it was used.
    Reused,
    /// On a new connection: the origin stopped, or the request made it close.
    New,
}

/// Bytes were received since bytes were sent last.
const RECEIVED: u8 = 1;
/// Bytes were sent after some had been received: this is not the first exchange.
const REUSED: u8 = 2;

impl<T> TrackedConnection<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            traffic: Traffic::default(),
        }
    }
}

impl Traffic {
    /// The kind of failure, if no byte has been received since the request was sent.
    pub(super) fn unanswered(&self) -> Option<Unanswered> {
        let flags = self.0.load(Ordering::Relaxed);
        if flags & RECEIVED != 0 {
            None
        } else if flags & REUSED != 0 {
            Some(Unanswered::Reused)
        } else {
            Some(Unanswered::New)
        }
    }

    fn received(&self) {
        self.0.fetch_or(RECEIVED, Ordering::Relaxed);
    }

    fn sent(&self) {
        if self.0.load(Ordering::Relaxed) & RECEIVED != 0 {
            self.0.store(REUSED, Ordering::Relaxed);
        }
    }
}

impl<T: Connection> Connection for TrackedConnection<T> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.traffic.clone())
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
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.traffic.sent();
        Pin::new(&mut this.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
