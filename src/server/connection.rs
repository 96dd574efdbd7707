//! One client connection: HTTP/1.1, or HTTP/2 by prior knowledge, within its bounds.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus::IntGauge;
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;

use super::drain::Stage;
use super::guard::Guarded;
use super::pulse::{Check, Felt, Pulse};
use super::{Drain, Server, stack};
use crate::config;
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

/// Counts a connection while it is open.
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What a connection is woken for.
enum Event<E> {
    Ended(Result<(), E>),
    Look,
    Stage,
}

/// Serves a connection to its end.
pub(super) async fn serve(server: &Arc<Server>, socket: TcpStream, drain: Drain) {
    let _open = Open::new(&server.observatory.metrics.connections);
    // A response is one write; waiting for more to send with it would only delay it.
    let _ = socket.set_nodelay(true);
    let pulse = Pulse::new();
    let closed = &server.observatory.metrics.connections_closed;
    let socket = Felt::new(socket, Arc::clone(&pulse));
    let unread = closed.of(ConnectionBound::Unread).clone();
    let io = TokioIo::new(Guarded::new(socket, &server.limits, unread));
    let service = stack::for_connection(server, &pulse);
    let mut connection = pin!(server.protocol.serve_connection(io, service));
    let settings = &server.settings;
    // Either of the two may be the shorter.
    let first_look = settings.header_timeout.min(settings.idle_timeout);
    let mut timer = pin!(tokio::time::sleep(first_look));
    let (mut stages, mut sign) = (drain.stages(), drain.stages());

    let bound = loop {
        // Out of its budget, a task is told "pending" by what does not know it yet.
        let mut next_stage = pin!(unconstrained(stages.changed()));
        let mut registered = false;
        let event = poll_fn(|cx| {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Event::Ended(ended));
            }
            pulse.pause();
            // Every connection is told by the same channel, behind one lock, and a timer keeps
            // the waker behind a lock too. Once both know this task, whose waker is always the
            // same, a look at each is enough.
            if registered && !timer.is_elapsed() && !sign.has_changed().unwrap_or(true) {
                return Poll::Pending;
            }
            if pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
                return Poll::Ready(Event::Look);
            }
            registered = true;
            next_stage.as_mut().poll(cx).map(|_| Event::Stage)
        })
        .await;
        match event {
            Event::Ended(ended) => {
                if let Err(error) = ended {
                    tracing::debug!("connection ended: {error}");
                    if let Some(bound) = pulse.blame(&*error) {
                        closed.of(bound).inc();
                    }
                }
                return;
            }
            Event::Look => match pulse.check(settings) {
                Check::At(next) => timer.as_mut().reset(next),
                Check::Reached(bound) => break bound,
            },
            Event::Stage => match *sign.borrow_and_update() {
                Stage::Serving => {}
                Stage::Draining => connection.as_mut().graceful_shutdown(),
                Stage::Over => break ConnectionBound::DrainTimeout,
            },
        }
    };
    closed.of(bound).inc();
    if bound == ConnectionBound::IdleTimeout {
        // An HTTP/2 client is told; an HTTP/1.1 connection just closes.
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(
            settings.header_timeout,
            poll_fn(|cx| connection.as_mut().poll(cx)),
        )
        .await;
    }
}

/// How every connection is spoken with.
pub(super) type Protocol = auto::Builder<TokioExecutor>;

/// HTTP/1.1 and HTTP/2 within the limits.
pub(super) fn protocol(limits: &config::Limits) -> Protocol {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .half_close(true)
        .max_buf_size(limits.header_bytes.max(MIN_BUFFER));
    if limits.headers != HYPER_MAX_FIELDS {
        builder.http1().max_headers(limits.headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_STREAM_BUFFER)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
    builder
}
