//! The listener for the people who operate the proxy: dashboard, metrics, health, status, purge.
//!
//! It listens on a port of its own, on loopback by default; none of it is served on the proxy's.

mod dashboard;
mod explain;
mod history;
mod host;
mod openapi;
mod purge;
mod stats;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cache::Store;
use crate::clock::Clock;
use crate::config::Config;
use crate::request::Routes;
use crate::server::Drain;
use crate::telemetry::Metrics;
use history::History;

/// Connections at once: a scraper or two, a probe, an operator.
const MAX_CONNECTIONS: usize = 64;

/// Time a client has to send a request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time a connection may last. Scrapers, probes and pages connect again; a client that does not
/// read its responses cannot keep them out.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// Time for a response that is being sent then.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// The methods of what is only read, and the field that names them.
const READING: (&[Method], &str) = (&[Method::GET, Method::HEAD], "GET, HEAD");

/// The responses of the admin listener.
#[derive(Debug)]
pub struct Admin {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    routes: Routes,
    drain: Drain,
    clock: Clock,
    in_force: ArcSwap<InForce>,
    /// When this process started; a client of the history notices a restart by it.
    started: String,
    /// Whether only this machine can connect.
    loopback: bool,
    /// Locked while a point is added or the points are serialised, never across an await.
    history: Mutex<History>,
}

/// The part that a reload replaces.
#[derive(Debug)]
struct InForce {
    token: Option<SecretString>,
    /// The document of [`openapi`].
    openapi: Bytes,
}

type Answer = Response<Full<Bytes>>;

impl InForce {
    fn of(config: &Config) -> Self {
        Self {
            token: config.admin.token.clone().map(|token| token.0),
            openapi: openapi::document(config),
        }
    }
}

impl Admin {
    /// The admin side of this store. `loopback` says whether only this machine can connect.
    #[must_use]
    pub fn new(
        config: &Config,
        loopback: bool,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        drain: Drain,
        clock: Clock,
    ) -> Self {
        let now = clock.now();
        let started = now.wall.checked_sub(now.mono).unwrap_or(now.wall);
        Self {
            store,
            metrics,
            routes: Routes::new(&config.cache.routes),
            drain,
            clock,
            in_force: ArcSwap::from_pointee(InForce::of(config)),
            started: humantime::format_rfc3339_millis(started).to_string(),
            loopback,
            history: Mutex::default(),
        }
    }

    /// Takes over a configuration that was read again: the admin token and the `OpenAPI` document.
    pub fn renew(&self, config: &Config) {
        self.in_force.store(Arc::new(InForce::of(config)));
    }

    /// Serves for as long as the process lives: probes get responses while the proxy drains, too.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let permit = Arc::clone(&connections)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                admin.connection(socket).await;
                drop(permit);
            });
        }
    }

    async fn connection(self: Arc<Self>, socket: TcpStream) {
        let service = service_fn(move |request| {
            let admin = Arc::clone(&self);
            async move { Ok::<_, Infallible>(admin.answer(&request).await) }
        });
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        let mut connection = pin!(http1.serve_connection(TokioIo::new(socket), service));
        let ended = timeout(CONNECTION_LIFETIME, connection.as_mut()).await;
        if ended.is_err() {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LAST_ANSWER, connection).await;
        }
    }

    async fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Answer {
        if self.loopback && !host::is_here(request.headers()) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "use an IP address or localhost as the host: other names are refused (DNS rebinding)\n",
            );
        }
        let path = request.uri().path();
        let (allowed, methods): (&[Method], _) = match path {
            "/metrics" | "/livez" | "/readyz" | "/status" | "/stats" | "/explain"
            | "/openapi.json" => READING,
            _ if dashboard::file(path).is_some() => READING,
            "/purge" => (&[Method::POST], "POST"),
            _ => {
                return text(
                    StatusCode::NOT_FOUND,
                    "try / (the dashboard) /metrics /livez /readyz /status /stats /explain /openapi.json or POST /purge\n",
                );
            }
        };
        if !allowed.contains(request.method()) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "");
            let methods = HeaderValue::from_static(methods);
            answer.headers_mut().insert(ALLOW, methods);
            return answer;
        }
        match path {
            "/metrics" => self.metrics(),
            "/readyz" if self.drain.has_begun() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            "/livez" | "/readyz" => text(StatusCode::OK, "ok\n"),
            "/status" => json(StatusCode::OK, &self.summary()),
            "/stats" => self.stats(request.uri().query()),
            "/openapi.json" => {
                let document = self.in_force.load().openapi.clone();
                typed(StatusCode::OK, "application/json", document)
            }
            "/explain" => {
                let (admin, uri) = (Arc::clone(self), request.uri().clone());
                // A walk over all entries: not for a thread that answers requests.
                tokio::task::spawn_blocking(move || admin.explain(uri.query()))
                    .await
                    .unwrap_or_else(|_| {
                        text(
                            StatusCode::INTERNAL_SERVER_ERROR,
                            "internal error: a bug in the proxy\n",
                        )
                    })
            }
            "/purge" => self.purge(request.headers(), request.uri().query()),
            _ => dashboard::file(path).expect("no other path is allowed a method"),
        }
    }

    fn metrics(&self) -> Answer {
        self.store.measure();
        typed(
            StatusCode::OK,
            "text/plain; version=0.0.4",
            self.metrics.render(),
        )
    }

    /// The current state: all of `/status`, and the beginning of `/stats`.
    fn summary(&self) -> serde_json::Value {
        self.store.measure();
        let metrics = &self.metrics;
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": !self.drain.has_begun(),
            "uptime_seconds": self.clock.now().mono.as_secs(),
            "connections": metrics.connections.get(),
            "in_flight": metrics.in_flight.get(),
            "upstream_in_flight": metrics.upstream_in_flight.get(),
            "cache": {
                "entries": metrics.entries.get(),
                "weight_bytes": metrics.weight.get(),
                "capacity_bytes": metrics.capacity.get(),
            },
        })
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    typed(status, "application/json", format!("{value}\n"))
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, "no-store")
        .body(Full::new(body.into()))
        .expect("its fields are constants")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;

    /// They kept all places for ten minutes, and the proxy was taken for dead.
    #[tokio::test(start_paused = true)]
    async fn clients_that_read_nothing_keep_the_probes_out() {
        let config = Config::default();
        let metrics = Arc::new(Metrics::new(&Routes::new(&config.cache.routes)));
        let admin = Admin::new(
            &config,
            true,
            Arc::new(Store::new(&config, Arc::clone(&metrics))),
            metrics,
            Drain::default(),
            Clock::manual(SystemTime::UNIX_EPOCH),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(Arc::new(admin).serve(listener));

        let ask = |path| format!("GET {path} HTTP/1.1\r\n\r\n");
        let many = ask("/dashboard.js").repeat(1 << 10);
        let mut deaf = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut client = TcpStream::connect(address).await.expect("it accepts");
            client.write_all(many.as_bytes()).await.expect("it reads");
            deaf.push(client);
        }
        let began = Instant::now();
        let mut probe = TcpStream::connect(address).await.expect("it accepts");
        let asked = probe.write_all(ask("/livez").as_bytes()).await;
        asked.expect("it reads");
        let mut answer = [0; 12];
        probe.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        // Before the third of three probes ten seconds apart.
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
