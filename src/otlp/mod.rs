//! Exports spans to a collector: OTLP over HTTP, as JSON, in batches.
//!
//! One task sends one request at a time. Spans that the collector does not accept are dropped and
//! counted: the proxy does not store traces. There is no TLS: the collector should run next to the
//! proxy, as an agent that forwards them.

mod document;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::OriginUrl;
use crate::telemetry::trace::Span;
use crate::telemetry::{Metrics, SpanResult};

/// Maximum spans per request.
const MAX_BATCH: usize = 512;

/// How long the first span of a batch waits for others.
const GATHER_TIME: Duration = Duration::from_secs(1);

/// Time to wait for the collector's response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the process waits for the last batches.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum bytes read of a response.
const MAX_RESPONSE: usize = 64 << 10;

/// The task that exports spans.
#[derive(Debug)]
pub struct Exporter {
    end: CancellationToken,
    task: JoinHandle<()>,
}

struct Worker {
    spans: Receiver<Span>,
    client: Client<HttpConnector, Full<Bytes>>,
    target: Uri,
    metrics: Arc<Metrics>,
    /// Whether the last batch was lost: logged once, not once a second.
    failing: bool,
}

/// Why a batch is lost.
#[derive(Debug, Error)]
enum ExportError {
    #[error("the collector cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no response from the collector within {RESPONSE_TIMEOUT:?}")]
    Timeout,
    #[error("the collector responded with {0}")]
    Refused(StatusCode),
}

impl Exporter {
    /// Exports the spans received from `spans` to the collector at `url`, until
    /// [`Exporter::finish`].
    #[must_use]
    pub fn start(url: &OriginUrl, spans: Receiver<Span>, metrics: Arc<Metrics>) -> Self {
        let end = CancellationToken::new();
        let target = format!("{url}/v1/traces");
        let worker = Worker {
            spans,
            client: Client::builder(TokioExecutor::new()).build_http(),
            target: target.parse().expect("an origin and a path make a URI"),
            metrics,
            failing: false,
        };
        let task = tokio::spawn(worker.run(end.clone()));
        Self { end, task }
    }

    /// Exports the queued spans within `FLUSH_TIMEOUT`, and ends.
    pub async fn finish(self) {
        self.end.cancel();
        let abort = self.task.abort_handle();
        if timeout(FLUSH_TIMEOUT, self.task).await.is_err() {
            abort.abort();
        }
    }
}

impl Worker {
    async fn run(mut self, end: CancellationToken) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while end.run_until_cancelled(self.gather(&mut batch)).await == Some(true) {
            self.export(&mut batch).await;
        }
        self.spans.close();
        while !batch.is_empty() || self.spans.recv_many(&mut batch, MAX_BATCH).await > 0 {
            self.export(&mut batch).await;
        }
    }

    /// Waits for a span, then up to `GATHER_TIME` for more. Returns false when the channel is closed.
    /// Spans gathered before a cancellation stay in the batch.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        if self.spans.recv_many(batch, MAX_BATCH).await == 0 {
            return false;
        }
        // A full batch has no space left, which ends the loop.
        let more =
            async { while self.spans.recv_many(batch, MAX_BATCH - batch.len()).await > 0 {} };
        let _ = timeout(GATHER_TIME, more).await;
        true
    }

    async fn export(&mut self, batch: &mut Vec<Span>) {
        let count = batch.len() as u64;
        let document = document::of(batch);
        batch.clear();
        let sent = timeout(RESPONSE_TIMEOUT, self.send(document)).await;
        let result = match sent.unwrap_or(Err(ExportError::Timeout)) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the trace collector accepts spans again");
                }
                SpanResult::Exported
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let cause = std::error::Error::source(&error);
                    let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
                    tracing::warn!(
                        "trace spans are lost: {error}{cause}; is trace.otlp_url ({}) correct?",
                        self.target
                    );
                }
                match error {
                    ExportError::Refused(_) => SpanResult::Refused,
                    ExportError::Unreachable(_) | ExportError::Timeout => SpanResult::Unreachable,
                }
            }
        };
        self.metrics.spans.of(result).inc_by(count);
    }

    async fn send(&self, document: Bytes) -> Result<(), ExportError> {
        let request = Request::post(self.target.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(document))
            .expect("a target, a field and a body make a request");
        let response = self.client.request(request).await;
        let (head, body) = response
            .map_err(|error| ExportError::Unreachable(error.into()))?
            .into_parts();
        // Reads the body so that the connection can be reused; the content does not matter.
        Limited::new(body, MAX_RESPONSE)
            .collect()
            .await
            .map_err(ExportError::Unreachable)?;
        if head.status.is_success() {
            return Ok(());
        }
        Err(ExportError::Refused(head.status))
    }
}
