//! One client connection: rests until bytes come, talks, and rests again, within its bounds.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::bounds::{Bounds, Event};
use super::drain::Stage;
use super::felt::Felt;
use super::pulse::{Check, Pulse};
use super::socket::Socket;
use super::talk::{self, Talked};
use super::{Drain, Server};
use crate::request::HTTP2_PREFACE;
use crate::telemetry::ConnectionBound;

/// Counts a connection while it is open, or at rest.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What ended a rest.
enum Rested {
    /// The client has begun to speak.
    Begun(Bytes),
    /// It has gone.
    Gone,
    /// So has the time that the proxy had to end.
    Over,
    /// A bound is reached.
    Reached(ConnectionBound),
}

/// Serves a connection to its end.
pub(super) async fn serve(server: &Arc<Server>, socket: TcpStream, drain: Drain) {
    let metrics = &server.observatory.metrics;
    let _open = Counted::new(&metrics.connections);
    // A response is one write; waiting for more to send with it would only delay it.
    let _ = socket.set_nodelay(true);
    let Some(socket) = greet(server, socket, &drain).await else {
        return;
    };
    let mut http1 = socket.is_http1();
    let pulse = Pulse::new();
    let timer = pin!(tokio::time::sleep(server.settings.idle_timeout));
    let mut bounds = Bounds::new(&pulse, &server.settings, timer, &drain);
    let mut socket = Felt::new(socket, Arc::clone(&pulse));
    let mut begun = Bytes::new();
    let bound = loop {
        let since = Instant::now();
        let resting = Counted::new(&metrics.connections_idle);
        let rested = rest(&mut socket, begun, http1, &mut bounds).await;
        drop(resting);
        match rested {
            Rested::Begun(bytes) => begun = bytes,
            Rested::Gone | Rested::Over => return,
            Rested::Reached(bound) => break bound,
        }
        bounds.begin(since.elapsed());
        // On the heap, so that a connection at rest is as small as it can be.
        let talked = if !http1 && begun == HTTP2_PREFACE[..] {
            pulse.turn_to_http2();
            Box::pin(talk::http2(server, socket, begun, &mut bounds)).await
        } else {
            http1 = true;
            Box::pin(talk::http1(server, socket, begun, &mut bounds)).await
        };
        match talked {
            Talked::Paused(bytes, paused) => {
                (begun, socket) = (bytes, paused);
                if !begun.is_empty() {
                    // It came with the request before; its time begins here.
                    pulse.read();
                }
            }
            Talked::Ended => return,
            Talked::Reached(bound) => break bound,
        }
    };
    if pulse.is_closing() && bound == ConnectionBound::IdleTimeout {
        // It is the proxy that ends; the client has reached no bound.
        return;
    }
    metrics.connections_closed.of(bound).inc();
}

/// What is to be done before the first byte of a request: TLS, where it is spoken.
async fn greet(server: &Server, socket: TcpStream, drain: &Drain) -> Option<Socket> {
    let Some(tls) = &server.tls else {
        return Some(Socket::Plain(socket));
    };
    let handshake = tokio::time::timeout(server.settings.header_timeout, tls.accept(socket));
    // It is larger than all that a connection at rest needs.
    let mut handshake = Box::pin(handshake);
    let greeted = tokio::select! {
        greeted = &mut handshake => greeted,
        () = drain.over() => return None,
    };
    match greeted {
        Ok(Ok(stream)) => return Some(Socket::Tls(Box::new(stream))),
        // A look at the port, or somebody who is gone.
        Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidData => return None,
        Ok(Err(error)) => tracing::debug!("no TLS: {error}"),
        Err(_) => tracing::debug!("no TLS within server.header_timeout"),
    }
    let closed = &server.observatory.metrics.connections_closed;
    closed.of(ConnectionBound::TlsHandshake).inc();
    None
}

/// Waits for the first bytes of a request, without a buffer to hold them.
async fn rest(
    socket: &mut Felt<Socket>,
    begun: Bytes,
    http1: bool,
    bounds: &mut Bounds<'_>,
) -> Rested {
    let mut begun = Vec::from(begun);
    loop {
        // Whether it is HTTP/2 cannot be said of less than its whole preface.
        let may_be_http2 =
            !http1 && begun.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&begun);
        if !begun.is_empty() && !may_be_http2 {
            return Rested::Begun(begun.into());
        }
        match bounds.until(|cx| poll_some(socket, &mut begun, cx)).await {
            Event::Done(Ok(0) | Err(_)) => return Rested::Gone,
            Event::Done(Ok(_)) => bounds.look_now(),
            Event::Look => match bounds.check() {
                Check::Busy(_) => {}
                Check::Resting(deadline) => bounds.look_at(deadline),
                Check::Reached(bound) => return Rested::Reached(bound),
            },
            Event::Stage(Stage::Serving) => {}
            Event::Stage(Stage::Draining) => {
                bounds.pulse.close();
                bounds.look_now();
            }
            Event::Stage(Stage::Over) => return Rested::Over,
        }
    }
}

/// Appends what has come, as much as an HTTP/2 preface has.
fn poll_some(
    socket: &mut Felt<Socket>,
    begun: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut space = [0; HTTP2_PREFACE.len()];
    let mut space = ReadBuf::new(&mut space[begun.len()..]);
    ready!(Pin::new(socket).poll_read(cx, &mut space))?;
    begun.extend_from_slice(space.filled());
    Poll::Ready(Ok(space.filled().len()))
}
