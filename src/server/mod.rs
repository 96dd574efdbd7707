//! The server: listeners, client connections and their deadlines, requests, TLS, the drain.
//!
//! No module below this one uses a client's socket.

mod connection;
mod drain;
mod end;
mod listener;
mod request;
mod tls;

pub use drain::Drain;
pub use listener::{ListenError, adopt, listen};
pub use tls::{Tls, TlsFault};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::Config;
use crate::proxy::Proxy;
use crate::telemetry::trace::Tracer;
use crate::telemetry::{AccessLog, Metrics};
use connection::Connections;
use end::Observer;

/// Pause after a failed accept. Without free file descriptors, accepting fails until a connection
/// closes, and retrying at once would only waste CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections and serves their requests with the proxy.
#[derive(Debug)]
pub struct Server {
    /// Replaced by a reload.
    proxy: Arc<ArcSwap<Proxy>>,
    connections: Connections,
    metrics: Arc<Metrics>,
    permits: Arc<Semaphore>,
    drain_timeout: Duration,
}

impl Server {
    /// A server for this proxy, with TLS if given. Without an access log, requests are only
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
        let proxy = Arc::new(ArcSwap::new(proxy));
        let observer = Observer {
            metrics: Arc::clone(&metrics),
            access,
            clock,
            tracer,
        };
        Self {
            connections: Connections::new(config, tls, Arc::clone(&proxy), observer),
            proxy,
            metrics,
            permits: Arc::new(Semaphore::new(config.server.max_connections)),
            drain_timeout: config.server.drain_timeout,
        }
    }

    /// The proxy that serves new requests.
    #[must_use]
    pub fn proxy(&self) -> Arc<Proxy> {
        self.proxy.load_full()
    }

    /// Replaces the proxy for requests that arrive from now on.
    pub fn replace(&self, proxy: Arc<Proxy>) {
        self.proxy.store(proxy);
    }

    /// Accepts connections until the drain begins, then waits for those that are open.
    ///
    /// Connections beyond `server.max_connections` wait in the listen backlog; the drain accepts
    /// those before it closes the listener.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, drain: Drain) {
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit.expect("the semaphore is never closed"),
                () = drain.begun() => break,
            };
            let (socket, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        self.metrics.accept_failures.inc();
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = drain.begun() => break,
            };
            let (server, shared) = (Arc::clone(&self), drain.clone());
            drain.track(async move {
                server.connections.serve(socket, peer, shared).await;
                drop(permit);
            });
        }
        for (socket, peer) in listener::close(listener) {
            drain.track(Arc::clone(&self).serve_late(socket, peer, drain.clone()));
        }
        drain.finished(self.drain_timeout).await;
    }

    /// Serves a connection accepted from the backlog during the drain: the kernel has completed its
    /// handshake, and its client may have sent a request.
    async fn serve_late(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, drain: Drain) {
        let _permit = tokio::select! {
            permit = Arc::clone(&self.permits).acquire_owned() => permit,
            () = drain.over() => return,
        };
        self.connections.serve(socket, peer, drain).await;
    }
}
