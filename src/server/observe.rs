//! A layer that gives each request its id and its time, and counts and logs it at its end.
//!
//! A request ends when its response body does, or when the connection drops it: that is defined
//! here, once, for the metrics, the log and the connection's own timer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::pulse::{Beat, Pulse};
use crate::clock::Clock;
use crate::label::Label as _;
use crate::outcome::Outcome;
use crate::policy::Moment;
use crate::proxy::{Arrived, Body, Content, Report};
use crate::request::{hide_credentials, is_stand_in};
use crate::telemetry::trace::{Kind, Span, Trace, Tracer};
use crate::telemetry::{AccessLog, Metrics, Record, RequestId, seconds};

/// What requests are observed with; one for the whole server.
#[derive(Debug)]
pub(super) struct Observatory {
    pub(super) metrics: Arc<Metrics>,
    pub(super) access: Option<AccessLog>,
    pub(super) clock: Clock,
    pub(super) tracer: Option<Tracer>,
}

/// Makes [`Observe`] services.
#[derive(Clone, Debug)]
pub(super) struct ObserveLayer {
    observatory: Arc<Observatory>,
    pulse: Arc<Pulse>,
}

/// Observes what the inner service answers.
#[derive(Clone, Debug)]
pub(super) struct Observe<S> {
    inner: S,
    layer: ObserveLayer,
}

pin_project! {
    /// An answer on its way.
    pub(super) struct Observing<F> {
        #[pin]
        answer: F,
        end: Option<End>,
    }
}

/// A body whose end is the end of its request.
#[derive(Debug)]
pub(super) struct Observed<B> {
    body: B,
    end: End,
}

/// A request in sight.
#[derive(Debug)]
struct Sight {
    observatory: Arc<Observatory>,
    at: Moment,
    id: RequestId,
    method: Method,
    target: Option<PathAndQuery>,
    beat: Beat,
    /// Where spans are collected. Boxed: a request that is not traced makes no room for it.
    trace: Option<Box<Trace>>,
}

/// Counts and logs when dropped: with the response body, or, where there is no answer, with the
/// request itself.
#[derive(Debug)]
struct End {
    sight: Sight,
    status: Option<StatusCode>,
    report: Report,
    bytes: u64,
    complete: bool,
}

impl ObserveLayer {
    pub(super) fn new(observatory: Arc<Observatory>, pulse: Arc<Pulse>) -> Self {
        Self { observatory, pulse }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S> Service<Request<Incoming>> for Observe<S>
where
    S: Service<Arrived, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Observed<Content>>;
    type Error = Infallible;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        hide_credentials(&mut head.headers);
        if head.version == Version::HTTP_10 {
            self.layer.pulse.speak_http10();
        }
        let observatory = Arc::clone(&self.layer.observatory);
        observatory.metrics.in_flight.inc();
        let at = observatory.clock.now();
        let id = RequestId::read(&head.headers);
        let trace = observatory
            .tracer
            .as_ref()
            .map(|tracer| Box::new(tracer.begin(&head.headers)));
        if let Some(trace) = &trace {
            // For the fetch, should there be one.
            head.extensions.insert(trace.context);
        }
        let sight = Sight {
            observatory,
            at,
            id: id.clone(),
            method: head.method.clone(),
            // Its path is of our making.
            target: head
                .uri
                .path_and_query()
                .filter(|_| !is_stand_in(&head.method))
                .cloned(),
            beat: self.layer.pulse.begin(!body.is_end_stream()),
            trace,
        };
        Observing {
            answer: self.inner.call(Arrived { head, body, id, at }),
            end: Some(End {
                sight,
                status: None,
                report: Report {
                    outcome: Outcome::Aborted,
                    route: None,
                    scope: None,
                },
                bytes: 0,
                complete: false,
            }),
        }
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Observing<F> {
    type Output = Result<Response<Observed<Content>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.answer.poll(cx));
        let mut end = this
            .end
            .take()
            .expect("a future is not polled after it is ready");
        end.sight.beat.answer();
        end.status = Some(response.status());
        let report = response.body().report;
        let has_failed = matches!(report.outcome, Outcome::Failed { .. } | Outcome::Panicked);
        // A body that nobody waits for any more is not read.
        let is_unread = has_failed && end.sight.beat.is_in_body();
        if end.sight.beat.is_last() || is_unread {
            // hyper closes after it; whoever asked knows not to ask here again.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        end.sight.sign(response.headers_mut(), &report.outcome);
        Poll::Ready(Ok(response.map(|Body { content, .. }| {
            end.report = report;
            end.complete = http_body::Body::is_end_stream(&content);
            Observed { body: content, end }
        })))
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Observed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, end } = self.get_mut();
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                end.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                end.complete = body.is_end_stream();
            }
            Some(Err(_)) => {}
            None => end.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Sight {
    /// A client that names its request finds the name on the answer. What is stored may have the
    /// name of the request it was fetched for; what comes from the origin keeps the origin's own.
    fn sign(&self, fields: &mut HeaderMap, outcome: &Outcome) {
        if !matches!(self.id, RequestId::Given(_)) {
            return;
        }
        let from_store = matches!(outcome, Outcome::Hit { .. } | Outcome::Stale { .. });
        if from_store || !fields.contains_key(RequestId::FIELD) {
            fields.insert(RequestId::FIELD, self.id.to_header());
        }
    }
}

/// The span of a request that has ended. What its attributes are called is OpenTelemetry's, where
/// it has a name for them.
fn span(
    sight: &Sight,
    trace: &Trace,
    status: Option<StatusCode>,
    report: &Report,
    bytes: u64,
    took: Duration,
) -> Span {
    let route = report.route.map(|route| {
        let requests = &sight.observatory.metrics.requests;
        requests.route(route).to_owned()
    });
    let method = sight.method.as_str();
    let mut attributes = vec![
        ("http.request.method", method.to_owned().into()),
        ("http.response.body.size", bytes.into()),
        (
            "stuut_cache.outcome",
            report.outcome.label().as_str().into(),
        ),
        ("stuut_cache.request_id", sight.id.to_string().into()),
    ];
    if let Some(target) = &sight.target {
        attributes.push(("url.path", crate::telemetry::logged_path(target).into()));
    }
    if let Some(status) = status {
        attributes.push(("http.response.status_code", status.as_u16().into()));
    }
    if let Some(detail) = report.outcome.detail() {
        attributes.push(("stuut_cache.detail", detail.into()));
    }
    let name = match &route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    if let Some(route) = route {
        attributes.push(("http.route", route.into()));
    }
    Span {
        context: trace.context,
        parent: trace.parent,
        kind: Kind::Request,
        name,
        at: sight.at.wall,
        took,
        failed: status.is_none_or(|status| status.is_server_error()),
        attributes,
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        self.observatory.metrics.in_flight.dec();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let Self {
            sight,
            status,
            report,
            bytes,
            complete,
        } = self;
        let Observatory {
            metrics,
            access,
            clock,
            tracer,
        } = &*sight.observatory;
        let took = clock.mono().saturating_sub(sight.at.mono);
        let outcome = report.outcome.label();
        metrics
            .requests
            .count(report.route, &sight.method, *status, outcome);
        metrics.request_duration.of(outcome).observe(seconds(took));
        metrics.response_bytes.of(outcome).inc_by(*bytes);
        if let (Some(tracer), Some(trace)) = (tracer, &sight.trace)
            && trace.context.is_sampled()
        {
            tracer.record(span(sight, trace, *status, report, *bytes, took));
        }
        let Some(access) = access else { return };
        let record = Record {
            at: sight.at.wall,
            took,
            id: sight.id.clone(),
            method: sight.method.clone(),
            status: *status,
            outcome: report.outcome,
            bytes: *bytes,
            complete: *complete,
            scope: report.scope,
        };
        access.push(record, sight.target.as_ref());
    }
}
