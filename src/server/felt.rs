//! The socket of a connection, felt by its pulse.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::pulse::Pulse;

/// A socket that leaves a mark in the pulse for each byte moved; in HTTP/2, for each that goes out
/// and belongs to a request.
#[derive(Debug)]
pub(super) struct Felt<S> {
    socket: S,
    pulse: Arc<Pulse>,
    /// In HTTP/2: what goes out.
    frames: Frames,
}

impl<S> Felt<S> {
    pub(super) fn new(socket: S, pulse: Arc<Pulse>) -> Self {
        Self {
            socket,
            pulse,
            frames: Frames::default(),
        }
    }

    /// So many of these bytes have gone out.
    fn written<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>, mut count: usize) {
        if !self.pulse.is_http2() {
            return self.pulse.mark();
        }
        for part in parts {
            let part = &part[..part.len().min(count)];
            count -= part.len();
            if self.frames.follow(part) {
                self.pulse.mark();
            }
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.socket
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
        if buf.filled().len() > before {
            this.pulse.read();
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
        this.pulse.owe(true);
        let polled = Pin::new(&mut this.socket).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            this.written(std::iter::once(bytes), count);
        }
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.pulse.owe(true);
        let polled = Pin::new(&mut this.socket).poll_write_vectored(cx, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            this.written(bytes.iter().map(|part| &**part), count);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes the socket when it has nothing left to write.
        let polled = Pin::new(&mut this.socket).poll_flush(cx);
        if polled.is_ready() {
            this.pulse.owe(false);
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.pulse.end();
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
