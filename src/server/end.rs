//! The end of a request: its metrics, its log line and its span.
//!
//! A request ends when its response body does, or when the connection drops it: that is defined
//! here, once, for the metrics, the log, the trace and the connection's deadlines.

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};

use super::connection::activity::RequestGuard;
use crate::clock::Clock;
use crate::in_transit::{Held, Unsent};
use crate::label::Label as _;
use crate::outcome::Outcome;
use crate::policy::Moment;
use crate::proxy::respond::has_length;
use crate::proxy::{Body, Content, Report};
use crate::request::is_rejection;
use crate::telemetry::trace::{Span, Tracer};
use crate::telemetry::{AccessLog, AccessRecord, Ended, Metrics, RequestId, logged_path};
use crate::view::View;

/// Bytes of a request on an HTTP/2 connection: the state of its stream, and the head of its response.
const STREAM_BYTES: usize = 4 << 10;

/// Maximum bytes of a logged user agent.
const MAX_AGENT: usize = 256;

/// Counts, logs and traces requests; one for the whole server.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) metrics: Arc<Metrics>,
    pub(super) access: Option<AccessLog>,
    pub(super) clock: Clock,
    pub(super) tracer: Option<Tracer>,
}

/// A response body whose end is the end of its request.
#[derive(Debug)]
pub(super) struct CountedBody {
    content: Content,
    end: EndGuard,
}

/// Counts, logs and traces a request when dropped: with the response body, or with the request if
/// there is no response.
#[derive(Debug)]
pub(super) struct EndGuard {
    observer: Arc<Observer>,
    at: Moment,
    pub(super) id: RequestId,
    client: IpAddr,
    method: Method,
    version: Version,
    target: Option<PathAndQuery>,
    agent: Option<HeaderValue>,
    /// Set only if spans are exported.
    pub(super) span: Option<Span>,
    guard: RequestGuard,
    /// HTTP/2: the state of its stream.
    _stream: Option<Held>,
    /// It has waited: its response began later than it arrived.
    has_waited: bool,
    /// Bytes of the response that are counted as unsent, and not handed to hyper yet.
    unsent: usize,
    status: Option<StatusCode>,
    report: Report,
    bytes: u64,
    complete: bool,
}

/// The id of a request with these fields, and its user agent. Iterating over the few fields is cheaper than
/// lookups by name.
pub(super) fn identify(fields: &HeaderMap) -> (RequestId, Option<HeaderValue>) {
    let (mut given, mut agent) = (None, None);
    for (name, value) in fields {
        if *name == USER_AGENT {
            agent = Some(value.clone());
        } else if *name == RequestId::FIELD {
            given = given.or(Some(value));
        }
    }
    (RequestId::of(given), agent)
}

// === impl CountedBody ===

impl CountedBody {
    /// Takes the body of a stored response.
    pub(super) fn take_whole(&mut self) -> Unsent {
        let bytes = match &mut self.content {
            Content::Whole(bytes) => std::mem::take(bytes),
            Content::Stream(_) | Content::Written(_) => unreachable!("it is not stored"),
        };
        self.end.complete = true;
        self.end.hand_over(bytes)
    }
}

impl http_body::Body for CountedBody {
    type Data = Unsent;
    type Error = <Content as http_body::Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Unsent>, Self::Error>>> {
        let Self { content, end } = self.get_mut();
        let frame = ready!(Pin::new(&mut *content).poll_frame(cx));
        end.complete = match &frame {
            Some(Ok(_)) => content.is_end_stream(),
            Some(Err(_)) => end.complete,
            None => true,
        };
        let hand_over = |frame: Frame<Bytes>| frame.map_data(|data| end.hand_over(data));
        Poll::Ready(frame.map(|frame| frame.map(hand_over)))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

// === impl EndGuard ===

impl EndGuard {
    /// Begins a request that arrived at this time.
    pub(super) fn begin(
        observer: &Arc<Observer>,
        guard: RequestGuard,
        head: &Parts,
        (id, agent): (RequestId, Option<HeaderValue>),
        at: Moment,
    ) -> Self {
        let activity = guard.activity();
        if head.version == Version::HTTP_10 {
            activity.http10.set(true);
        }
        observer.metrics.in_flight.inc();
        // A rejected head was replaced: its path is not the client's.
        let is_rejected = is_rejection(&head.method);
        let is_http2 = head.version == Version::HTTP_2;
        Self {
            observer: Arc::clone(observer),
            at,
            id,
            client: activity.peer.client(&head.headers),
            method: head.method.clone(),
            version: head.version,
            target: head.uri.path_and_query().filter(|_| !is_rejected).cloned(),
            agent,
            span: None,
            _stream: is_http2.then(|| Held::new(&activity.account, STREAM_BYTES)),
            has_waited: false,
            unsent: 0,
            guard,
            status: None,
            report: Outcome::Aborted.into(),
            bytes: 0,
            complete: false,
        }
    }

    /// Copies the parts of target and user agent that are logged: the whole is a slice of the connection's
    /// read buffer, which it would keep alive while the request waits.
    pub(super) fn wait(&mut self) {
        if std::mem::replace(&mut self.has_waited, true) {
            return;
        }
        let agent = self.agent.as_ref().map(|agent| {
            let agent = agent.as_bytes();
            HeaderValue::from_bytes(&agent[..agent.len().min(MAX_AGENT)])
        });
        self.agent = agent.and_then(Result::ok);
        let copy = self
            .target
            .as_ref()
            .map(|target| logged_path(target).parse());
        self.target = copy.and_then(Result::ok);
    }

    /// Counts a part of the response that hyper gets.
    fn hand_over(&mut self, data: Bytes) -> Unsent {
        self.bytes += data.len() as u64;
        let account = self.guard.account();
        match std::mem::take(&mut self.unsent) {
            0 => account.add_unsent(data.len(), self.observer.clock.mono()),
            counted => debug_assert_eq!(counted, data.len(), "one frame"),
        }
        Unsent::new(data, account)
    }

    /// Begins the response, whose body carries this guard.
    pub(super) fn respond(mut self, mut response: Response<Body>) -> Response<CountedBody> {
        if self.method == Method::HEAD {
            remove_body(&mut response);
        }
        self.guard.respond();
        self.status = Some(response.status());
        let has_failed = matches!(
            response.body().report.outcome,
            Outcome::Failed { .. } | Outcome::Panicked
        );
        // After a failure, nothing reads the rest of the request body.
        let is_unread = has_failed && self.guard.is_in_body();
        if self.guard.is_last() || is_unread {
            // hyper closes the connection afterwards, and the client sends no other request on it.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response.map(|Body { content, report }| {
            self.report = report;
            self.complete = content.is_end_stream();
            if let Content::Whole(bytes) = &content {
                // Over HTTP/2, hyper takes it only when the client's window allows.
                self.unsent = bytes.len();
                let now = if self.has_waited {
                    self.observer.clock.mono()
                } else {
                    self.at.mono
                };
                self.guard.account().add_unsent(bytes.len(), now);
            }
            CountedBody { content, end: self }
        })
    }

    /// Ends the span of the request. Attributes have OpenTelemetry's names where it has one.
    fn end_span(&self, span: &Span) {
        let Self { report, status, .. } = self;
        let outcome = report.outcome.label();
        let method = self.method.as_str();
        let mut attributes = vec![
            ("http.request.method", method.into()),
            ("http.response.body.size", self.bytes.into()),
            ("stuut_cache.outcome", outcome.as_str().into()),
            ("stuut_cache.request_id", self.id.to_string().into()),
        ];
        if let Some(target) = &self.target {
            attributes.push(("url.path", logged_path(target).into()));
        }
        if let Some(status) = status {
            attributes.push(("http.response.status_code", status.as_u16().into()));
        }
        if let Some(detail) = report.outcome.detail() {
            attributes.push(("stuut_cache.detail", detail.into()));
        }
        let mut name = method.to_owned();
        if let Some(route) = report.route {
            let route = self.observer.metrics.requests.route(route);
            name = format!("{method} {route}");
            attributes.push(("http.route", route.into()));
        }
        let has_failed = status.is_none_or(|status| status.is_server_error());
        span.end(name, has_failed, attributes);
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let Self {
            observer, report, ..
        } = &*self;
        if self.unsent > 0 {
            let account = self.guard.account();
            account.release_unsent(self.unsent, self.unsent);
        }
        let metrics = &observer.metrics;
        let took = observer.clock.mono().saturating_sub(self.at.mono);
        let label = report.outcome.label();
        metrics
            .requests
            .count(report.route, &self.method, self.status, label);
        let trace = self.span.as_ref().and_then(Span::recorded_trace);
        let ended = Ended {
            began: self.at.wall,
            took,
            trace,
            id: &self.id,
        };
        metrics.request_duration.observe(report.route, label, ended);
        metrics.response_bytes.of(label).inc_by(self.bytes);
        metrics.in_flight.dec();
        if let Some(span) = self.span.as_ref().filter(|_| trace.is_some()) {
            self.end_span(span);
        }
        let Some(access) = &observer.access else {
            return;
        };
        let record = AccessRecord {
            at: self.at.wall,
            took,
            id: self.id.clone(),
            client: self.client,
            method: self.method.clone(),
            version: self.version,
            status: self.status,
            outcome: report.outcome,
            upstream: report.upstream,
            bytes: self.bytes,
            complete: self.complete,
            scope: report.scope,
        };
        let path = self.target.as_ref().map_or(Cow::default(), logged_path);
        let route = report
            .route
            .map_or("", |route| metrics.requests.route(route));
        let agent = self.agent.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        let view = report.view.as_ref().map_or("", View::as_str);
        let texts = [
            path.as_bytes(),
            route.as_bytes(),
            &agent[..agent.len().min(MAX_AGENT)],
            view.as_bytes(),
            report.error.as_deref().unwrap_or_default().as_bytes(),
        ];
        access.push(record, texts);
    }
}

/// A response to HEAD has no body, whatever made it (RFC 9110 §9.3.2): over HTTP/2, hyper would send
/// one. Of a body of ours the length stays; a 204 or 304 has none, not even 0 (§8.6).
fn remove_body(response: &mut Response<Body>) {
    let body = &mut response.body_mut().content;
    let removed = std::mem::replace(body, Content::Whole(Bytes::new()));
    if let Content::Whole(bytes) = removed
        && has_length(response.status())
    {
        let length = HeaderValue::from(bytes.len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
}
