//! The running proxy.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use stuut_cache::clock::Clock;
use stuut_cache::config::{Config, Freshness, Interval, OriginUrl, Reloaded};
use stuut_cache::process::{Process, Sockets, StartError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Clients, Origin, RawConnection, Request, wait_until};

/// The start time of every test: 2027-01-15 08:00:00 UTC, a whole second like HTTP dates.
const START: Duration = Duration::from_hours(500_000);

/// The bodies of most stories are no calls: without a status, they would be fresh for two seconds,
/// with the limits of all live parts.
fn without_call_rules(freshness: &mut Freshness) {
    let status = &mut freshness.status;
    for lifetime in [
        &mut status.pending_approval,
        &mut status.queued,
        &mut status.registered,
        &mut status.initiated,
        &mut status.ringing,
        &mut status.in_progress,
        &mut freshness.settling,
    ] {
        *lifetime = Duration::from_mins(1);
    }
    freshness.live.clear();
}

/// A proxy in front of a scripted origin, on a clock that only the test advances.
pub struct Proxy {
    pub clock: Clock,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    config: Config,
    process: Process,
    clients: Clients,
}

impl Proxy {
    /// Starts with the default configuration.
    pub async fn start(origin: &Origin) -> Self {
        Self::with(origin, |_| {}).await
    }

    /// Starts with the default configuration, modified by `change`.
    pub async fn with(origin: &Origin, change: impl FnOnce(&mut Config)) -> Self {
        Self::in_front_of(&format!("http://{}", origin.address()), change).await
    }

    /// Starts with the default rules of freshness, for an origin whose bodies are calls.
    pub async fn for_calls(origin: &Origin) -> Self {
        Self::with(origin, |config| config.freshness = Freshness::default()).await
    }

    /// The same, with the origin at `url`.
    #[expect(clippy::unused_async, reason = "it must be called in a runtime")]
    pub async fn in_front_of(url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.listen.set_port(0);
        config.admin.listen.set_port(0);
        config.log.access = false;
        // Stories of freshness advance the clock by minutes; `isolation::recheck` has this rule.
        config.scope.recheck = Interval(None);
        without_call_rules(&mut config.freshness);
        config.upstream.url = OriginUrl::parse(url).expect("an origin URL");
        change(&mut config);
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + START);
        let process =
            Process::start(&config, &clock, None, Sockets::default()).expect("the proxy starts");
        Self {
            clock,
            address: process.address,
            admin: process.admin_address,
            config,
            process,
            clients: Clients::new(),
        }
    }

    pub fn get(&self, target: &str) -> Request {
        self.request(Method::GET, target)
    }

    pub fn request(&self, method: Method, target: &str) -> Request {
        self.clients.request(self.address, method, target)
    }

    /// A request to the admin listener.
    pub fn admin(&self, method: Method, target: &str) -> Request {
        self.clients.request(self.admin, method, target)
    }

    /// The value of a time series, e.g. `stuut_cache_collapsed_total`; 0 if it is missing.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.admin(Method::GET, "/metrics").await.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a metric is a number"))
    }

    /// Waits until a time series has this value.
    pub async fn wait_for_metric(&self, series: &str, value: u32) {
        let what = format!("{series} {value}");
        wait_until(&what, async || {
            self.metric(series).await.to_string() == value.to_string()
        })
        .await;
    }

    /// An HTTP date, this many seconds from now on the test's clock.
    pub fn date(&self, seconds_from_now: i64) -> String {
        let now = self.clock.now().wall;
        let offset = Duration::from_secs(seconds_from_now.unsigned_abs());
        httpdate::fmt_http_date(if seconds_from_now < 0 {
            now - offset
        } else {
            now + offset
        })
    }

    /// Sends raw bytes and reads until the proxy closes the connection.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        String::from_utf8_lossy(&self.raw_bytes(bytes).await).into_owned()
    }

    /// The same, for a response that is not UTF-8.
    pub async fn raw_bytes(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let mut socket = self.connect().await;
        socket
            .write_all(bytes.as_ref())
            .await
            .expect("the proxy reads the bytes");
        let mut response = Vec::new();
        // A reset ends it too.
        let _ = socket.read_to_end(&mut response).await;
        response
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the proxy accepts")
    }

    /// An HTTP/2 connection with prior knowledge.
    pub async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let io = TokioIo::new(self.connect().await);
        let (client, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .expect("the proxy speaks HTTP/2");
        tokio::spawn(connection);
        client
    }

    /// A connection whose bytes the test controls.
    pub async fn raw_connection(&self) -> RawConnection {
        RawConnection::new(self.connect().await)
    }

    /// Advances the clock.
    pub fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    pub fn advance_seconds(&self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }

    /// Reloads a changed configuration, as on SIGHUP.
    pub fn reload(&mut self, change: impl FnOnce(&mut Config)) -> Result<Reloaded, StartError> {
        change(&mut self.config);
        self.process.reload(&self.config)
    }

    /// Advances the clock, and fires the timers of fetches that wait for the origin.
    pub fn advance_waiters(&self, seconds: u64) {
        self.clock.advance_waiters(Duration::from_secs(seconds));
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }
}
