//! Assembles the proxy from a configuration, reloads it, and stops it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
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
#[cfg(feature = "otlp")]
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
    /// The configuration in effect; a reload changes a part of it.
    config: Config,
    server: Arc<Server>,
    admin: Arc<Admin>,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    drain: Drain,
    serving: JoinHandle<()>,
    /// Aborted when the last client has left.
    background: [JoinHandle<()>; 4],
    /// Ends after everything that has spans.
    #[cfg(feature = "otlp")]
    exporter: Option<Exporter>,
}

/// Time between two checks of the files of `[server.tls]` for changes.
const TLS_INTERVAL: Duration = Duration::from_secs(10);

/// Listening sockets of the service manager, which outlive this process; they replace
/// `server.listen` and `admin.listen`.
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
        let metrics = Arc::new(Metrics::new(parser.routes()));
        let tls = load_tls(config, &metrics)?;
        #[cfg(feature = "otlp")]
        let (tracer, exporter) = collect(config, &metrics);
        #[cfg(not(feature = "otlp"))]
        let tracer = None;
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
        let drain = Drain::default();
        let admin = admin(config, &sockets, &store, &metrics, &drain, clock)?;
        let server = Arc::new(Server::new(
            config,
            Arc::new(proxy),
            tls.clone(),
            Arc::clone(&metrics),
            log.and_then(|log| access_log(config, log, &metrics)),
            clock.clone(),
            tracer,
        ));

        let admin_listener = listener(sockets.admin, "admin.listen", config.admin.listen)?;
        let listener = listener(sockets.proxy, "server.listen", config.server.listen)?;
        Ok(Self {
            address: listener.local_addr()?,
            admin_address: admin_listener.local_addr()?,
            serving: tokio::spawn(Arc::clone(&server).serve(listener, drain.clone())),
            background: [
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
            #[cfg(feature = "otlp")]
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
        let proxy = self.server.proxy().reloaded(&reloaded.config);
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
        // It ends by itself; a panic has been logged.
        let _ = self.serving.await;
        self.background.iter().for_each(JoinHandle::abort);
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }
}

/// A socket that is open already, or a new one.
fn listener(
    open: Option<std::net::TcpListener>,
    key: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, StartError> {
    Ok(match open {
        Some(open) => adopt(open)?,
        None => listen(key, address)?,
    })
}

fn admin(
    config: &Config,
    sockets: &Sockets,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    drain: &Drain,
    clock: &Clock,
) -> io::Result<Arc<Admin>> {
    // A socket that is open already may have another address than `admin.listen`.
    let address = match &sockets.admin {
        Some(open) => open.local_addr()?,
        None => config.admin.listen,
    };
    let (store, metrics) = (Arc::clone(store), Arc::clone(metrics));
    let loopback = address.ip().is_loopback();
    let (drain, clock) = (drain.clone(), clock.clone());
    Ok(Arc::new(Admin::new(
        config, loopback, store, metrics, drain, clock,
    )))
}

fn load_tls(config: &Config, metrics: &Metrics) -> Result<Option<Arc<Tls>>, TlsFault> {
    let tls = Tls::load(&config.server.tls)?;
    if let Some(tls) = &tls {
        show_expiry(tls, metrics);
    }
    Ok(tls.map(Arc::new))
}

/// Counts the lines that the log drops; returns the access log, where it is configured.
fn access_log(config: &Config, log: &LogWriter, metrics: &Metrics) -> Option<AccessLog> {
    log.count_dropped(&metrics.log_dropped);
    let access = config.log.access;
    access.then(|| AccessLog::new(log, config.log.format))
}

/// The source of spans and their exporter, where a collector is configured.
#[cfg(feature = "otlp")]
fn collect(config: &Config, metrics: &Arc<Metrics>) -> (Option<Tracer>, Option<Exporter>) {
    let Some(url) = &config.trace.otlp_url else {
        return (None, None);
    };
    let (tracer, spans) = Tracer::new(config.trace.sample, Arc::clone(metrics));
    let exporter = Exporter::start(url, spans, Arc::clone(metrics));
    (Some(tracer), Some(exporter))
}

/// Reads the files of `[server.tls]` again when they change: tools that renew certificates send no
/// signal.
async fn watch(tls: Option<Arc<Tls>>, metrics: Arc<Metrics>) {
    let Some(tls) = tls else { return };
    loop {
        tokio::time::sleep(TLS_INTERVAL).await;
        let (tls, metrics) = (Arc::clone(&tls), Arc::clone(&metrics));
        let check = move || {
            if tls.has_changed()
                && let Err(fault) = reread(&tls, &metrics)
            {
                tracing::error!("{fault}; the certificate read before stays");
            }
        };
        // Files may be on a slow file system.
        let _ = tokio::task::spawn_blocking(check).await;
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
