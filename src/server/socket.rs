//! What a connection's bytes come and go by: TCP, or TLS over it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A client's socket.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    /// On the heap: it is twenty times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Whether both sides have settled on HTTP/1.1 (RFC 7301).
    pub(super) fn is_http1(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"http/1.1"),
        }
    }

    /// Closes, so that nobody takes the end of the connection for the end of an answer.
    pub(super) fn reset(self) {
        let socket = match &self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        };
        // Where the system refuses, it is closed all the same.
        let _ = socket.set_zero_linger();
    }
}

/// The same call on whichever it is.
macro_rules! either {
    ($socket:expr, $call:ident($($argument:expr),*)) => {
        match $socket {
            Socket::Plain(socket) => Pin::new(socket).$call($($argument),*),
            Socket::Tls(socket) => Pin::new(&mut **socket).$call($($argument),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.get_mut(), poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), poll_shutdown(cx))
    }
}
