//! A client's socket: TCP, or TLS over TCP.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest, Ready};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::super::drain::Drain;
use super::super::tls::Tls;
use crate::telemetry::{CloseReason, RequestId};

/// A client's socket. TLS is boxed: it is twenty times as large.
pub(super) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Completes the TLS handshake where TLS is configured.
///
/// # Errors
///
/// The connection has ended, for this reason unless the client or the drain ended it.
pub(super) async fn handshake(
    tls: Option<&Tls>,
    socket: TcpStream,
    timeout: Duration,
    drain: &Drain,
) -> Result<Socket, Option<CloseReason>> {
    let Some(tls) = tls else {
        return Ok(Either::Left(socket));
    };
    // Boxed: a handshake is larger than an idle connection.
    let mut handshake = Box::pin(tokio::time::timeout(timeout, async {
        if speaks_http(&socket).await? {
            answer_http(socket).await?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "HTTP without TLS",
            ));
        }
        tls.accept(socket).await
    }));
    let done = tokio::select! {
        done = &mut handshake => done,
        () = drain.over() => return Err(None),
    };
    match done {
        Ok(Ok(stream)) => return Ok(Either::Right(Box::new(stream))),
        // A port scan, or a client that disconnected.
        Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidData => return Err(None),
        Ok(Err(error)) => tracing::debug!("TLS handshake failed: {error}"),
        Err(_) => tracing::debug!("no TLS handshake within server.header_timeout"),
    }
    Err(Some(CloseReason::TlsHandshake))
}

/// Whether the first byte is that of an HTTP request: the first one of a handshake is 22.
async fn speaks_http(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let length = socket.peek(&mut first).await?;
    Ok(length > 0 && first[0].is_ascii_uppercase())
}

async fn answer_http(mut socket: TcpStream) -> io::Result<()> {
    const ANSWER: &str = "connection: close\r\n\r\n\
        {\"title\":\"TLS expected\",\"status\":400,\"detail\":\"this port expects TLS; write https:// instead of http://\"}\n";
    // Read first: unread bytes would make the close a reset.
    let mut request = [0; 1 << 10];
    let _ = socket.read(&mut request).await?;
    let id = RequestId::of(None);
    tracing::debug!(request_id = %id, "plain HTTP on the port for TLS");
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n{ANSWER}"
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}

/// Whether both sides have agreed on HTTP/1.1 (RFC 7301).
pub(super) fn has_agreed_on_http1(socket: &Socket) -> bool {
    match socket {
        Either::Left(_) => false,
        Either::Right(stream) => stream.get_ref().1.alpn_protocol() == Some(b"http/1.1"),
    }
}

/// Makes the close a reset, so that the client does not take the end of the connection for the
/// end of a response.
pub(super) fn reset(socket: &Socket) {
    // If this fails, the socket is closed normally.
    let _ = tcp(socket).set_zero_linger();
}

/// Whether the client has closed its sending side, or reset the connection.
pub(super) fn is_input_closed(socket: &Socket) -> bool {
    let ready = tcp(socket).ready(Interest::READABLE).now_or_never();
    ready.is_some_and(|ready| ready.is_ok_and(Ready::is_read_closed))
}

pub(super) fn tcp(socket: &Socket) -> &TcpStream {
    match socket {
        Either::Left(tcp) => tcp,
        Either::Right(stream) => stream.get_ref().0,
    }
}
