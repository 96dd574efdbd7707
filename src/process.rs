//! The parts put together: from a configuration to a running proxy, and to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::cache::Store;
use crate::clock::Clock;
use crate::config::{Config, Reloaded};
#[cfg(feature = "otlp")]
use crate::otlp::Exporter;
use crate::proxy::Proxy;
use crate::request::Parser;
use crate::server::{Drain, ListenError, Server, Tls, TlsFault, adopt, listen};
use crate::telemetry::trace::Tracer;
use crate::telemetry::{AccessLog, LogWriter, Metrics, Reload};
use crate::upstream::{SetupError, Upstream};
use crate::view::OptionsFault;

/// A running proxy.
#[derive(Debug)]
pub struct Process {
    /// Where services connect.
    pub address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    /// What it runs with; a reload changes a part of it.
    config: Config,
    server: Arc<Server>,
    admin: Arc<Admin>,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    drain: Drain,
    serving: JoinHandle<()>,
    /// End with the proxy, not with its clients.
    attendants: [JoinHandle<()>; 4],
    /// Ends behind everything that has spans.
    exporter: Option<Exporter>,
}

/// How often the files of `[server.tls]` are looked at.
const TLS_LOOK: Duration = Duration::from_secs(10);

/// Sockets that somebody else listens on already, and goes on to when this process ends: what is
/// there is used in place of `server.listen` and `admin.listen`.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For services.
    pub proxy: Option<std::net::TcpListener>,
    /// For operators.
    pub admin: Option<std::net::TcpListener>,
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
    /// A file of `[server.tls]` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// A configured view cannot be read.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Views(Vec<OptionsFault>),
    /// The system gives no address.
    #[error("the system does not say what it listens on")]
    System(#[from] io::Error),
}

impl Process {
    /// Starts a proxy. When this returns, both listeners accept connections. Access lines, where
    /// they are configured, go to `log`.
    ///
    /// `sockets` are those that are open already.
    ///
    /// Everything that can fail does so before a port is bound; the ports are bound last.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(
        config: &Config,
        clock: &Clock,
        log: Option<&LogWriter>,
        sockets: Sockets,
    ) -> Result<Self, StartError> {
        let parser = Parser::new(config).map_err(StartError::Views)?;
        let tls = Tls::load(&config.server.tls)?.map(Arc::new);
        let metrics = Arc::new(Metrics::new(parser.routes()));
        if let Some(tls) = &tls {
            show_expiry(tls, &metrics);
        }
        let (tracer, exporter) = collecting(config, &metrics);
        let upstream = Upstream::new(config, Arc::clone(&metrics), clock.clone())?;
        let store = Arc::new(Store::new(config, Arc::clone(&metrics)));
        let proxy = Proxy::new(
            config,
            parser,
            Arc::clone(&store),
            upstream,
            Arc::clone(&metrics),
            clock.clone(),
            tracer.clone(),
        );
        if let Some(log) = log {
            log.count_dropped(&metrics.log_dropped);
        }
        let access = log
            .filter(|_| config.log.access)
            .map(|log| AccessLog::new(log, config.log.format));
        let drain = Drain::default();
        // A socket that is open already may be on another address than `admin.listen`.
        let admin_on = match &sockets.admin {
            Some(open) => open.local_addr()?,
            None => config.admin.listen,
        };
        let admin = Arc::new(Admin::new(
            config,
            admin_on.ip().is_loopback(),
            Arc::clone(&store),
            Arc::clone(&metrics),
            drain.clone(),
            clock.clone(),
        ));
        let server = Arc::new(Server::new(
            config,
            Arc::new(proxy),
            tls.clone(),
            Arc::clone(&metrics),
            access,
            clock.clone(),
            tracer,
        ));

        let admin_listener = match sockets.admin {
            Some(open) => adopt(open)?,
            None => listen("admin.listen", config.admin.listen)?,
        };
        let listener = match sockets.proxy {
            Some(open) => adopt(open)?,
            None => listen("server.listen", config.server.listen)?,
        };
        Ok(Self {
            address: listener.local_addr()?,
            admin_address: admin_listener.local_addr()?,
            serving: tokio::spawn(Arc::clone(&server).serve(listener, drain.clone())),
            attendants: [
                tokio::spawn(Arc::clone(&admin).keep_history()),
                tokio::spawn(Arc::clone(&admin).serve(admin_listener)),
                tokio::spawn(store.sweep_when_invalidated()),
                tokio::spawn(watch(tls.clone(), Arc::clone(&metrics))),
            ],
            config: config.clone(),
            server,
            admin,
            tls,
            metrics,
            drain,
            exporter,
        })
    }

    /// Takes over what can be taken over of a configuration that was read again, and reads the
    /// files of `[server.tls]` again. Requests in flight end as they began.
    ///
    /// # Errors
    ///
    /// When a part cannot be used; then nothing is taken over.
    pub fn reload(&mut self, written: &Config) -> Result<Reloaded, StartError> {
        let reloaded = self.config.reloaded(written);
        let proxy = self.server.proxy().renewed(&reloaded.config);
        let proxy = proxy.map_err(StartError::Views)?;
        if let Some(tls) = &self.tls {
            reread(tls, &self.metrics)?;
        }
        self.server.replace(Arc::new(proxy));
        self.admin.renew(&reloaded.config);
        self.config = reloaded.config.clone();
        Ok(reloaded)
    }

    /// Counts a configuration that was read again.
    pub fn count_reload(&self, result: Reload) {
        self.metrics.config_reloads.of(result).inc();
    }

    /// Stops accepting, lets requests in flight finish within `server.drain_timeout`, and ends.
    pub async fn stop(self) {
        self.drain.begin();
        // It ends by itself, and a panic has been logged.
        let _ = self.serving.await;
        self.attendants.iter().for_each(JoinHandle::abort);
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }
}

/// The two ends of the way that spans take to the collector, where one is configured.
#[cfg(feature = "otlp")]
fn collecting(config: &Config, metrics: &Arc<Metrics>) -> (Option<Tracer>, Option<Exporter>) {
    let Some(url) = &config.trace.otlp_url else {
        return (None, None);
    };
    let (tracer, spans) = Tracer::new(config.trace.sample, Arc::clone(metrics));
    let exporter = Exporter::start(url, spans, Arc::clone(metrics));
    (Some(tracer), Some(exporter))
}

/// Without the feature, nobody collects.
#[cfg(not(feature = "otlp"))]
fn collecting(_: &Config, _: &Arc<Metrics>) -> (Option<Tracer>, Option<Exporter>) {
    (None, None)
}

/// What cannot be had without the feature.
#[cfg(not(feature = "otlp"))]
#[derive(Debug)]
enum Exporter {}

#[cfg(not(feature = "otlp"))]
impl Exporter {
    #[expect(
        clippy::unused_async,
        reason = "as the one that is built with the feature"
    )]
    async fn finish(self) {
        match self {}
    }
}

/// Reads the files of `[server.tls]` again when they change: certificates are renewed by somebody
/// who knows nothing of signals.
async fn watch(tls: Option<Arc<Tls>>, metrics: Arc<Metrics>) {
    let Some(tls) = tls else { return };
    loop {
        tokio::time::sleep(TLS_LOOK).await;
        let (tls, metrics) = (Arc::clone(&tls), Arc::clone(&metrics));
        let look = move || {
            if tls.has_changed()
                && let Err(fault) = reread(&tls, &metrics)
            {
                tracing::error!("{fault}; the certificate read before stays");
            }
        };
        // Files may lie where it takes time to reach them.
        let _ = tokio::task::spawn_blocking(look).await;
    }
}

fn reread(tls: &Tls, metrics: &Metrics) -> Result<(), TlsFault> {
    let read = tls.reload();
    let result = if read.is_ok() {
        show_expiry(tls, metrics);
        tracing::info!("read the files of server.tls again; new connections get the certificate");
        Reload::Applied
    } else {
        Reload::Refused
    };
    metrics.tls_reloads.of(result).inc();
    read
}

fn show_expiry(tls: &Tls, metrics: &Metrics) {
    let seconds = i64::try_from(tls.expiry().as_secs()).unwrap_or(i64::MAX);
    metrics.tls_certificate_expiry.set(seconds);
}
