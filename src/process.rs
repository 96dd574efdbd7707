//! The parts put together: from a configuration to a running proxy, and to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::cache::Store;
use crate::clock::Clock;
use crate::config::Config;
use crate::proxy::Proxy;
use crate::request::Parser;
use crate::server::{Drain, ListenError, Server, listen};
use crate::telemetry::{Metrics, Output};
use crate::upstream::{SetupError, Upstream};
use crate::view::OptionsFault;

/// A running proxy.
#[derive(Debug)]
pub struct Process {
    /// Where services connect.
    pub address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    drain: Drain,
    serving: JoinHandle<()>,
    /// End with the proxy, not with its clients.
    attendants: [JoinHandle<()>; 3],
}

/// Why a proxy does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The client for the origin cannot be set up.
    #[error(transparent)]
    Upstream(#[from] SetupError),
    /// A configured view cannot be read.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Views(Vec<OptionsFault>),
    /// The system gives no address.
    #[error("the system does not say what it listens on")]
    System(#[from] io::Error),
}

impl Process {
    /// Starts a proxy. When this returns, both listeners accept connections. Access lines, where
    /// they are configured, go to `output`.
    ///
    /// Everything that can fail does so before a port is bound; the ports are bound last.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(
        config: &Config,
        clock: &Clock,
        output: Option<&Output>,
    ) -> Result<Self, StartError> {
        let parser = Parser::new(config).map_err(StartError::Views)?;
        let metrics = Arc::new(Metrics::new(parser.routes()));
        let upstream = Upstream::new(config, Arc::clone(&metrics))?;
        let store = Arc::new(Store::new(config, Arc::clone(&metrics)));
        let proxy = Proxy::new(
            config,
            parser,
            Arc::clone(&store),
            upstream,
            Arc::clone(&metrics),
            clock.clone(),
        );
        if let Some(output) = output {
            output.count_dropped(&metrics.log_dropped);
        }
        let access = output
            .filter(|_| config.log.access)
            .map(|output| output.access(config.log.format));
        let drain = Drain::default();
        let admin = Arc::new(Admin::new(
            config,
            Arc::clone(&store),
            Arc::clone(&metrics),
            drain.clone(),
            clock.clone(),
        ));
        let server = Server::new(config, Arc::new(proxy), metrics, access, clock.clone());

        let admin_listener = listen("admin.listen", config.admin.listen)?;
        let listener = listen("server.listen", config.server.listen)?;
        Ok(Self {
            address: listener.local_addr()?,
            admin_address: admin_listener.local_addr()?,
            serving: tokio::spawn(Arc::new(server).serve(listener, drain.clone())),
            attendants: [
                tokio::spawn(Arc::clone(&admin).keep_history()),
                tokio::spawn(admin.serve(admin_listener)),
                tokio::spawn(store.sweep_when_voided()),
            ],
            drain,
        })
    }

    /// Stops accepting, lets requests in flight finish within `server.drain_timeout`, and ends.
    pub async fn stop(self) {
        self.drain.begin();
        // It ends by itself, and a panic has been logged.
        let _ = self.serving.await;
        self.attendants.iter().for_each(JoinHandle::abort);
    }
}
