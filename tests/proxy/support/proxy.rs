//! The running proxy, and the requests a story sends to it.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use stuut_cache::clock::Clock;
use stuut_cache::config::{Config, OriginUrl};
use stuut_cache::process::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Origin, Wire};

/// A proxy in front of a scripted origin, on a clock that only the story moves.
pub struct Proxy {
    pub clock: Clock,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    process: Process,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Proxy {
    /// The default configuration.
    pub async fn start(origin: &Origin) -> Self {
        Self::with(origin, |_| {}).await
    }

    /// The default configuration, but for what `change` changes.
    pub async fn with(origin: &Origin, change: impl FnOnce(&mut Config)) -> Self {
        Self::before(&format!("http://{}", origin.address()), change).await
    }

    /// The same, in front of whatever is at `url`.
    #[expect(clippy::unused_async, reason = "it has to be called in a runtime")]
    pub async fn before(url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.listen.set_port(0);
        config.admin.listen.set_port(0);
        config.log.access = false;
        config.upstream.url = OriginUrl::parse(url).expect("an origin");
        change(&mut config);
        // A whole second, as dates on the wire are.
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let process = Process::start(&config, &clock).expect("the proxy starts");
        Self {
            clock,
            address: process.address,
            admin: process.admin_address,
            process,
            client: Client::builder(TokioExecutor::new()).build_http(),
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
        let builder = http::Request::builder()
            .method(method)
            .uri(format!("http://{address}{target}"));
        Request {
            proxy: self,
            builder,
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

    /// An HTTP/2 connection by prior knowledge.
    pub async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let io = TokioIo::new(self.connect().await);
        let (client, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .expect("the proxy speaks HTTP/2");
        tokio::spawn(connection);
        client
    }

    /// A connection that the story moves by hand.
    pub async fn wire(&self) -> Wire {
        Wire::new(self.connect().await)
    }

    /// Waits until a metric has this value.
    pub async fn until_metric(&self, line: &str, value: f64) {
        while (self.metric(line).await - value).abs() > f64::EPSILON {
            tokio::task::yield_now().await;
        }
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
    builder: http::request::Builder,
    body: Bytes,
}

impl Request<'_> {
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a field name");
        self.builder = self.builder.header(
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a field value"),
        );
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl<'a> IntoFuture for Request<'a> {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let request = self.builder.body(Full::new(self.body)).expect("a request");
        let shown = format!("{} {}", request.method(), request.uri());
        let client = self.proxy.client.clone();
        Box::pin(async move {
            let response = client.request(request).await.expect("the proxy answers");
            let (head, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            Answer::new(shown, head, body)
        })
    }
}
