//! A TLS origin, with certificates generated for the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A private certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, for `upstream.ca_file`.
    pub file: NamedTempFile,
}

/// A target whose request closes the connection, unless it is the first on it.
pub const FRAGILE: &str = "/v1/calls/fragile";

/// Responds to every request with its version, target, fields and body as JSON.
pub struct TlsOrigin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("an empty list of names is valid");
        // The name must differ from those it issues, or openssl takes them for self-signed.
        let name = rcgen::DnType::CommonName;
        params.distinguished_name.push(name, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), certificate.pem()).expect("the file can be written");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// Issues a certificate for this name; returns it and its key in PEM.
    pub fn issue(&self, name: &str) -> (String, String) {
        self.issue_until(name, 2096)
    }

    /// The same, expiring at the start of this year.
    pub fn issue_until(&self, name: &str, year: i32) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// A client that trusts this authority, presents `identity` and offers these ALPN protocols.
    pub fn client(&self, identity: Option<&(String, String)>, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.file.path()).expect("a certificate");
        roots.add(authority).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports them")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::from_pem_slice(certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
                builder
                    .with_client_auth_cert(vec![chain.expect("PEM")], key.expect("PEM"))
                    .expect("certificate and key match")
            }
        };
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        TlsConnector::from(Arc::new(config))
    }

    /// The TLS acceptor of a server with this name and these ALPN protocols.
    fn server(&self, name: &str, protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key in DER");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate and key match");
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl TlsOrigin {
    /// Starts an origin with a certificate of this authority. Requests to `/v1/together` wait until
    /// `together` of them have arrived.
    pub async fn start(
        authority: &Authority,
        name: &str,
        protocols: &[&str],
        together: usize,
    ) -> Self {
        let acceptor = authority.server(name, protocols);
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let origin = Self {
            address: listener
                .local_addr()
                .expect("a bound socket has an address"),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&origin.connections);
        let barrier = Arc::new(Barrier::new(together));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, barrier) = (acceptor.clone(), Arc::clone(&barrier));
                let connections = Arc::clone(&connections);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    connections.fetch_add(1, Ordering::SeqCst);
                    let requests = AtomicUsize::new(0);
                    let service = service_fn(move |request| {
                        let is_first = requests.fetch_add(1, Ordering::SeqCst) == 0;
                        respond(request, Arc::clone(&barrier), is_first)
                    });
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    // The proxy's clock is not the machine's.
                    server.http1().auto_date_header(false);
                    server.http2().auto_date_header(false);
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        origin
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The number of successful handshakes.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn respond(
    request: Request<Incoming>,
    barrier: Arc<Barrier>,
    is_first: bool,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if head.uri.path() == FRAGILE && !is_first {
        return Err("closes the connection".into());
    }
    if head.uri.path() == "/v1/together" {
        barrier.wait().await;
    }
    let fields: serde_json::Map<_, _> = head
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value.into())
        })
        .collect();
    let document = serde_json::json!({
        "version": format!("{:?}", head.version),
        "target": head.uri.path_and_query().map(ToString::to_string),
        "fields": fields,
        "body": String::from_utf8_lossy(&body),
    });
    let response = Response::builder()
        .header("content-type", "application/json")
        .body(Full::from(document.to_string()));
    Ok(response.expect("a response"))
}
