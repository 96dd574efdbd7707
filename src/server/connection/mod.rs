//! One client connection: waits for bytes, lets hyper answer requests, and waits again, within its
//! deadlines.

pub(super) mod activity;
mod deadline;
mod h2_frames;
mod io;
mod protocol;
mod socket;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::drain::Drain;
use super::request::Observer;
use super::tls::Tls;
use crate::config::{self, Config};
use crate::proxy::Proxy;
use crate::request::HTTP2_PREFACE;
use crate::telemetry::{ConnectionBound, Metrics};
use activity::Activity;
use deadline::{Deadlines, Event};
use protocol::{Protocols, Served};
use socket::Socket;

/// Serves connections; shared by all of them.
#[derive(Debug)]
pub(super) struct Connections {
    settings: config::Server,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    protocols: Protocols,
}

/// Counts a connection in a gauge until dropped.
struct GaugeGuard(IntGauge);

impl Connections {
    pub(super) fn new(
        config: &Config,
        tls: Option<Arc<Tls>>,
        proxy: Arc<ArcSwap<Proxy>>,
        observer: Observer,
    ) -> Self {
        Self {
            settings: config.server.clone(),
            tls,
            metrics: Arc::clone(&observer.metrics),
            protocols: Protocols::new(&config.limits, proxy, Arc::new(observer)),
        }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(&self, socket: TcpStream, drain: Drain) {
        let _open = GaugeGuard::new(&self.metrics.connections);
        // A response is one write; waiting for more to send with it would only delay it.
        let _ = socket.set_nodelay(true);
        let tls = self.tls.as_deref();
        let timeout = self.settings.header_timeout;
        let ended = match socket::handshake(tls, socket, timeout, &drain).await {
            Ok(socket) => self.run(socket, &drain).await,
            Err(bound) => bound,
        };
        if let Some(bound) = ended {
            self.metrics.connections_closed.of(bound).inc();
        }
    }

    /// Waits for requests and answers them; returns the bound that ended the connection, if any.
    async fn run(&self, mut socket: Socket, drain: &Drain) -> Option<ConnectionBound> {
        let mut is_http1 = socket::has_agreed_on_http1(&socket);
        let activity = Activity::new();
        let timer = pin!(tokio::time::sleep(self.settings.idle_timeout));
        let mut deadlines = Deadlines::new(&activity, &self.settings, timer, drain);
        let mut received = Vec::new();
        let bound = loop {
            let since = Instant::now();
            let idle = GaugeGuard::new(&self.metrics.connections_idle);
            let waited = wait_idle(&mut socket, &mut received, is_http1, &mut deadlines).await;
            drop(idle);
            if let Err(bound) = waited {
                break bound;
            }
            deadlines.begin(since.elapsed());
            // On the heap, so that an idle connection is as small as it can be.
            let served = if !is_http1 && received == HTTP2_PREFACE {
                activity.switch_to_http2();
                Box::pin(self.protocols.http2(socket, received, &mut deadlines)).await
            } else {
                is_http1 = true;
                Box::pin(self.protocols.http1(socket, received, &mut deadlines)).await
            };
            match served {
                Served::Idle(unread, idle) => (received, socket) = (unread, idle),
                Served::Closed(bound) => break bound,
            }
            if !received.is_empty() {
                // Received with the request before it; its time begins here.
                activity.received();
            }
        };
        // An idle connection that a drain ends has reached no bound of its own.
        bound.filter(|bound| !(activity.is_draining() && *bound == ConnectionBound::IdleTimeout))
    }
}

/// Waits for the first bytes of a request, without a buffer for the rest.
///
/// # Errors
///
/// The connection is over: at this bound, or because the client or the proxy ends it.
async fn wait_idle(
    socket: &mut Socket,
    received: &mut Vec<u8>,
    is_http1: bool,
    deadlines: &mut Deadlines<'_>,
) -> Result<(), Option<ConnectionBound>> {
    loop {
        // Whether it is HTTP/2 only the whole preface shows.
        let may_be_http2 = !is_http1
            && received.len() < HTTP2_PREFACE.len()
            && HTTP2_PREFACE.starts_with(received);
        if !received.is_empty() && !may_be_http2 {
            return Ok(());
        }
        let activity = deadlines.activity;
        let event = deadlines.run(|cx| {
            // At most to the length of a preface.
            let mut space = [0; HTTP2_PREFACE.len()];
            let mut space = ReadBuf::new(&mut space[received.len()..]);
            ready!(io::poll_socket(socket, activity, cx, &mut space))?;
            received.extend_from_slice(space.filled());
            Poll::Ready(Ok::<_, std::io::Error>(space.filled().len()))
        });
        match event.await {
            Event::Done(Ok(0) | Err(_)) | Event::TimedOut(ConnectionBound::DrainTimeout) => {
                return Err(None);
            }
            Event::Done(Ok(_)) => deadlines.arm(Instant::now()),
            Event::Idle(until) => deadlines.arm(until),
            Event::TimedOut(bound) => return Err(Some(bound)),
            Event::Draining => deadlines.begin_drain(),
        }
    }
}

impl GaugeGuard {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
