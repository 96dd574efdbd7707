//! Tracing of requests to the origin: propagates the client's trace, and records a span for each
//! request if spans are collected. The spans of clients' requests are recorded in `server`.

use http::{Extensions, HeaderMap, Method, StatusCode};

use crate::clock::Clock;
use crate::config::OriginUrl;
use crate::label::Label as _;
use crate::outcome::Fault;
use crate::policy::Moment;
use crate::telemetry::trace::{self, Span, SpanId, SpanKind, TraceContext, Tracer};

/// Records the spans of requests to the origin.
#[derive(Clone, Debug)]
pub(super) struct OriginSpans {
    /// `None` if no spans are collected.
    tracer: Option<Tracer>,
    origin: OriginUrl,
    clock: Clock,
}

/// The span of a request to the origin that is in flight.
#[derive(Debug)]
pub(super) struct OriginSpan {
    context: TraceContext,
    /// The span of the client's request.
    parent: SpanId,
    began: Moment,
}

/// How a request to the origin ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum SpanEnd {
    /// With this status, and this value of `stuut_cache.outcome`.
    Answered(StatusCode, &'static str),
    /// Without a response.
    Failed(Fault),
}

impl OriginSpans {
    pub(super) fn new(tracer: Option<Tracer>, origin: &OriginUrl, clock: Clock) -> Self {
        Self {
            tracer,
            origin: origin.clone(),
            clock,
        }
    }

    /// Propagates the client's trace in the fields of a request to the origin. Returns the span to
    /// record, if the trace is sampled.
    pub(super) fn begin(&self, sent: &mut HeaderMap, client: &Extensions) -> Option<OriginSpan> {
        let request = client.get::<TraceContext>();
        let context = trace::propagate(sent, request)?;
        let parent = request.filter(|request| request.is_sampled())?.span();
        Some(OriginSpan {
            context,
            parent,
            began: self.clock.now(),
        })
    }

    /// Records a span. A fetch's span ends with its body, or when the body becomes a stream; a
    /// forwarded request's span ends with the response head.
    pub(super) fn record(&self, span: Option<&OriginSpan>, method: &Method, end: SpanEnd) {
        let (Some(tracer), Some(span)) = (&self.tracer, span) else {
            return;
        };
        let (outcome, failed) = match end {
            SpanEnd::Answered(status, outcome) => (
                outcome,
                status.is_client_error() || status.is_server_error(),
            ),
            SpanEnd::Failed(_) => ("failed", true),
        };
        let origin = self.origin.authority();
        let mut attributes = vec![
            ("http.request.method", method.to_string().into()),
            ("server.address", origin.host().to_owned().into()),
            ("stuut_cache.outcome", outcome.into()),
        ];
        if let Some(port) = origin.port_u16() {
            attributes.push(("server.port", port.into()));
        }
        attributes.push(match end {
            SpanEnd::Answered(status, _) => ("http.response.status_code", status.as_u16().into()),
            SpanEnd::Failed(fault) => ("error.type", fault.as_str().into()),
        });
        tracer.record(Span {
            context: span.context,
            parent: Some(span.parent),
            kind: SpanKind::Fetch,
            name: method.to_string(),
            at: span.began.wall,
            took: self.clock.mono().saturating_sub(span.began.mono),
            failed,
            attributes,
        });
    }
}
