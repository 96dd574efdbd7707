//! Exports spans and metrics to a collector by the OpenTelemetry SDK: OTLP over HTTP, as protobuf.
//!
//! The SDK batches, samples, retries and reads the variables `OTEL_*`; `client` sends its requests.

mod client;
mod metrics;
mod spans;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use rustls::pki_types::pem;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::client::Client;
use crate::request::pseudonym;
use crate::telemetry::Metrics;
use crate::telemetry::trace::Tracer;

/// How long the end of the process waits for the last exports.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The threads of the SDK that export.
#[derive(Debug)]
pub struct Exporter {
    spans: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Why nothing can be exported.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ExporterError {
    #[error("the variables OTEL_EXPORTER_OTLP_* cannot be used")]
    Variables(#[from] ExporterBuildError),
    #[error("{path}: cannot be read; OTEL_EXPORTER_OTLP_CERTIFICATE is the path of a PEM file")]
    Certificate { path: String, source: pem::Error },
    #[error("the system's trust store cannot be used for the collector")]
    TrustStore(#[from] rustls::Error),
}

impl Exporter {
    /// Exports what the environment names a collector for, until [`Exporter::finish`]. Returns the
    /// tracer if that includes spans.
    ///
    /// # Errors
    ///
    /// See [`ExporterError`].
    pub fn start(metrics: &Arc<Metrics>) -> Result<(Self, Option<Tracer>), ExporterError> {
        let mut exporter = Self {
            spans: None,
            metrics: None,
        };
        if let Some(endpoint) = endpoint("TRACES") {
            let spans = SpanExporter::builder().with_http();
            let spans = spans
                .with_http_client(Client::new(&endpoint, None)?)
                .build()?;
            let provider = SdkTracerProvider::builder().with_resource(resource());
            let queue = spans::Queue::new(spans, metrics);
            exporter.spans = Some(provider.with_span_processor(queue).build());
        }
        if let Some(endpoint) = endpoint("METRICS") {
            let client = Client::new(&endpoint, Some(Arc::clone(metrics)))?;
            let pushed = MetricExporter::builder().with_http();
            let pushed = pushed.with_temporality(Temporality::Cumulative);
            let pushed = pushed.with_http_client(client).build()?;
            exporter.metrics = Some(metrics::push(pushed, resource()));
        }
        let spans = exporter.spans.as_ref();
        let tracer = spans.map(|provider| Tracer::new(provider.tracer(env!("CARGO_PKG_NAME"))));
        Ok((exporter, tracer))
    }

    /// Exports the queued spans and the metrics within `FLUSH_TIMEOUT`, and ends.
    pub async fn finish(self) {
        let (done, ended) = oneshot::channel::<()>();
        // The SDK's shutdown blocks, and the runtime would wait for a blocking task.
        std::thread::spawn(move || {
            let _done = done;
            // The SDK logs what fails.
            let _ = self.spans.map(|provider| provider.shutdown());
            let _ = self.metrics.map(|provider| provider.shutdown());
        });
        let _ = timeout(FLUSH_TIMEOUT, ended).await;
    }
}

/// The collector that the environment names for this signal, `TRACES` or `METRICS`.
fn endpoint(signal: &str) -> Option<String> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let exporter = variable(&format!("OTEL_{signal}_EXPORTER"));
    let endpoint = variable(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
    endpoint.filter(|_| exporter.as_deref() != Some("none"))
}

/// The attributes of this process. The operator's have precedence.
fn resource() -> Resource {
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", pseudonym()),
        ])
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    match env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}
