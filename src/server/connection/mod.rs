//! One client connection: waits for requests, which are answered from the store if that suffices; runs hyper for
//! any other, until it is idle again; and enforces the deadlines.

pub(super) mod activity;
mod control_frames;
mod deadline;
mod direct;
mod h2_frames;
mod io;
mod protocol;
mod socket;

use std::mem::MaybeUninit;
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
use super::end::Observer;
use super::request::Requests;
use super::tls::Tls;
use crate::config::{self, Config};
use crate::in_transit::Ledger;
use crate::proxy::Proxy;
use crate::request::HTTP2_PREFACE;
use crate::telemetry::{CloseReason, Metrics};
use activity::Activity;
use deadline::{Deadlines, Event};
use direct::{Direct, Reply};
use protocol::{Protocols, Served};
use socket::Socket;

/// Serves client connections; shared by all of them.
#[derive(Debug)]
pub(super) struct Connections {
    settings: config::Server,
    direct: Arc<Direct>,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    proxy: Arc<ArcSwap<Proxy>>,
    protocols: Protocols,
}

/// The rest of the requests on a connection, for hyper.
#[derive(Default)]
struct Unfinished {
    /// The bytes of requests that are not answered.
    received: Vec<u8>,
    /// A response that the client has not taken at once.
    reply: Option<Box<Reply>>,
    /// Whether the connection is known to be HTTP/1.
    is_http1: bool,
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
        let direct = Arc::new(Direct {
            requests: Requests {
                proxy: Arc::clone(&proxy),
                observer: Arc::new(observer),
            },
            limits: config.limits.clone(),
        });
        Self {
            settings: config.server.clone(),
            tls,
            metrics: Arc::clone(&direct.requests.observer.metrics),
            ledger: Arc::clone(proxy.load().upstream().ledger()),
            protocols: Protocols::new(&config.limits, Arc::clone(&direct)),
            direct,
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
        let mut unfinished = Unfinished {
            is_http1: socket::has_agreed_on_http1(&socket),
            ..Unfinished::default()
        };
        let peer = self.proxy.load().peer(peer.ip());
        let activity = Activity::new(self.ledger.open(), peer);
        let timer = pin!(tokio::time::sleep(self.settings.header_timeout));
        let mut deadlines = Deadlines::new(&activity, &self.settings, timer, drain);
        let reason = loop {
            let since = Instant::now();
            deadlines.rest();
            let idle = GaugeGuard::new(&self.metrics.connections_idle);
            let waited =
                wait_idle(&mut socket, &mut unfinished, &mut deadlines, &self.direct).await;
            drop(idle);
            if let Err(reason) = waited {
                break reason;
            }
            deadlines.begin(since.elapsed());
            let is_http1 = unfinished.is_http1;
            // Boxed, so that an idle connection takes little memory.
            let Unfinished {
                received, reply, ..
            } = std::mem::take(&mut unfinished);
            let served = if !is_http1 && received == HTTP2_PREFACE {
                activity.switch_to_http2();
                Box::pin(self.protocols.http2(socket, received, &mut deadlines)).await
            } else {
                Box::pin(
                    self.protocols
                        .http1(socket, received, reply, &mut deadlines),
                )
                .await
            };
            match served {
                Served::Idle(unread, idle) => (unfinished.received, socket) = (unread, idle),
                Served::Closed(reason) => break reason,
            }
            unfinished.is_http1 = true;
            if !unfinished.received.is_empty() {
                // Pipelined with the previous request: its header timeout begins here.
                activity.received();
            }
        };
        // An idle connection that the drain closes has not timed out.
        reason.filter(|reason| !(activity.is_draining() && *reason == CloseReason::IdleTimeout))
    }
}

/// Waits for a request that is not answered from the store, without a read buffer.
///
/// # Errors
///
/// The connection has ended, for this reason if that is counted.
async fn wait_idle(
    socket: &mut Socket,
    unfinished: &mut Unfinished,
    deadlines: &mut Deadlines<'_>,
    direct: &Direct,
) -> Result<(), Option<CloseReason>> {
    loop {
        // Only the whole preface shows whether the connection is HTTP/2.
        let may_be_http2 = !unfinished.is_http1
            && unfinished.received.len() < HTTP2_PREFACE.len()
            && HTTP2_PREFACE.starts_with(&unfinished.received);
        if unfinished.reply.is_some() || !unfinished.received.is_empty() && !may_be_http2 {
            return Ok(());
        }
        let activity = deadlines.activity;
        let event = deadlines.run(|cx| {
            loop {
                let mut space = [MaybeUninit::uninit(); io::CHUNK];
                // Of an HTTP/2 connection at most the rest of the preface.
                let most = if unfinished.is_http1 {
                    io::CHUNK
                } else {
                    HTTP2_PREFACE.len() - unfinished.received.len()
                };
                let mut space = ReadBuf::uninit(&mut space[..most]);
                ready!(io::poll_socket(socket, activity, cx, &mut space))?;
                let received = space.filled();
                // Before it is known to be HTTP/1, these may not be the first bytes of a request.
                let serve = || direct.serve(received, socket, activity, cx);
                let Some(sent) = unfinished.is_http1.then(serve).flatten() else {
                    unfinished.received.extend_from_slice(received);
                    return Poll::Ready(Ok::<_, std::io::Error>(received.len()));
                };
                unfinished.reply = sent?;
                if unfinished.reply.is_some() {
                    return Poll::Ready(Ok(received.len()));
                }
            }
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
