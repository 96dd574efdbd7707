//! The running proxy, and the requests a story sends to it.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use stuut_cache::clock::Clock;
use stuut_cache::config::{Config, OriginUrl};
use stuut_cache::process::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Answer, Origin, until};

/// When every story begins: 2027-01-15 08:00:00 UTC, a whole second, as dates on the wire are.
const START: Duration = Duration::from_hours(500_000);

/// A proxy in front of a scripted origin, on a clock that only the story moves.
pub struct Proxy {
    pub clock: Clock,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    process: Process,
    client: Client<HttpConnector, Full<Bytes>>,
    /// By prior knowledge.
    http2: Client<HttpConnector, Full<Bytes>>,
}

impl Proxy {
    /// The default configuration.
    pub async fn start(origin: &Origin) -> Self {
        Self::with(origin, |_| {}).await
    }

    /// The default configuration, but for what `change` changes.
    #[expect(
        clippy::unused_async,
        reason = "it needs a runtime, and reads like `start`"
    )]
    pub async fn with(origin: &Origin, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.listen.set_port(0);
        config.admin.listen.set_port(0);
        config.log.access = false;
        config.upstream.url =
            OriginUrl::parse(&format!("http://{}", origin.address())).expect("an origin");
        change(&mut config);
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + START);
        let process = Process::start(&config, &clock).expect("the proxy starts");
        Self {
            clock,
            address: process.address,
            admin: process.admin_address,
            process,
            client: Client::builder(TokioExecutor::new()).build_http(),
            http2: Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http(),
        }
    }

    pub fn get(&self, target: &str) -> Request<'_> {
        self.request(Method::GET, target)
    }

    pub fn request(&self, method: Method, target: &str) -> Request<'_> {
        self.to(self.address, method, target)
    }

    /// A request to the admin listener.
    pub fn admin(&self, method: Method, target: &str) -> Request<'_> {
        self.to(self.admin, method, target)
    }

    fn to(&self, address: SocketAddr, method: Method, target: &str) -> Request<'_> {
        let head = http::Request::builder()
            .method(method)
            .uri(format!("http://{address}{target}"));
        Request {
            proxy: self,
            client: &self.client,
            head,
            body: Bytes::new(),
        }
    }

    /// The value of a metric line, e.g. `stuut_cache_collapsed_total`; 0 when it is not there.
    pub async fn metric(&self, line: &str) -> f64 {
        let text = self.admin(Method::GET, "/metrics").await.text();
        let value = text
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a metric is a number"))
    }

    /// Waits until a metric line has this value.
    pub async fn until_metric(&self, line: &str, value: u32) {
        let what = format!("{line} {value}");
        until(&what, async || {
            self.metric(line).await.to_string() == value.to_string()
        })
        .await;
    }

    /// The value of a date field, so many seconds from now on the story's clock.
    pub fn date(&self, seconds_from_now: i64) -> String {
        let now = self.clock.now().wall;
        let by = Duration::from_secs(seconds_from_now.unsigned_abs());
        httpdate::fmt_http_date(if seconds_from_now < 0 {
            now - by
        } else {
            now + by
        })
    }

    /// Sends bytes as they are and reads until the proxy closes the connection.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect().await;
        socket
            .write_all(bytes.as_ref())
            .await
            .expect("the proxy takes bytes");
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the proxy accepts")
    }

    /// Moves time.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    pub fn pass_seconds(&self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// A request that is sent when it is awaited.
pub struct Request<'a> {
    proxy: &'a Proxy,
    client: &'a Client<HttpConnector, Full<Bytes>>,
    head: http::request::Builder,
    body: Bytes,
}

/// A request that is on its way.
pub struct Pending(JoinHandle<Answer>);

impl Request<'_> {
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a field name");
        self.head = self.head.header(
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a field value"),
        );
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Over HTTP/2, where hanging up reaches the proxy at once.
    pub fn over_http2(mut self) -> Self {
        self.client = &self.proxy.http2;
        self
    }

    /// Sends it now, and leaves the answer for later.
    pub fn start(self) -> Pending {
        Pending(tokio::spawn(self.send()))
    }

    fn send(self) -> impl Future<Output = Answer> + Send + use<> {
        let request = self.head.body(Full::new(self.body)).expect("a request");
        let shown = format!("{} {}", request.method(), request.uri());
        let client = self.client.clone();
        async move {
            let response = client.request(request).await.expect("the proxy answers");
            let (head, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            Answer::new(shown, head, body)
        }
    }
}

impl Pending {
    /// The client gives up.
    pub async fn hang_up(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

impl IntoFuture for Pending {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.0.await.expect("the proxy answers") })
    }
}

impl<'a> IntoFuture for Request<'a> {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
