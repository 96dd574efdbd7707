//! The HTTP client of the exporters: hyper with rustls, on the proxy's runtime, since the SDK's
//! threads have no reactor.

use std::env;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::runtime::Handle;

use super::{ExporterError, metrics};
use crate::telemetry::Metrics;

/// Sends exports, one at a time.
#[derive(Debug)]
pub(super) struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
    /// Whose values an export gets; `None` for spans.
    metrics: Option<Arc<Metrics>>,
}

impl Client {
    /// A client for a collector at this URL.
    pub(super) fn new(
        endpoint: &str,
        metrics: Option<Arc<Metrics>>,
    ) -> Result<Self, ExporterError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnector::from((tcp, tls(endpoint)?));
        Ok(Self {
            http: HyperClient::new(connector, OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, None),
            runtime: Handle::current(),
            metrics,
        })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        if let Some(metrics) = &self.metrics {
            *request.body_mut() = metrics::fill(request.body(), &metrics.gather())?;
        }
        let http = self.http.clone();
        let sending = async move { http.send_bytes(request).await };
        let sent = self.runtime.spawn(sending).await?;
        // The SDK logs that an export failed, but not why.
        sent.inspect_err(|error| {
            tracing::debug!("otlp: the collector cannot be reached: {error:?}");
        })
    }
}

/// Trusts the system's store and the certificates of `OTEL_EXPORTER_OTLP_CERTIFICATE`.
fn tls(endpoint: &str) -> Result<ClientConfig, ExporterError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    if !endpoint.starts_with("https:") {
        // Does not read the trust store: a small container image may have none.
        let none = RootCertStore::empty();
        return Ok(builder.with_root_certificates(none).with_no_client_auth());
    }
    let mut extra = Vec::new();
    if let Ok(path) = env::var("OTEL_EXPORTER_OTLP_CERTIFICATE") {
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
        extra = read.map_err(|source| ExporterError::Certificate { path, source })?;
    }
    let verifier = Verifier::new_with_extra_roots(extra, provider)?;
    Ok(builder
        .dangerous() // rustls's name for any custom verifier; this one is the platform's
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}
