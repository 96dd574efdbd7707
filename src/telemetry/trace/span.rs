//! Spans of the OpenTelemetry SDK, and the trace fields (W3C Trace Context) that they continue and set.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use serde_json::Value;

use super::Attribute;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Begins the spans of clients' requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer(SdkTracer);

/// A span in progress. It ends with [`Span::end`], or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Span {
    context: Context,
    tracer: SdkTracer,
}

impl Tracer {
    /// A tracer whose spans go to the processor of `tracer`.
    pub fn new(tracer: SdkTracer) -> Self {
        Self(tracer)
    }

    /// Begins the span of a request: a part of the client's trace, or of a new one if there is no valid
    /// `traceparent`, or more than one (§3.2). The request carries it, for the one to the origin.
    #[must_use]
    pub fn begin(&self, head: &mut Parts) -> Span {
        let fields = &head.headers;
        let mut parent = Context::new();
        if fields.get_all(TRACEPARENT).iter().count() == 1 {
            let fields = HeaderExtractor(fields);
            parent = TraceContextPropagator::new().extract_with_context(&parent, &fields);
        }
        let span = Span::begin(&self.0, SpanKind::Server, &parent);
        head.extensions.insert(span.clone());
        span
    }
}

impl Span {
    fn begin(tracer: &SdkTracer, kind: SpanKind, parent: &Context) -> Self {
        let span = SpanBuilder::from_name("").with_kind(kind);
        Self {
            context: Context::new().with_span(tracer.build_with_context(span, parent)),
            tracer: tracer.clone(),
        }
    }

    /// Begins the span of a request to the origin, and sets its `traceparent`. The client's
    /// `tracestate` is forwarded unchanged, unless its `traceparent` is invalid.
    #[must_use]
    pub fn begin_fetch(&self, sent: &mut HeaderMap) -> Self {
        let fetch = Self::begin(&self.tracer, SpanKind::Client, &self.context);
        let span = fetch.context.span();
        let context = span.span_context();
        let (trace, id) = (context.trace_id().to_string(), context.span_id());
        let received = sent.get(TRACEPARENT).map(HeaderValue::as_bytes);
        if received.and_then(|line| line.get(3..35)) != Some(trace.as_bytes()) {
            sent.remove(TRACESTATE);
        }
        let line = format!("00-{trace}-{id}-{:02x}", context.trace_flags());
        let line = HeaderValue::try_from(line).expect("hex digits are a field value");
        sent.insert(TRACEPARENT, line);
        fetch
    }

    /// The id of its trace, if it is sampled.
    pub fn recorded_trace(&self) -> Option<u128> {
        let span = self.context.span();
        let trace = span.span_context().trace_id();
        span.is_recording()
            .then(|| u128::from_be_bytes(trace.to_bytes()))
    }

    /// Ends the span, with a name of low cardinality.
    pub fn end(&self, name: String, has_failed: bool, attributes: Vec<Attribute>) {
        let span = self.context.span();
        span.update_name(name);
        span.set_attributes(attributes.into_iter().map(|(name, value)| match value {
            Value::Number(number) => KeyValue::new(name, number.as_i64().unwrap_or(i64::MAX)),
            Value::String(text) => KeyValue::new(name, text),
            other => KeyValue::new(name, other.to_string()),
        }));
        if has_failed {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
