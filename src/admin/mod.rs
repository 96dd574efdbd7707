//! The admin listener: dashboard, metrics, health, status and purge.
//!
//! It has a port of its own, by default on loopback; the proxy's port serves none of this.

mod callers;
mod connections;
mod dashboard;
mod explain;
mod history;
mod host;
mod notes;
mod purge;
mod query;
mod replicas;
mod stats;
mod status;
mod tail;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};

use crate::cache::shared::Shared;
use crate::cache::{Levels, Store};
use crate::clock::Clock;
use crate::coding;
use crate::config::{CacheMode, Config, TokenFor};
use crate::proxy::{FetchesInFlight, Proxy, WaitingRequests, openapi};
use crate::request::Routes;
use crate::server::Drain;
use crate::telemetry::{AccessLog, Metrics, rounded_seconds};
use crate::units;
use crate::upstream::Upstream;
use connections::{Connections, Place};
use history::History;
use status::{LastReload, Limits};

pub use notes::{Note, Severity};
pub(crate) use query::path;
pub(crate) use tail::select;

/// Time a client has to send a request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The formats of `/metrics`; the second for clients whose `Accept` lists it, with whatever weight.
const TEXT: &str = "text/plain; version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The methods of read-only paths, and their `Allow` field.
const READ_ONLY: (&[Method], &str) = (&[Method::GET, Method::HEAD], "GET, HEAD");

/// The service of the admin listener.
#[derive(Debug)]
pub struct Admin {
    store: Arc<Store>,
    shared: Arc<Shared>,
    fetches: FetchesInFlight,
    waiting: WaitingRequests,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    limits: Limits,
    routes: Routes,
    drain: Drain,
    clock: Clock,
    reloadable: ArcSwap<Reloadable>,
    /// Start time of this process; clients that poll the history detect a restart by it.
    started: String,
    connections: Arc<Connections>,
    /// `None` in a process that has no log.
    log: Option<AccessLog>,
    /// Whether only this machine can connect.
    loopback: bool,
    /// Locked while a point is added or the points are serialised, never across an await.
    history: Mutex<History>,
    /// With its time.
    last_reload: Mutex<Option<(SystemTime, LastReload)>>,
}

/// The state that a reload replaces.
#[derive(Debug)]
struct Reloadable {
    /// `cache.mode`
    mode: CacheMode,
    token: Option<SecretString>,
    /// `admin.token_for`
    token_for: TokenFor,
    /// `scope.recheck` and `freshness.stale_if_error`.
    recheck: (Option<Duration>, Duration),
    /// The document of `/openapi.json`.
    openapi: Bytes,
}

/// A whole body, or lines as they come.
type AdminResponse = Response<Either<Full<Bytes>, UnsyncBoxBody<Bytes, Infallible>>>;

impl Reloadable {
    fn of(config: &Config) -> Self {
        Self {
            mode: config.cache.mode,
            token: config.admin.token.clone().map(|token| token.0),
            token_for: config.admin.token_for,
            recheck: (config.scope.recheck.0, config.freshness.stale_if_error),
            openapi: openapi::document(config),
        }
    }
}

impl Admin {
    /// Creates the service for this store. `loopback`: only this machine can connect.
    pub fn new(
        config: &Config,
        loopback: bool,
        Levels { store, shared }: Levels,
        proxy: &Proxy,
        metrics: Arc<Metrics>,
        drain: Drain,
        clock: Clock,
    ) -> Self {
        let now = clock.now().wall;
        let started = now.checked_sub(clock.uptime()).unwrap_or(now);
        Self {
            store,
            shared,
            fetches: proxy.fetches(),
            waiting: proxy.waiting(),
            upstream: Arc::clone(proxy.upstream()),
            limits: Limits::of(config),
            connections: Arc::new(Connections::new(metrics.admin_displaced.clone())),
            metrics,
            routes: Routes::new(&config.cache.routes),
            drain,
            clock,
            reloadable: ArcSwap::from_pointee(Reloadable::of(config)),
            started: humantime::format_rfc3339_millis(started).to_string(),
            log: None,
            loopback,
            history: Mutex::default(),
            last_reload: Mutex::default(),
        }
    }

    /// The same service, with the requests of this log.
    #[must_use]
    pub fn with_log(self, log: Option<AccessLog>) -> Self {
        Self { log, ..self }
    }

    /// Applies a reloaded configuration: `cache.mode`, the admin token, the rule of rechecks, the
    /// `OpenAPI` document and the names of callers.
    pub fn reload(&self, config: &Config) {
        if let Some(log) = &self.log {
            log.callers.set(&config.scope.names, &self.metrics);
        }
        self.reloadable.store(Arc::new(Reloadable::of(config)));
    }

    /// Records a reload: the keys that need a restart, or the faults for which it was refused.
    pub fn record_reload(&self, result: Result<Vec<&'static str>, String>) {
        let at = self.clock.now().wall;
        *self.last_reload.lock() = Some((at, LastReload::of(result)));
    }

    /// Serves until the process exits: probes get responses during a drain, too.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let admin = Arc::clone(&self);
            let place = self.connections.open();
            tokio::spawn(async move { admin.connection(socket, &place).await });
            // So that a request that has arrived is answered before more connections are accepted,
            // for which this one may have to give way.
            tokio::task::yield_now().await;
        }
    }

    async fn connection(self: &Arc<Self>, socket: TcpStream, place: &Place) {
        let service = service_fn(|request: Request<Incoming>| {
            place.record_use(matches!(request.uri().path(), "/livez" | "/readyz"));
            async move {
                let response = self.respond(&request).await;
                Ok::<_, Infallible>(compressed(response, request.headers()).await)
            }
        });
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        tokio::select! {
            _ = http1.serve_connection(TokioIo::new(socket), service) => {}
            () = place.displaced() => {}
        }
    }

    async fn respond(self: &Arc<Self>, request: &Request<Incoming>) -> AdminResponse {
        if self.loopback && !host::is_for_this_machine(request.headers()) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "use an IP address or localhost as the host: other names are refused (DNS rebinding)\n",
            );
        }
        let path = request.uri().path();
        let (allowed, methods): (&[Method], _) = match path {
            "/metrics" | "/livez" | "/readyz" | "/status" | "/stats" | "/explain" | "/tail"
            | "/openapi.json" => READ_ONLY,
            _ if dashboard::file(path).is_some() => READ_ONLY,
            "/purge" => (&[Method::POST], "POST"),
            _ => {
                return text(
                    StatusCode::NOT_FOUND,
                    "try / (the dashboard) /metrics /livez /readyz /status /stats /explain /tail /openapi.json or POST /purge\n",
                );
            }
        };
        if !allowed.contains(request.method()) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "");
            let methods = HeaderValue::from_static(methods);
            response.headers_mut().insert(ALLOW, methods);
            return response;
        }
        let is_data =
            !matches!(path, "/livez" | "/readyz" | "/purge") && dashboard::file(path).is_none();
        if is_data && self.needs_token_to_read() && !self.may_purge(request.headers()) {
            return purge::refusal();
        }
        match path {
            "/metrics" => self.metrics(request.headers()),
            "/readyz" if self.drain.has_begun() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            "/livez" | "/readyz" => text(StatusCode::OK, "ok\n"),
            "/status" => json(StatusCode::OK, &self.status().await),
            "/stats" => {
                let is_admin = self.may_purge(request.headers());
                self.stats(request.uri().query(), is_admin)
            }
            "/tail" => self.tail(request),
            "/openapi.json" => {
                let document = self.reloadable.load().openapi.clone();
                typed(StatusCode::OK, "application/json", document)
            }
            "/explain" => {
                let is_admin = self.may_purge(request.headers());
                self.iterating(request, move |admin, query| admin.explain(query, is_admin))
                    .await
            }
            "/purge" if !self.may_purge(request.headers()) => {
                tracing::warn!("a purge without the admin token was refused");
                purge::refusal()
            }
            "/purge" => self.iterating(request, Self::purge).await,
            _ => dashboard::file(path).expect("only dashboard files remain"),
        }
    }

    /// Answers by iterating over all entries: not on a thread that serves requests.
    async fn iterating(
        self: &Arc<Self>,
        request: &Request<Incoming>,
        answer: impl FnOnce(&Self, Option<&str>) -> AdminResponse + Send + 'static,
    ) -> AdminResponse {
        let (admin, uri) = (Arc::clone(self), request.uri().clone());
        let answer = tokio::task::spawn_blocking(move || answer(&admin, uri.query()));
        answer.await.unwrap_or_else(|_| {
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal error: a bug in the proxy\n",
            )
        })
    }

    fn metrics(&self, accepted: &HeaderMap) -> AdminResponse {
        self.store.update_gauges();
        self.shared.update_gauges();
        let mut accepted = accepted.get_all(ACCEPT).iter();
        let is_open = accepted.any(|line| {
            let line = line.to_str().unwrap_or_default();
            line.contains("application/openmetrics-text")
        });
        let content_type = if is_open { OPEN_METRICS } else { TEXT };
        typed(StatusCode::OK, content_type, self.metrics.render(is_open))
    }

    /// The document of `/status`: the current state, and the engine of the shared level.
    async fn status(&self) -> serde_json::Value {
        let mut status = self.state().document();
        let asked = self.clock.mono();
        if let Some(described) = self.shared.describe().await {
            let took = self.clock.mono().saturating_sub(asked);
            let described = described.map(|engine| serde_json::json!(engine));
            let engine = &mut status["shared"]["engine"];
            *engine =
                described.unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }));
            engine["seconds"] = rounded_seconds(took).into();
            status["shared"]["reports"] = self.reports().await;
        }
        status
    }

    fn needs_token_to_read(&self) -> bool {
        self.reloadable.load().token_for == TokenFor::All
    }

    fn mode(&self) -> CacheMode {
        self.reloadable.load().mode
    }
}

/// Compresses a response, if the client accepts that and it is worth it.
async fn compressed(response: AdminResponse, accepted: &HeaderMap) -> AdminResponse {
    let lines = accepted.get_all(ACCEPT_ENCODING).iter();
    let coding = coding::preferred(lines.map(HeaderValue::as_bytes));
    let (mut head, body) = response.into_parts();
    let body = match body {
        Either::Left(body) => body,
        lines @ Either::Right(_) => return Response::from_parts(head, lines),
    };
    let Ok(body) = body.collect().await.map(Collected::to_bytes);
    let Some(coding) = coding.filter(|_| coding::is_worth(&head.headers, body.len())) else {
        return Response::from_parts(head, Either::Left(Full::new(body)));
    };
    let plain = body.clone();
    // Not on a thread that serves requests.
    let coded = tokio::task::spawn_blocking(move || coding::encode(coding, &plain)).await;
    let body = match coded {
        Ok(Some(coded)) => {
            head.headers.insert(CONTENT_ENCODING, coding.to_header());
            coded
        }
        _ => body,
    };
    Response::from_parts(head, Either::Left(Full::new(body)))
}

fn json(status: StatusCode, value: &serde_json::Value) -> AdminResponse {
    let text = units::printable(value.to_string()) + "\n";
    typed(status, "application/json", text)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> AdminResponse {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> AdminResponse {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, "no-store")
        .body(Either::Left(Full::new(body.into())))
        .expect("constant fields are valid")
}
