//! The queue of spans: the SDK's batch processor, with what it drops and exports counted.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT, Span, SpanData,
    SpanExporter, SpanProcessor,
};

use crate::telemetry::{Metrics, SpanResult};

/// The batch processor, behind a bound of the same size: it does not count what it drops.
#[derive(Debug)]
pub(super) struct Queue {
    inner: BatchSpanProcessor,
    size: usize,
    counts: Counts,
}

/// The exporter, which counts spans by its result.
#[derive(Debug)]
struct Exporter {
    inner: OtlpExporter,
    counts: Counts,
}

#[derive(Clone, Debug)]
struct Counts {
    queued: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Queue {
    pub(super) fn new(inner: OtlpExporter, metrics: &Arc<Metrics>) -> Self {
        let counts = Counts {
            queued: Arc::default(),
            metrics: Arc::clone(metrics),
        };
        let exporter = Exporter {
            inner,
            counts: counts.clone(),
        };
        let size = env::var(OTEL_BSP_MAX_QUEUE_SIZE).ok();
        let size = size.and_then(|size| size.parse().ok());
        Self {
            inner: BatchSpanProcessor::builder(exporter).build(),
            size: size.unwrap_or(OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT),
            counts,
        }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let Counts { queued, metrics } = &self.counts;
        if queued.fetch_add(1, Ordering::Relaxed) < self.size {
            self.inner.on_end(span);
        } else {
            queued.fetch_sub(1, Ordering::Relaxed);
            metrics.spans.of(SpanResult::QueueFull).inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Counts { queued, metrics } = &self.counts;
        let count = batch.len();
        queued.fetch_sub(count, Ordering::Relaxed);
        let result = self.inner.export(batch).await;
        let counted = match result {
            Ok(()) => SpanResult::Exported,
            Err(_) => SpanResult::Failed,
        };
        metrics.spans.of(counted).inc_by(count as u64);
        result
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
