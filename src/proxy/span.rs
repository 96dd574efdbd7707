//! Requests to the origin as parts of a trace: they carry it on, and where spans are collected, each
//! leaves one.

use http::{Extensions, HeaderMap, Method, StatusCode};

use crate::clock::Clock;
use crate::config::OriginUrl;
use crate::label::Label as _;
use crate::outcome::Fault;
use crate::policy::Moment;
use crate::telemetry::trace::{self, Context, Kind, Span, SpanId, Tracer};

/// Records the spans of requests to the origin.
#[derive(Clone, Debug)]
pub(super) struct OriginSpans {
    /// `None` where no spans are collected.
    tracer: Option<Tracer>,
    origin: OriginUrl,
    clock: Clock,
}

/// The span of a request to the origin that has not ended.
#[derive(Debug)]
pub(super) struct OriginSpan {
    context: Context,
    /// The request that it is made for.
    parent: SpanId,
    began: Moment,
}

/// How a request to the origin ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum SpanEnd {
    /// With this status, and what became of the response.
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

    /// Makes a request with these fields carry on the trace of its client's request.
    pub(super) fn begin(&self, sent: &mut HeaderMap, client: &Extensions) -> Option<OriginSpan> {
        let request = client.get::<Context>();
        let context = trace::propagate(sent, request)?;
        let parent = request.filter(|request| request.is_sampled())?.span();
        Some(OriginSpan {
            context,
            parent,
            began: self.clock.now(),
        })
    }

    /// The span of a fetch lasts to the end of its body, or to where it becomes a stream; that of a
    /// forwarded request to the head of its response.
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
            kind: Kind::Fetch,
            name: method.to_string(),
            at: span.began.wall,
            took: self.clock.mono().saturating_sub(span.began.mono),
            failed,
            attributes,
        });
    }
}
