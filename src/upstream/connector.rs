//! Opens connections to the origin: by `transport` and, for https, TLS (rustls with ring), within one
//! deadline. hyper's client pools them.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tower::{BoxError, Service, ServiceExt as _};

use super::admission::AdmissionControl;
use super::error::{ConnectTimeout, SetupError, is_refusal};
use super::retry::Retries;
use super::traffic::TrackedConnection;
use super::transport::Transport;
use crate::clock::Clock;
use crate::config;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connection = TokioIo<TrackedConnection<TokioIo<Stream>>>;

/// Connects within `upstream.connect_timeout`, and retries refused connections.
#[derive(Clone, Debug)]
pub struct Connector {
    inner: HttpsConnector<Transport>,
    timeout: Duration,
    /// Longest time that a connection's peer may read nothing (`upstream.forward_timeout`).
    max_stall: Duration,
    /// `upstream.max_connection_age`.
    max_age: Duration,
    clock: Clock,
    /// If `None`, refused connections are not retried, and results are not reported to the breaker.
    reports: Option<(Retries, Arc<AdmissionControl>)>,
}

impl Connector {
    /// A connector for servers of this scheme, with the timeouts of `settings` and, for https, its
    /// `ca_file` in addition to the system's trust store.
    ///
    /// # Errors
    ///
    /// If `upstream.ca_file` or, for https, the system's trust store cannot be used.
    pub fn new(scheme: &Scheme, settings: &config::Upstream) -> Result<Self, SetupError> {
        let mut tls = tls(scheme, settings)?;
        // No HTTP/2: all requests would share one connection, where one slow reader blocks the others
        // (head-of-line blocking).
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let transport = Transport::new(tcp(HttpConnector::new(), settings), settings);
        Ok(Self {
            inner: (transport, tls).into(),
            timeout: settings.connect_timeout,
            max_stall: settings.forward_timeout,
            max_age: settings.max_connection_age,
            clock: Clock::system(),
            reports: None,
        })
    }

    /// The same connector, with retries of refused connections, and reports to the circuit breaker.
    pub(super) fn for_upstream(
        self,
        retries: Retries,
        admission: Arc<AdmissionControl>,
        clock: Clock,
    ) -> Self {
        let reports = Some((retries, admission));
        Self {
            clock,
            reports,
            ..self
        }
    }

    async fn connect(&mut self, uri: Uri) -> Result<Stream, BoxError> {
        let deadline = Instant::now() + self.timeout;
        let mut refused = 0;
        loop {
            let connecting = self.inner.ready().await?.call(uri.clone());
            let error = match timeout_at(deadline, connecting).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => error,
                Err(_) => return Err(ConnectTimeout(self.timeout).into()),
            };
            refused += 1;
            let remaining = deadline.saturating_duration_since(Instant::now());
            let reports = self.reports.as_ref().filter(|_| is_refusal(&*error));
            let pause =
                reports.and_then(|(retries, _)| retries.pause_to_connect(refused, remaining));
            let Some(pause) = pause else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// The age at which a new connection expires: random, so that those that were opened together are
    /// not closed together.
    fn age(&self) -> Duration {
        let [random, ..] = RandomState::new().hash_one(()).to_le_bytes();
        self.max_age / 100 * (90 + u32::from(random) % 21)
    }
}

fn tcp<R>(mut tcp: HttpConnector<R>, settings: &config::Upstream) -> HttpConnector<R> {
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    // Divided among the addresses of a name: one that does not respond leaves time for the next.
    tcp.set_connect_timeout(Some(settings.connect_timeout));
    // Unacknowledged data is subject to the idle timeout too.
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(settings.total_timeout));
    tcp
}

/// The TLS settings for servers of this scheme. The provider is passed explicitly: another crate could
/// set the process-wide default.
fn tls(scheme: &Scheme, settings: &config::Upstream) -> Result<rustls::ClientConfig, SetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let extra_roots = extra_roots(settings)?;
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    if *scheme == Scheme::HTTP {
        // Does not read the trust store: a small container image may have none.
        let none = RootCertStore::empty();
        return Ok(builder.with_root_certificates(none).with_no_client_auth());
    }
    let verifier = Verifier::new_with_extra_roots(extra_roots, provider)?;
    let config = builder
        .dangerous() // rustls's name for any custom verifier; this one is the platform's
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

fn extra_roots(settings: &config::Upstream) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let Some(path) = &settings.ca_file else {
        return Ok(Vec::new());
    };
    let invalid = |source| SetupError::CaFile {
        path: path.clone(),
        source,
    };
    CertificateDer::pem_file_iter(path)
        .map_err(invalid)?
        .collect::<Result<_, _>>()
        .map_err(invalid)
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut connector = self.clone();
        Box::pin(async move {
            let connected = connector.connect(uri).await;
            if let Some((_, admission)) = &connector.reports {
                admission.connect_ended(connected.is_ok());
            }
            let connected = TokioIo::new(connected?);
            let expires = connector.clock.mono().saturating_add(connector.age());
            let (max_stall, clock) = (connector.max_stall, connector.clock);
            let metrics = connector.reports.map(|(_, it)| Arc::clone(&it.metrics));
            let connection = TrackedConnection::new(connected, max_stall, expires, clock, metrics);
            Ok(TokioIo::new(connection))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hyper_util::client::legacy::connect::dns::Name;
    use socket2::{Domain, Socket, Type};
    use tower::service_fn;

    use super::*;
    use crate::config::Config;

    /// A listener that does not respond to a SYN, because its backlog is full.
    fn unresponsive(address: SocketAddr) -> (Socket, Vec<std::net::TcpStream>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&address.into()).expect("a loopback port");
        socket.listen(0).expect("a bound socket listens");
        let mut queue = Vec::new();
        let wait = Duration::from_millis(100);
        while let Ok(waiting) = std::net::TcpStream::connect_timeout(&address, wait) {
            queue.push(waiting);
        }
        (socket, queue)
    }

    #[tokio::test]
    async fn an_unresponsive_address_leaves_time_for_the_next() {
        let listener = std::net::TcpListener::bind("127.0.0.2:0").expect("a loopback port");
        let next = listener.local_addr().expect("a bound address");
        let first = SocketAddr::from(([127, 0, 0, 1], next.port()));
        let _unresponsive = unresponsive(first);
        let mut settings = Config::default().upstream;
        settings.connect_timeout = Duration::from_millis(500);
        let resolver =
            service_fn(
                move |_: Name| async move { Ok::<_, std::io::Error>([first, next].into_iter()) },
            );
        let tcp = tcp(HttpConnector::new_with_resolver(resolver), &settings);
        let uri = format!("http://origin:{}", next.port());
        let connected = tokio::time::timeout(
            settings.connect_timeout,
            tcp.oneshot(uri.parse().expect("a URI")),
        );
        connected
            .await
            .expect("the first address does not use up the timeout")
            .expect("the second address accepts");
    }
}
