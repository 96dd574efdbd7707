//! A conversation with a client: hyper, within the bounds of the connection.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::bounds::{Bounds, Event};
use super::drain::Stage;
use super::felt::Felt;
use super::guard::Guarded;
use super::pulse::{Check, Pulse};
use super::replay::Replay;
use super::socket::Socket;
use super::{Server, stack};
use crate::config;
use crate::request::Framing;
use crate::telemetry::ConnectionBound;

/// Requests one HTTP/2 connection may have in flight.
const MAX_STREAMS: u32 = 256;

/// Bytes of a response that are queued for one HTTP/2 stream.
const MAX_STREAM_BUFFER: usize = 256 << 10;

/// The least that hyper takes as a buffer.
const MIN_BUFFER: usize = 8 << 10;

/// hyper's own limit of fields. Left alone it parses into an array on the stack; any value set
/// explicitly makes it allocate for each request.
const HYPER_MAX_FIELDS: usize = 100;

/// How both protocols are spoken with everybody.
#[derive(Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

/// How a conversation has ended.
pub(super) enum Talked {
    /// The client has nothing to ask for now: its socket, and what it has sent already of the
    /// next request.
    Paused(Bytes, Felt<Socket>),
    /// So has the connection.
    Ended,
    /// A bound is reached.
    Reached(ConnectionBound),
}

impl Protocols {
    /// HTTP/1.1 and HTTP/2 within the limits.
    pub(super) fn new(limits: &config::Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .half_close(true)
            .max_buf_size(limits.header_bytes.as_usize().max(MIN_BUFFER));
        if limits.headers != HYPER_MAX_FIELDS {
            http1.max_headers(limits.headers);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(MAX_STREAM_BUFFER)
            .max_header_list_size(u32::try_from(limits.header_bytes.0).unwrap_or(u32::MAX));
        Self { http1, http2 }
    }
}

/// Answers requests in HTTP/1.1 for as long as they come; a client that pauses gets its socket
/// taken back.
///
/// hyper keeps 16 KiB of buffers a connection, full or empty. A pool of thousands of connections
/// is mostly pauses.
pub(super) async fn http1(
    server: &Arc<Server>,
    socket: Felt<Socket>,
    first: Bytes,
    bounds: &mut Bounds<'_>,
) -> Talked {
    let io = TokioIo::new(guarded(
        server,
        Framing::in_http1(&server.limits),
        first,
        socket,
        bounds.pulse,
    ));
    let service = stack::for_connection(server, bounds.pulse);
    let mut connection = server.protocols.http1.serve_connection(io, service);
    let pulse = bounds.pulse;
    let (talked, is_torn) = loop {
        let event = bounds
            .until(|cx| {
                ready!(Pin::new(&mut connection).poll(cx))?;
                if pulse.has_ended() {
                    return Poll::Ready(Ok(()));
                }
                // Where the client has offered another protocol, hyper leaves the end to whoever
                // takes the offer. Nobody does; asked again, it sees to it.
                Pin::new(&mut connection).poll(cx)
            })
            .await;
        match event {
            Event::Done(Ok(())) => return Talked::Ended,
            Event::Done(Err(error)) => {
                count(server, bounds.pulse, &error);
                break (Talked::Ended, error.is_user());
            }
            Event::Look => match bounds.check() {
                Check::Busy(_) => {}
                Check::Resting(_) => {
                    let parts = connection.into_parts();
                    let (kept, replay) = parts.io.into_inner().into_parts();
                    let (unread, socket) = replay.into_parts();
                    let begun = [&parts.read_buf[..], &kept, &unread].concat().into();
                    return Talked::Paused(begun, socket);
                }
                Check::Reached(bound) => {
                    break (Talked::Reached(bound), bound == ConnectionBound::Stalled);
                }
            },
            Event::Stage(Stage::Serving) => {}
            Event::Stage(Stage::Draining) => {
                bounds.pulse.close();
                bounds.look_now();
            }
            Event::Stage(Stage::Over) => {
                break (Talked::Reached(ConnectionBound::DrainTimeout), true);
            }
        }
    };
    if is_torn && pulse.speaks_http10() {
        // Closed as usual, a part would end as if it were the whole.
        let (_, replay) = connection.into_parts().io.into_inner().into_parts();
        let (_, socket) = replay.into_parts();
        socket.into_inner().reset();
    }
    talked
}

/// Answers requests in HTTP/2 until the connection ends.
pub(super) async fn http2(
    server: &Arc<Server>,
    socket: Felt<Socket>,
    first: Bytes,
    bounds: &mut Bounds<'_>,
) -> Talked {
    let io = TokioIo::new(guarded(
        server,
        Framing::new(&server.limits),
        first,
        socket,
        bounds.pulse,
    ));
    let service = stack::for_connection(server, bounds.pulse);
    let mut connection = pin!(server.protocols.http2.serve_connection(io, service));
    if bounds.pulse.is_closing() {
        // The drain began while nobody knew that it would be HTTP/2.
        connection.as_mut().graceful_shutdown();
    }
    let mut told = false;
    loop {
        match bounds.until(|cx| connection.as_mut().poll(cx)).await {
            Event::Done(_) if told => return Talked::Reached(ConnectionBound::IdleTimeout),
            Event::Done(ended) => {
                if let Err(error) = ended {
                    count(server, bounds.pulse, &error);
                }
                return Talked::Ended;
            }
            Event::Look => match bounds.check() {
                Check::Busy(_) | Check::Resting(_) => {}
                Check::Reached(ConnectionBound::IdleTimeout) if !told => {
                    // The client is told; what it has sent before it hears of it is answered.
                    told = true;
                    connection.as_mut().graceful_shutdown();
                    bounds.look_at(Instant::now() + server.settings.header_timeout);
                }
                Check::Reached(bound) => return Talked::Reached(bound),
            },
            Event::Stage(Stage::Serving) => {}
            Event::Stage(Stage::Draining) => connection.as_mut().graceful_shutdown(),
            Event::Stage(Stage::Over) => return Talked::Reached(ConnectionBound::DrainTimeout),
        }
    }
}

/// The socket, as hyper is to read it.
fn guarded(
    server: &Server,
    framing: Framing,
    first: Bytes,
    socket: Felt<Socket>,
    pulse: &Arc<Pulse>,
) -> Guarded<Replay<Felt<Socket>>> {
    let closed = &server.observatory.metrics.connections_closed;
    let unread = closed.of(ConnectionBound::Unread).clone();
    Guarded::new(
        Replay::new(first, socket),
        framing,
        Arc::clone(pulse),
        unread,
    )
}

fn count(server: &Server, pulse: &Pulse, error: &hyper::Error) {
    tracing::debug!("connection ended: {error}");
    if let Some(bound) = pulse.blame(error) {
        server
            .observatory
            .metrics
            .connections_closed
            .of(bound)
            .inc();
    }
}
