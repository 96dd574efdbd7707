//! A connection to the origin that knows what has passed over it, so that a request which died
//! with it can be told to have died before the first byte of its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, inside its TLS: an alert that ends a session is no byte of an answer.
#[derive(Debug)]
pub struct Line<T> {
    inner: T,
    traffic: Traffic,
}

/// What has passed over a connection, as hyper hands it out with an error.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<AtomicU8>);

/// Something was heard since something was said last.
const HEARD: u8 = 1;
/// Something was said after something had been heard: this is not the first exchange.
const REUSED: u8 = 2;

impl<T> Line<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            traffic: Traffic::default(),
        }
    }
}

impl Traffic {
    /// Whether a byte has come since the last one went out.
    pub(super) fn is_heard(&self) -> bool {
        self.0.load(Ordering::Relaxed) & HEARD != 0
    }

    /// Whether an earlier exchange has gone well.
    pub(super) fn is_reused(&self) -> bool {
        self.0.load(Ordering::Relaxed) & REUSED != 0
    }

    fn heard(&self) {
        self.0.fetch_or(HEARD, Ordering::Relaxed);
    }

    fn said(&self) {
        let is_heard = self.is_heard();
        if is_heard {
            self.0.store(REUSED, Ordering::Relaxed);
        }
    }
}

impl<T: Connection> Connection for Line<T> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.traffic.clone())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Line<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            this.traffic.heard();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Line<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.traffic.said();
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.traffic.said();
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
