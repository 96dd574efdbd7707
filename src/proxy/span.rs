//! The spans of requests to the origin, if they are recorded. Those of clients' requests are recorded
//! in `server`.

use http::{Extensions, HeaderMap, Method, StatusCode};

use crate::config::OriginUrl;
use crate::label::Label as _;
use crate::outcome::Fault;
use crate::telemetry::trace::Span;

/// How a request to the origin ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum SpanEnd {
    /// With this status, and this value of `stuut_cache.outcome`.
    Answered(StatusCode, &'static str),
    /// Without a response.
    Failed(Fault),
}

/// Begins the span of a request to the origin as a part of its client's, if there is one, and sets its
/// trace fields.
pub(super) fn begin(sent: &mut HeaderMap, client: &Extensions) -> Option<Span> {
    client.get::<Span>().map(|client| client.begin_fetch(sent))
}

impl SpanEnd {
    /// Ends a span. A fetch's span ends with its body, or when the body becomes a stream; a
    /// forwarded request's span ends with the response head.
    pub(super) fn record(self, span: Option<&Span>, method: &Method, origin: &OriginUrl) {
        let Some(span) = span.filter(|span| span.recorded_trace().is_some()) else {
            return;
        };
        let (outcome, has_failed) = match self {
            Self::Answered(status, outcome) => (
                outcome,
                status.is_client_error() || status.is_server_error(),
            ),
            Self::Failed(_) => ("failed", true),
        };
        let origin = origin.authority();
        let mut attributes = vec![
            ("http.request.method", method.as_str().into()),
            ("server.address", origin.host().into()),
            ("stuut_cache.outcome", outcome.into()),
        ];
        if let Some(port) = origin.port_u16() {
            attributes.push(("server.port", port.into()));
        }
        attributes.push(match self {
            Self::Answered(status, _) => ("http.response.status_code", status.as_u16().into()),
            Self::Failed(fault) => ("error.type", fault.as_str().into()),
        });
        span.end(method.to_string(), has_failed, attributes);
    }
}
