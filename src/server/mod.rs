//! The sockets: listeners, connections and their bounds, the tower stack, the drain.
//!
//! Nothing below this room knows of sockets.

mod bounds;
mod catch_panic;
mod connection;
mod drain;
mod felt;
mod frames;
mod guard;
mod listener;
mod observe;
mod pulse;
mod replay;
mod socket;
mod stack;
mod talk;
mod tls;

pub use drain::Drain;
pub use listener::{ListenError, adopt, listen};
pub use tls::{Tls, TlsFault};

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::proxy::Proxy;
use crate::telemetry::trace::Tracer;
use crate::telemetry::{AccessLog, Metrics};
use observe::Observatory;
use talk::Protocols;

/// How long to wait before accepting again when the system has no descriptor to give: until
/// some connection ends, trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every connection is served with.
#[derive(Debug)]
pub struct Server {
    /// The hallway; a reload puts another in its place.
    proxy: ArcSwap<Proxy>,
    tls: Option<Arc<Tls>>,
    observatory: Arc<Observatory>,
    settings: config::Server,
    limits: config::Limits,
    protocols: Protocols,
    places: Arc<Semaphore>,
}

impl Server {
    /// A server for this proxy, in TLS where there is one. Without an access log, requests are only
    /// counted.
    #[must_use]
    pub fn new(
        config: &Config,
        proxy: Arc<Proxy>,
        tls: Option<Arc<Tls>>,
        metrics: Arc<Metrics>,
        access: Option<AccessLog>,
        clock: Clock,
        tracer: Option<Tracer>,
    ) -> Self {
        Self {
            proxy: ArcSwap::new(proxy),
            tls,
            observatory: Arc::new(Observatory {
                metrics,
                access,
                clock,
                tracer,
            }),
            settings: config.server.clone(),
            limits: config.limits.clone(),
            protocols: Protocols::new(&config.limits),
            places: Arc::new(Semaphore::new(config.server.max_connections)),
        }
    }

    /// The hallway that answers now.
    #[must_use]
    pub fn proxy(&self) -> Arc<Proxy> {
        self.proxy.load_full()
    }

    /// Answers requests that come from now on by another hallway.
    pub fn replace(&self, proxy: Arc<Proxy>) {
        self.proxy.store(proxy);
    }

    /// Accepts connections until the drain begins, then waits for those that are open.
    ///
    /// A connection beyond `server.max_connections` waits in the system's backlog, which is
    /// emptied before the listener closes.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, drain: Drain) {
        loop {
            let place = tokio::select! {
                place = Arc::clone(&self.places).acquire_owned() => place.expect("the semaphore is never closed"),
                () = drain.begun() => break,
            };
            let socket = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        self.observatory.metrics.accept_failures.inc();
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = drain.begun() => break,
            };
            let server = Arc::clone(&self);
            let connection = drain.clone();
            drain.track(async move {
                connection::serve(&server, socket, connection).await;
                drop(place);
            });
        }
        for socket in listener::close(listener) {
            drain.track(Arc::clone(&self).serve_late(socket, drain.clone()));
        }
        drain.finished(self.settings.drain_timeout).await;
    }

    /// Serves a connection that was made before the drain and is accepted in it: its client may
    /// have sent a request, and was promised an answer when the system took the connection.
    async fn serve_late(self: Arc<Self>, socket: TcpStream, drain: Drain) {
        let _place = tokio::select! {
            place = Arc::clone(&self.places).acquire_owned() => place,
            () = drain.over() => return,
        };
        connection::serve(&self, socket, drain).await;
    }
}
