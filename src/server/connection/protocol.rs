//! Runs hyper's HTTP/1.1 or HTTP/2 connection under the deadlines of the proxy.

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::activity::Activity;
use super::deadline::{Deadlines, Event};
use super::direct::{Direct, Reply};
use super::io::{ClientIo, TOO_MANY_CONTROL_FRAMES};
use super::socket::{self, Socket};
use crate::config;
use crate::request::Framing;
use crate::telemetry::CloseReason;

/// Maximum requests in flight on an HTTP/2 connection: the least that RFC 9113 §6.5.2 recommends.
const MAX_STREAMS: u32 = 100;

/// Maximum request bytes received and unread of an HTTP/2 stream.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same of a connection. All streams may fill their windows: with less, uploads that the origin
/// does not read would stop other users' uploads on a shared connection.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// Maximum bytes of a streamed response buffered for an HTTP/2 stream, the same as received.
const MAX_STREAM_BUFFER: usize = 64 << 10;

/// The smallest buffer that hyper accepts.
const MIN_BUFFER: usize = 8 << 10;

/// hyper's default limit of header fields. With the default, hyper parses into an array on the stack;
/// with any value set explicitly, it allocates for each request.
const HYPER_MAX_FIELDS: usize = 100;

/// hyper's server for both protocols, and what answers before it.
#[derive(Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    direct: Arc<Direct>,
}

/// Why hyper has stopped serving a connection.
pub(super) enum Served {
    /// No request is in flight: the bytes received of the next one, and the socket.
    Idle(Vec<u8>, Socket),
    /// The connection has ended, for this reason if that is counted.
    Closed(Option<CloseReason>),
}

impl Protocols {
    pub(super) fn new(limits: &config::Limits, direct: Arc<Direct>) -> Self {
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
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(MAX_STREAM_BUFFER)
            // Twice the limit, which `request` applies: what h2 refuses gets a bare 431, without
            // document, log line or metric.
            .max_header_list_size(u32::try_from(2 * limits.header_bytes.0).unwrap_or(u32::MAX));
        Self {
            http1,
            http2,
            direct,
        }
    }

    /// Serves HTTP/1.1 requests until the connection ends or is idle.
    ///
    /// An idle connection is taken back from hyper, which holds 16 KiB of buffers for each: most
    /// of the thousands of connections in clients' pools are idle.
    pub(super) async fn http1(
        &self,
        socket: Socket,
        received: Vec<u8>,
        reply: Option<Box<Reply>>,
        deadlines: &mut Deadlines<'_>,
    ) -> Served {
        let activity = deadlines.activity;
        let framing = Framing::in_http1(&self.direct.limits);
        let mut io = self.io(socket, received, framing, activity);
        (io.direct, io.reply) = (Some(Arc::clone(&self.direct)), reply);
        let service = self.direct.requests.service(activity);
        let mut connection = self.http1.serve_connection(TokioIo::new(io), service);
        let (reason, is_truncated) = loop {
            let event = deadlines
                .run(|cx| {
                    ready!(Pin::new(&mut connection).poll(cx))?;
                    if activity.shut_down.get() {
                        return Poll::Ready(Ok(()));
                    }
                    // After an upgrade request, hyper leaves the shutdown to the code that
                    // accepts the upgrade; the proxy has none. Polled again, hyper shuts down.
                    Pin::new(&mut connection).poll(cx)
                })
                .await;
            match event {
                Event::Done(Ok(())) => return Served::Closed(None),
                Event::Done(Err(error)) => break (classify(&error, activity), error.is_user()),
                Event::Idle(_) => {
                    let parts = connection.into_parts();
                    let (unread, socket) = parts.io.into_inner().into_parts();
                    return Served::Idle([&parts.read_buf[..], &unread].concat(), socket);
                }
                Event::TimedOut(reason) => {
                    let truncating = [
                        CloseReason::Stalled,
                        CloseReason::DrainTimeout,
                        CloseReason::Memory,
                    ];
                    break (Some(reason), truncating.contains(&reason));
                }
                Event::Draining => deadlines.begin_drain(),
            }
        };
        if is_truncated && activity.http10.get() {
            // After a normal close, a truncated HTTP/1.0 body would look complete.
            let (_, socket) = connection.into_parts().io.into_inner().into_parts();
            socket::reset(&socket);
        }
        Served::Closed(reason)
    }

    /// Serves HTTP/2 requests until the connection ends.
    pub(super) async fn http2(
        &self,
        socket: Socket,
        received: Vec<u8>,
        deadlines: &mut Deadlines<'_>,
    ) -> Served {
        let activity = deadlines.activity;
        let framing = Framing::new(&self.direct.limits);
        let io = TokioIo::new(self.io(socket, received, framing, activity));
        let connection = self
            .http2
            .serve_connection(io, self.direct.requests.service(activity));
        let mut connection = pin!(connection);
        if activity.is_draining() {
            // The drain began before the preface was complete.
            connection.as_mut().graceful_shutdown();
        }
        let mut is_last = false;
        Served::Closed(loop {
            match deadlines.run(|cx| connection.as_mut().poll(cx)).await {
                Event::Done(_) if is_last => break Some(CloseReason::IdleTimeout),
                Event::Done(Ok(())) => break None,
                Event::Done(Err(error)) => break classify(&error, activity),
                // Never in HTTP/2, where only hyper knows whether a request has begun.
                Event::Idle(_) => {}
                Event::TimedOut(CloseReason::IdleTimeout) if !is_last => {
                    // Sends GOAWAY; requests that the client sent before receiving it are served.
                    is_last = true;
                    connection.as_mut().graceful_shutdown();
                    deadlines.arm(Instant::now() + deadlines.settings.header_timeout);
                }
                Event::TimedOut(reason) => break Some(reason),
                Event::Draining => connection.as_mut().graceful_shutdown(),
            }
        })
    }

    fn io(
        &self,
        socket: Socket,
        received: Vec<u8>,
        framing: Framing,
        activity: &Arc<Activity>,
    ) -> ClientIo {
        let closed = &self.direct.requests.observer.metrics.connections_closed;
        let unread = closed.of(CloseReason::Unread).clone();
        ClientIo::new(socket, received, framing, activity, unread)
    }
}

/// The close reason of an error, if it is the client's fault; a disconnect is not.
fn classify(error: &hyper::Error, activity: &Activity) -> Option<CloseReason> {
    tracing::debug!("connection ended: {error}");
    if error.is_parse() {
        // hyper has sent 400, 414 or 431 itself, without calling the service.
        return Some(CloseReason::Malformed);
    }
    let mut causes = std::iter::successors(Some(error as &dyn Error), |&cause| cause.source());
    match causes.find_map(|cause| cause.downcast_ref::<io::Error>()) {
        Some(error) if error.kind() == TOO_MANY_CONTROL_FRAMES => Some(CloseReason::ControlFrames),
        // The client has disconnected.
        Some(_) => None,
        None => activity.http2.get().then_some(CloseReason::ProtocolError),
    }
}
