//! What is remembered of a request or a fetch, and the bounded queue it waits in for whoever
//! carries it to a collector.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::context::{Context, Incoming, SpanId};
use crate::telemetry::{Metrics, SpanResult};

/// Spans that wait at once; further ones are dropped and counted. Some 4 MiB where paths are of
/// the longest.
pub const QUEUE: usize = 4_096;

/// A request in a trace: its own place, and its caller's.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// The place of the request here.
    pub context: Context,
    /// The span that asked, where there is one.
    pub parent: Option<SpanId>,
}

/// A span that has ended.
#[derive(Debug)]
pub struct Span {
    /// Its place.
    pub context: Context,
    /// The span it is a part of.
    pub parent: Option<SpanId>,
    /// What it is of.
    pub kind: Kind,
    /// What is done, without anything that differs from one to the next.
    pub name: String,
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Whether it went wrong.
    pub failed: bool,
    /// What is known about it.
    pub attributes: Vec<Attribute>,
}

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's request.
    Request,
    /// A request to the origin.
    Fetch,
}

/// A name and its value.
pub type Attribute = (&'static str, Value);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

/// Begins traces, and takes spans that have ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer {
    queue: Sender<Span>,
    /// Of a hundred requests without a trace, those that begin one.
    share: u64,
    metrics: Arc<Metrics>,
}

impl Tracer {
    /// A tracer, and where its spans come out. Of a hundred requests that come without a trace,
    /// `share` begin one.
    #[must_use]
    pub fn new(share: usize, metrics: Arc<Metrics>) -> (Self, Receiver<Span>) {
        let (queue, spans) = mpsc::channel(QUEUE);
        let share = share as u64;
        let tracer = Self {
            queue,
            share,
            metrics,
        };
        (tracer, spans)
    }

    /// The place of a request with these fields.
    #[must_use]
    pub fn begin(&self, fields: &HeaderMap) -> Trace {
        match Incoming::read(fields) {
            Incoming::Valid(parent) => Trace {
                context: parent.child(),
                parent: Some(parent.span()),
            },
            Incoming::Absent | Incoming::Unusable => Trace {
                context: Context::begin(super::context::dice() % 100 < self.share),
                parent: None,
            },
        }
    }

    /// Takes a span. Where the queue is full, it is dropped: requests do not wait for collectors.
    pub fn end(&self, span: Span) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(span) {
            self.metrics.spans.of(SpanResult::QueueFull).inc();
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
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
    fn a_full_queue_drops_and_counts_and_nobody_waits() {
        let (tracer, _spans) = tracer(100);
        for _ in 0..QUEUE + 3 {
            let Trace { context, parent } = tracer.begin(&HeaderMap::new());
            tracer.end(Span {
                context,
                parent,
                kind: Kind::Request,
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
    fn the_share_is_of_those_that_come_without_a_trace() {
        let sampled = |share| {
            let (tracer, _spans) = tracer(share);
            let begun = (0..1_000).map(|_| tracer.begin(&HeaderMap::new()));
            begun.filter(|trace| trace.context.is_sampled()).count()
        };
        assert_eq!(sampled(0), 0);
        assert_eq!(sampled(100), 1_000);
        assert!((150..350).contains(&sampled(25)));

        // Who comes with one has decided already.
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
