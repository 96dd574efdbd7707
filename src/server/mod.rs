//! The sockets: listeners, connections and their deadlines, requests, TLS, the drain.
//!
//! No module below this one uses a socket.

mod connection;
mod drain;
mod listener;
mod request;
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
use crate::config::Config;
use crate::proxy::Proxy;
use crate::telemetry::trace::Tracer;
use crate::telemetry::{AccessLog, Metrics};
use connection::Connections;
use request::Observer;

/// The pause before accepting again when the system has no free descriptor: until a connection
/// ends, accepting again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections, and has the proxy answer their requests.
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

    /// The proxy that answers now.
    #[must_use]
    pub fn proxy(&self) -> Arc<Proxy> {
        self.proxy.load_full()
    }

    /// Lets another proxy answer requests that arrive from now on.
    pub fn replace(&self, proxy: Arc<Proxy>) {
        self.proxy.store(proxy);
    }

    /// Accepts connections until the drain begins, then waits for those that are open.
    ///
    /// A connection beyond `server.max_connections` waits in the system's backlog, which is
    /// emptied before the listener closes.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, drain: Drain) {
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit.expect("the semaphore is never closed"),
                () = drain.begun() => break,
            };
            let socket = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        self.metrics.accept_failures.inc();
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
                server.connections.serve(socket, connection).await;
                drop(permit);
            });
        }
        for socket in listener::close(listener) {
            drain.track(Arc::clone(&self).serve_late(socket, drain.clone()));
        }
        drain.finished(self.drain_timeout).await;
    }

    /// Serves a connection that was made before the drain and is accepted in it: its client may
    /// have sent a request, and the system has accepted the connection on the proxy's behalf.
    async fn serve_late(self: Arc<Self>, socket: TcpStream, drain: Drain) {
        let _permit = tokio::select! {
            permit = Arc::clone(&self.permits).acquire_owned() => permit,
            () = drain.over() => return,
        };
        self.connections.serve(socket, drain).await;
    }
}
