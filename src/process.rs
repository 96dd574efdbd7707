//! The running process: builds every part from a configuration, binds the listeners, reloads, stops.
//!
//! Signals and exit codes belong to `cli`, requests to `server` and `proxy`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::admin::Admin;
#[cfg(feature = "shared")]
use crate::cache::shared::redis::{Redis, SetupError as EngineSetupError};
use crate::cache::shared::{Sealer, Shared};
use crate::cache::{Levels, Store};
use crate::clock::Clock;
use crate::config::{CacheMode, Config, Reloaded};
use crate::in_transit::Ledger;
#[cfg(feature = "otlp")]
use crate::otlp::{Exporter, ExporterError};
use crate::proxy::Proxy;
use crate::request::Parser;
use crate::server::{Drain, ListenError, Server, Tls, TlsFault, adopt, listen};
use crate::telemetry::{AccessLog, LogSettings, LogWriter, Metrics, Reload};
use crate::upstream::{SetupError, Upstream};
use crate::view::OptionsFault;

/// A running proxy.
#[derive(Debug)]
pub struct Process {
    /// The address of the proxy's listener.
    pub address: SocketAddr,
    /// The address of the admin listener.
    pub admin_address: SocketAddr,
    /// The configuration in effect; a reload changes a part of it.
    config: Config,
    server: Arc<Server>,
    admin: Arc<Admin>,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    drain: Drain,
    serving: JoinHandle<()>,
    /// Aborted after the drain.
    background: [JoinHandle<()>; 4],
    /// Stopped last, so that the spans of the last requests are exported.
    #[cfg(feature = "otlp")]
    exporter: Exporter,
}

/// The interval at which the files of `[server.tls]` are checked for changes.
const TLS_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Listening sockets passed by the service manager (socket activation), which outlive this process;
/// they replace `server.listen` and `admin.listen`.
#[derive(Debug, Default)]
pub struct Sockets {
    /// The socket of `server.listen`.
    pub proxy: Option<std::net::TcpListener>,
    /// The socket of `admin.listen`.
    pub admin: Option<std::net::TcpListener>,
}

/// Why a proxy does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The client for the origin cannot be set up.
    #[error(transparent)]
    Upstream(#[from] SetupError),
    /// The client of the engine cannot be set up.
    #[cfg(feature = "shared")]
    #[error(transparent)]
    Engine(#[from] EngineSetupError),
    /// Nothing can be exported to the collector.
    #[cfg(feature = "otlp")]
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// A file of `[server.tls]` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// A configured view is invalid.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Views(Vec<OptionsFault>),
    /// A listener's address cannot be read.
    #[error("cannot read the address of a listening socket")]
    System(#[from] io::Error),
}

impl Process {
    /// Starts a proxy. When this returns, both listeners accept connections. The access log, if
    /// configured, is written to `log`; `sockets` are listeners that are open already.
    ///
    /// Ports are bound after everything else that can fail.
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
        show_mode(config, &metrics);
        let tls = load_tls(config, &metrics)?;
        #[cfg(feature = "otlp")]
        let (exporter, tracer) = Exporter::start(&metrics)?;
        #[cfg(not(feature = "otlp"))]
        let tracer = None;
        let upstream = Upstream::new(config, Arc::clone(&metrics), clock.clone())?;
        let levels = levels(config, upstream.ledger(), &metrics, clock)?;
        let Levels { store, shared } = levels.clone();
        let proxy = Proxy::new(
            config,
            parser,
            levels.clone(),
            upstream,
            Arc::clone(&metrics),
            clock.clone(),
        );
        let drain = Drain::default();
        let admin_listener = listener(sockets.admin, "admin.listen", config.admin.listen)?;
        let listener = listener(sockets.proxy, "server.listen", config.server.listen)?;
        let admin_address = admin_listener.local_addr()?;
        let access = log.map(|log| access_log(config, log, &metrics));
        let admin = Admin::new(
            config,
            admin_address.ip().is_loopback(),
            levels,
            &proxy,
            Arc::clone(&metrics),
            drain.clone(),
            clock.clone(),
        );
        let admin = Arc::new(admin.with_log(access.clone()));
        let server = Arc::new(Server::new(
            config,
            Arc::new(proxy),
            tls.clone(),
            Arc::clone(&metrics),
            access,
            clock.clone(),
            tracer,
        ));
        Ok(Self {
            address: listener.local_addr()?,
            admin_address,
            serving: tokio::spawn(Arc::clone(&server).serve(listener, drain.clone())),
            background: [
                tokio::spawn(Arc::clone(&admin).keep_history()),
                tokio::spawn(Arc::clone(&admin).serve(admin_listener)),
                tokio::spawn(store.sweep_when_invalidated()),
                tokio::spawn(watch_tls(tls.clone(), Arc::clone(&metrics))),
            ],
            config: config.clone(),
            server,
            admin,
            tls,
            metrics,
            shared,
            drain,
            #[cfg(feature = "otlp")]
            exporter,
        })
    }

    /// Applies the settings of `new` that can change at run time, and reloads the files of
    /// `[server.tls]`. Requests in flight keep the old settings.
    ///
    /// # Errors
    ///
    /// If a setting or file is invalid; then nothing is applied.
    pub fn reload(&mut self, new: &Config) -> Result<Reloaded, StartError> {
        let reloaded = self.config.reloaded(new);
        let proxy = self.server.proxy().reloaded(&reloaded.config);
        let proxy = proxy.map_err(StartError::Views)?;
        if let Some(tls) = &self.tls {
            reload_tls(tls, &self.metrics)?;
        }
        self.server.replace(Arc::new(proxy));
        self.admin.reload(&reloaded.config);
        show_mode(&reloaded.config, &self.metrics);
        self.config = reloaded.config.clone();
        Ok(reloaded)
    }

    /// Records a reload of the configuration, or the faults for which it was refused.
    pub fn record_reload(&self, outcome: &Result<Reloaded, String>) -> Reload {
        let pending = outcome.as_ref().map(|reloaded| reloaded.pending.clone());
        let result = pending
            .as_ref()
            .map_or(Reload::Refused, |_| Reload::Applied);
        self.admin.record_reload(pending.map_err(Clone::clone));
        self.metrics.config_reloads.of(result).inc();
        result
    }

    /// Stops accepting, waits up to `server.drain_timeout` for requests in flight, and stops.
    pub async fn stop(self) {
        self.drain.begin();
        self.server.proxy().end_waits();
        // The drain ends this task; a panic in it has been logged.
        let _ = self.serving.await;
        self.shared.leave().await;
        self.background.iter().for_each(JoinHandle::abort);
        #[cfg(feature = "otlp")]
        self.exporter.finish().await;
    }
}

/// The levels of the cache; joins the group of `shared.url`.
#[cfg_attr(
    not(feature = "shared"),
    expect(unused_variables, clippy::unnecessary_wraps, reason = "no engine")
)]
fn levels(
    config: &Config,
    ledger: &Arc<Ledger>,
    metrics: &Arc<Metrics>,
    clock: &Clock,
) -> Result<Levels, StartError> {
    let store = Arc::new(Store::new(config, Arc::clone(metrics)));
    let settings = &config.shared;
    let sealer = Sealer::new(config).filter(|_| !settings.url.is_empty());
    let shared = match sealer {
        #[cfg(feature = "shared")]
        Some(sealer) => {
            let engine = Arc::new(Redis::start(settings, &sealer.names, clock)?);
            let stored = (&store, ledger);
            Shared::start(engine, sealer, settings, stored, metrics, clock)
        }
        // Without the client, the configuration has no `shared.url`.
        _ => Shared::off(),
    };
    let shared = Arc::new(shared);
    Ok(Levels { store, shared })
}

/// The inherited socket, or a new one bound to `address`.
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

fn load_tls(config: &Config, metrics: &Metrics) -> Result<Option<Arc<Tls>>, TlsFault> {
    let tls = Tls::load(&config.server.tls)?;
    if let Some(tls) = &tls {
        set_expiry_gauge(tls, metrics);
    }
    Ok(tls.map(Arc::new))
}

/// Sets the gauge of `cache.mode`; warns while it is "off".
fn show_mode(config: &Config, metrics: &Metrics) {
    let is_on = config.cache.mode == CacheMode::On;
    metrics.enabled.set(is_on.into());
    if !is_on {
        tracing::warn!("cache.mode is \"off\": every request is forwarded");
    }
}

/// The access log. Without `log.access` it writes no lines, but still counts requests for `/stats` and sends
/// them to `/tail`.
fn access_log(config: &Config, log: &LogWriter, metrics: &Metrics) -> AccessLog {
    log.set(LogSettings {
        dropped: metrics.log_dropped.clone(),
        tail_dropped: metrics.tail_dropped.clone(),
        access: config.log.access,
    });
    let access = log.queue();
    access.callers.set(&config.scope.names, metrics);
    access
}

/// Reloads the files of `[server.tls]` when they change: tools that renew certificates send no
/// signal.
async fn watch_tls(tls: Option<Arc<Tls>>, metrics: Arc<Metrics>) {
    let Some(tls) = tls else { return };
    loop {
        tokio::time::sleep(TLS_CHECK_INTERVAL).await;
        let (tls, metrics) = (Arc::clone(&tls), Arc::clone(&metrics));
        let check = move || {
            if tls.has_changed()
                && let Err(fault) = reload_tls(&tls, &metrics)
            {
                tracing::error!("{fault}; the previous certificate stays in use");
            }
        };
        // The file system may be slow.
        let _ = tokio::task::spawn_blocking(check).await;
    }
}

fn reload_tls(tls: &Tls, metrics: &Metrics) -> Result<(), TlsFault> {
    let reloaded = tls.reload();
    let result = if reloaded.is_ok() {
        set_expiry_gauge(tls, metrics);
        tracing::info!("reloaded the files of server.tls; new connections use the new certificate");
        Reload::Applied
    } else {
        Reload::Refused
    };
    metrics.tls_reloads.of(result).inc();
    reloaded
}

fn set_expiry_gauge(tls: &Tls, metrics: &Metrics) {
    let seconds = i64::try_from(tls.expiry().as_secs()).unwrap_or(i64::MAX);
    metrics.tls_certificate_expiry.set(seconds);
}
