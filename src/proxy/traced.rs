//! Requests to the origin as parts of a trace: it goes on with them, and where spans are collected,
//! each leaves one.

use http::{Extensions, HeaderMap, Method, StatusCode};

use super::Proxy;
use super::fetch::{Fetched, Order};
use crate::label::Label as _;
use crate::outcome::Fault;
use crate::policy::{Moment, NotStored};
use crate::telemetry::trace::{self, Context, Kind, Span, SpanId};

/// A request to the origin whose span is to be told when it has ended.
#[derive(Debug)]
pub(super) struct Traced {
    context: Context,
    /// The request that it is made for.
    parent: SpanId,
    begun: Moment,
}

/// What came of it.
struct End {
    status: Option<StatusCode>,
    outcome: &'static str,
    fault: Option<Fault>,
}

impl Proxy {
    /// Makes a request with these fields go on with the trace that its client's belongs to.
    pub(super) fn trace(&self, sent: &mut HeaderMap, client: &Extensions) -> Option<Traced> {
        let request = client.get::<Context>();
        let context = trace::propagate(sent, request)?;
        let parent = request.filter(|request| request.is_sampled())?.span();
        Some(Traced {
            context,
            parent,
            begun: self.clock.now(),
        })
    }

    /// The span of a fetch: to the end of its body, or to where it becomes a stream.
    pub(super) fn end_fetch(&self, order: &Order, fetched: &Fetched) {
        let outcome = |stored: &Result<(), NotStored>| match stored {
            Ok(()) => "stored",
            Err(reason) => reason.as_str(),
        };
        let end = match fetched {
            Fetched::Whole { stored, status, .. } => End {
                status: StatusCode::from_u16(*status).ok(),
                outcome: outcome(stored),
                fault: None,
            },
            Fetched::Stream { head, reason, .. } => End {
                status: Some(head.status),
                outcome: reason.as_str(),
                fault: None,
            },
            Fetched::Failed(error) => End::failed(error.fault()),
        };
        self.end(order.traced.as_ref(), &Method::GET, &end);
    }

    /// The span of a request that is passed on: to the head of its answer.
    pub(super) fn end_forward(
        &self,
        traced: Option<&Traced>,
        method: &Method,
        result: Result<StatusCode, Fault>,
    ) {
        let end = match result {
            Ok(status) => End {
                status: Some(status),
                outcome: "forwarded",
                fault: None,
            },
            Err(fault) => End::failed(fault),
        };
        self.end(traced, method, &end);
    }

    fn end(&self, traced: Option<&Traced>, method: &Method, end: &End) {
        let (Some(spans), Some(fetch)) = (&self.tracer, traced) else {
            return;
        };
        let origin = self.upstream.origin().authority();
        let mut attributes = vec![
            ("http.request.method", method.to_string().into()),
            ("server.address", origin.host().to_owned().into()),
            ("stuut_cache.outcome", end.outcome.into()),
        ];
        if let Some(port) = origin.port_u16() {
            attributes.push(("server.port", port.into()));
        }
        if let Some(status) = end.status {
            attributes.push(("http.response.status_code", status.as_u16().into()));
        }
        if let Some(fault) = end.fault {
            attributes.push(("error.type", fault.as_str().into()));
        }
        let is_refusal = |status: StatusCode| status.is_client_error() || status.is_server_error();
        spans.record(Span {
            context: fetch.context,
            parent: Some(fetch.parent),
            kind: Kind::Fetch,
            name: method.to_string(),
            at: fetch.begun.wall,
            took: self.clock.mono().saturating_sub(fetch.begun.mono),
            failed: end.status.is_none_or(is_refusal),
            attributes,
        });
    }
}

impl End {
    fn failed(fault: Fault) -> Self {
        Self {
            status: None,
            outcome: "failed",
            fault: Some(fault),
        }
    }
}
