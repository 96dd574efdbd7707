//! One client connection: waits for bytes, runs hyper until it is idle again, and enforces its
//! deadlines.

pub(super) mod activity;
mod control_frames;
mod deadline;
mod h2_frames;
mod io;
mod protocol;
mod socket;

use std::net::SocketAddr;
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
use crate::in_transit::Ledger;
use crate::proxy::Proxy;
use crate::request::HTTP2_PREFACE;
use crate::telemetry::{CloseReason, Metrics};
use activity::Activity;
use deadline::{Deadlines, Event};
use protocol::{Protocols, Served};
use socket::Socket;

/// Serves client connections; shared by all of them.
#[derive(Debug)]
pub(super) struct Connections {
    settings: config::Server,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    proxy: Arc<ArcSwap<Proxy>>,
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
            ledger: Arc::clone(proxy.load().upstream().ledger()),
            protocols: Protocols::new(&config.limits, Arc::clone(&proxy), Arc::new(observer)),
            proxy,
        }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(&self, socket: TcpStream, peer: SocketAddr, drain: Drain) {
        let _open = GaugeGuard::new(&self.metrics.connections);
        // A response is one write, which Nagle's algorithm would only delay.
        let _ = socket.set_nodelay(true);
        let tls = self.tls.as_deref();
        let timeout = self.settings.header_timeout;
        let ended = match socket::handshake(tls, socket, timeout, &drain).await {
            Ok(socket) => self.run(socket, peer, &drain).await,
            Err(reason) => reason,
        };
        if let Some(reason) = ended {
            self.metrics.connections_closed.of(reason).inc();
        }
    }

    /// Serves requests until the connection ends; returns why it was closed, if that is counted.
    async fn run(
        &self,
        mut socket: Socket,
        peer: SocketAddr,
        drain: &Drain,
    ) -> Option<CloseReason> {
        let mut is_http1 = socket::has_agreed_on_http1(&socket);
        let peer = self.proxy.load().peer(peer.ip());
        let activity = Activity::new(self.ledger.open(), peer);
        let timer = pin!(tokio::time::sleep(self.settings.header_timeout));
        let mut deadlines = Deadlines::new(&activity, &self.settings, timer, drain);
        let mut received = Vec::new();
        let reason = loop {
            let since = Instant::now();
            let idle = GaugeGuard::new(&self.metrics.connections_idle);
            let waited = wait_idle(&mut socket, &mut received, is_http1, &mut deadlines).await;
            drop(idle);
            if let Err(reason) = waited {
                break reason;
            }
            deadlines.begin(since.elapsed());
            // Boxed, so that an idle connection takes little memory.
            let served = if !is_http1 && received == HTTP2_PREFACE {
                activity.switch_to_http2();
                Box::pin(self.protocols.http2(socket, received, &mut deadlines)).await
            } else {
                is_http1 = true;
                Box::pin(self.protocols.http1(socket, received, &mut deadlines)).await
            };
            match served {
                Served::Idle(unread, idle) => (received, socket) = (unread, idle),
                Served::Closed(reason) => break reason,
            }
            if !received.is_empty() {
                // Pipelined with the previous request: its header timeout begins here.
                activity.received();
            }
        };
        // An idle connection that the drain closes has not timed out.
        reason.filter(|reason| !(activity.is_draining() && *reason == CloseReason::IdleTimeout))
    }
}

/// Waits for the first bytes of a request, without a read buffer.
///
/// # Errors
///
/// The connection has ended, for this reason if that is counted.
async fn wait_idle(
    socket: &mut Socket,
    received: &mut Vec<u8>,
    is_http1: bool,
    deadlines: &mut Deadlines<'_>,
) -> Result<(), Option<CloseReason>> {
    loop {
        // Only the whole preface shows whether the connection is HTTP/2.
        let may_be_http2 = !is_http1
            && received.len() < HTTP2_PREFACE.len()
            && HTTP2_PREFACE.starts_with(received);
        if !received.is_empty() && !may_be_http2 {
            return Ok(());
        }
        let activity = deadlines.activity;
        let event = deadlines.run(|cx| {
            // Reads at most the rest of a preface.
            let mut space = [0; HTTP2_PREFACE.len()];
            let mut space = ReadBuf::new(&mut space[received.len()..]);
            ready!(io::poll_socket(socket, activity, cx, &mut space))?;
            received.extend_from_slice(space.filled());
            Poll::Ready(Ok::<_, std::io::Error>(space.filled().len()))
        });
        match event.await {
            Event::Done(Ok(0) | Err(_)) | Event::TimedOut(CloseReason::DrainTimeout) => {
                return Err(None);
            }
            Event::Done(Ok(_)) => deadlines.arm(Instant::now()),
            Event::Idle(until) => deadlines.arm(until),
            Event::TimedOut(reason) => return Err(Some(reason)),
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
