//! Spans of requests and fetches, and the bounded queue to the exporter.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::context::{SpanId, TraceContext, TraceParent, random};
use crate::telemetry::metrics::{Metrics, SpanResult};

/// Maximum queued spans; further ones are dropped and counted. About 4 MiB with the longest paths.
pub const MAX_QUEUED: usize = 4_096;

/// A request in a trace: its own context, and its caller's span.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// The context of the request.
    pub context: TraceContext,
    /// The span of the caller, if it sent one.
    pub parent: Option<SpanId>,
}

/// A span that has ended.
#[derive(Debug)]
pub struct Span {
    /// Its context.
    pub context: TraceContext,
    /// The span it is a part of.
    pub parent: Option<SpanId>,
    /// Its kind.
    pub kind: SpanKind,
    /// The name of its operation, of low cardinality.
    pub name: String,
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Whether it failed.
    pub failed: bool,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
}

/// The operation of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A client's request.
    Request,
    /// A request to the origin.
    Fetch,
}

/// A name and its value: a string or an integer.
pub type Attribute = (&'static str, serde_json::Value);

/// Begins traces, and records spans that have ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer {
    queue: Sender<Span>,
    /// The percentage of requests without a trace that begin a sampled one.
    share: u64,
    metrics: Arc<Metrics>,
}

impl Tracer {
    /// A tracer, and the receiver of its spans. `share` percent of the requests without a trace
    /// begin a sampled one.
    #[must_use]
    pub fn new(share: usize, metrics: Arc<Metrics>) -> (Self, Receiver<Span>) {
        let (queue, spans) = mpsc::channel(MAX_QUEUED);
        let share = share as u64;
        let tracer = Self {
            queue,
            share,
            metrics,
        };
        (tracer, spans)
    }

    /// The trace of a request with these fields.
    #[must_use]
    pub fn begin(&self, fields: &HeaderMap) -> Trace {
        match TraceParent::read(fields) {
            TraceParent::Valid(parent) => Trace {
                context: parent.child(),
                parent: Some(parent.span()),
            },
            TraceParent::Absent | TraceParent::Invalid => Trace {
                context: TraceContext::begin(random().get() % 100 < self.share),
                parent: None,
            },
        }
    }

    /// Queues a span, or drops it if the queue is full: requests do not wait for collectors.
    pub fn record(&self, span: Span) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(span) {
            self.metrics.spans.of(SpanResult::QueueFull).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::request::Routes;

    fn tracer(share: usize) -> (Tracer, Receiver<Span>) {
        let routes = Routes::new(&Config::default().cache.routes);
        Tracer::new(share, Arc::new(Metrics::new(&routes)))
    }

    #[test]
    fn a_full_queue_drops_and_counts_without_waiting() {
        let (tracer, _spans) = tracer(100);
        for _ in 0..MAX_QUEUED + 3 {
            let Trace { context, parent } = tracer.begin(&HeaderMap::new());
            tracer.record(Span {
                context,
                parent,
                kind: SpanKind::Request,
                name: "GET".to_owned(),
                at: SystemTime::UNIX_EPOCH,
                took: Duration::ZERO,
                failed: false,
                attributes: Vec::new(),
            });
        }
        assert_eq!(tracer.metrics.spans.of(SpanResult::QueueFull).get(), 3);
    }

    #[test]
    fn the_share_applies_to_requests_without_a_trace() {
        let sampled = |share| {
            let (tracer, _spans) = tracer(share);
            let begun = (0..1_000).map(|_| tracer.begin(&HeaderMap::new()));
            begun.filter(|trace| trace.context.is_sampled()).count()
        };
        assert_eq!(sampled(0), 0);
        assert_eq!(sampled(100), 1_000);
        assert!((150..350).contains(&sampled(25)));

        // The caller's sampling decision is honoured.
        let (tracer, _spans) = tracer(0);
        let mut fields = HeaderMap::new();
        let line = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        fields.insert("traceparent", line.parse().expect("a value"));
        let trace = tracer.begin(&fields);
        assert!(trace.context.is_sampled());
        let parent = trace.parent.expect("its caller").to_string();
        assert_eq!(parent, "00f067aa0ba902b7");
    }
}
