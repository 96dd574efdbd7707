//! Forwarding past the cache: request and response are streamed unchanged, except for view options and
//! the fields in `upstream::headers`. A write invalidates what it may have changed; `write` handles its response.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body as _;

use super::body::{Body, Content, Report};
use super::error::{CACHE_STATUS, Error, log_failure};
use super::offload::joined;
use super::request::Arrived;
use super::span::{self, SpanEnd};
use super::view::set_skipped;
use super::write::{WriteContext, WriteResponse, WrittenPaths};
use crate::cache::shared::Shared;
use crate::cache::{Invalidation, Reach, Store};
use crate::clock::Clock;
use crate::label::Label as _;
use crate::outcome::{Fault, Outcome};
use crate::policy::{self, TokenStatus};
use crate::request::{Bypass, Bypassed, RouteId, Routes, Scope};
use crate::telemetry::{InvalidationCause, Metrics, RequestId};
use crate::upstream::{self, FetchError, ResponseStream, Upstream, headers};

/// Forwards requests.
#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    pub(super) store: Arc<Store>,
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) routes: Routes,
    /// How long the origin may still be applying an unanswered write (`upstream.total_timeout`).
    pub(super) pending_time: Duration,
    /// `upstream.forward_timeout`.
    pub(super) forward_timeout: Duration,
    /// `freshness.write_settling`.
    pub(super) write_settling: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

impl Forwarder {
    /// Forwards a request, and returns the origin's response.
    ///
    /// A write runs to completion on its own task: its effect on the store must not depend on
    /// whether the client stays connected.
    pub(super) async fn forward(
        self: &Arc<Self>,
        arrived: Arrived,
        scope: Option<Scope>,
        bypassed: Bypassed,
    ) -> Response<Body> {
        self.metrics.bypass.of(bypassed.reason).inc();
        if !policy::is_unsafe(&arrived.head.method) {
            return self.exchange(arrived, scope, bypassed).await;
        }
        let forwarder = Arc::clone(self);
        let (method, uri) = (arrived.head.method.clone(), arrived.head.uri.clone());
        let exchange = Box::pin(async move {
            let exchange = AssertUnwindSafe(forwarder.exchange(arrived, scope, bypassed));
            exchange.catch_unwind().await.unwrap_or_else(|panic| {
                // The origin may have received the request.
                let lost = Err(FetchError::Panicked);
                let path = uri.path();
                let accepted = scope.as_ref();
                let accepted = accepted.filter(|token| forwarder.store.is_accepted(token));
                let (announced, _) = forwarder.invalidate(&method, path, accepted, &lost);
                if let Some(invalidation) = announced {
                    forwarder.shared.announce_later(invalidation);
                }
                resume_unwind(panic)
            })
        });
        joined(tokio::spawn(exchange)).await
    }

    async fn exchange(
        &self,
        arrived: Arrived,
        scope: Option<Scope>,
        bypassed: Bypassed,
    ) -> Response<Body> {
        let Arrived {
            mut head,
            body,
            id,
            at,
            ..
        } = arrived;
        let (reason, has_options) = (bypassed.reason, bypassed.without_options.is_some());
        let target = bypassed.without_options;
        let target = target.or_else(|| head.uri.path_and_query().cloned());
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        headers::adapt_request(&mut head.headers, head.version);
        if body.is_end_stream() && head.version == Version::HTTP_2 {
            headers::declare_empty(&head.method, &mut head.headers);
        }
        // Overwrites an invalid id of the client, which the log does not contain either.
        head.headers.insert(RequestId::FIELD, id.to_header());
        let span = span::begin(&mut head.headers, &head.extensions);
        let method = head.method.clone();
        let accepted = scope.as_ref();
        let accepted = accepted.filter(|token| self.store.is_accepted(token));
        let began = self.clock.mono();
        let result = self.upstream.forward(accepted, &target, head, body).await;
        let took = self.clock.mono().saturating_sub(began);
        let end = match &result {
            Ok(response) => SpanEnd::Answered(response.status(), "forwarded"),
            Err(source) => SpanEnd::Failed(source.fault()),
        };
        end.record(span.as_ref(), &method, self.upstream.origin());
        if let (Some(token), Ok(response)) = (&scope, &result) {
            let status = response.status();
            self.apply_status(token, &method, target.path(), status, at.mono)
                .await;
        }
        let known = match &scope {
            Some(token) if self.is_known(token, &method, &result).await => Some(token),
            _ => None,
        };
        let (invalidation, written) = self.invalidate(&method, target.path(), known, &result);
        let is_proven = written.as_ref().is_none_or(|written| written.is_proven);
        let announced = async {
            match invalidation {
                Some(invalidation) if is_proven => drop(self.shared.announce(invalidation).await),
                Some(invalidation) => {
                    let announced = self
                        .shared
                        .announce_for(scope.as_ref(), invalidation, false);
                    announced.await;
                }
                None => {}
            }
        };
        let route = self.routes.find(target.path());
        match result {
            Ok(mut response) => {
                if has_options {
                    set_skipped(response.headers_mut(), reason.as_str());
                }
                let mut response = self.respond(response, written, reason, route, scope.as_ref());
                id.complete(response.headers_mut());
                let body = response.body_mut();
                body.report.upstream = Some(took);
                match &mut body.content {
                    Content::Written(written) => written.begin(announced).await,
                    _ => announced.await,
                }
                response
            }
            Err(source) => {
                announced.await;
                log_failure(&id, &source);
                let why = reason.into();
                Error::Fetch { source, why }.into_response(
                    &id,
                    route,
                    scope.map(|scope| scope.id()),
                )
            }
        }
    }

    /// Applies the effect of a response on the token of its request, which was sent at `sent`.
    async fn apply_status(
        &self,
        token: &Scope,
        method: &Method,
        path: &str,
        status: StatusCode,
        sent: Duration,
    ) {
        match policy::token_status(method, status) {
            TokenStatus::Accepted if self.routes.proves_acceptance(path) => {
                self.store.accept(token, sent);
            }
            TokenStatus::Refused => {
                let is_accepted = self.store.refuse(token, self.clock.mono());
                let refused = Invalidation::Scope(*token);
                self.shared
                    .announce_for(Some(token), refused, is_accepted)
                    .await;
            }
            TokenStatus::ResourceRefused => {
                let refused = Invalidation::of_resource(token, path);
                self.store.refuse_resource(&refused, self.clock.mono());
                let is_accepted = self.store.is_accepted(token);
                self.shared
                    .announce_for(Some(token), refused, is_accepted)
                    .await;
            }
            TokenStatus::Accepted | TokenStatus::Unknown => {}
        }
    }

    /// Whether the origin has accepted the token lately. Only for a write that may have had no effect,
    /// the other replicas are asked as well.
    async fn is_known(
        &self,
        token: &Scope,
        method: &Method,
        result: &Result<Response<ResponseStream>, FetchError>,
    ) -> bool {
        let is_open = match result {
            Ok(response) => {
                response.status().is_redirection() || response.status().is_server_error()
            }
            Err(error) => !upstream::not_sent(error.fault()),
        };
        self.store.is_accepted(token)
            || policy::is_unsafe(method) && is_open && self.shared.is_known(token).await
    }

    fn respond(
        &self,
        response: Response<ResponseStream>,
        written: Option<WrittenPaths>,
        reason: Bypass,
        route: Option<RouteId>,
        scope: Option<&Scope>,
    ) -> Response<Body> {
        let (mut parts, mut stream) = response.into_parts();
        self.upstream.localise(&mut parts.headers);
        headers::adapt_response(&mut parts.headers, parts.version);
        let outcome = Outcome::Bypassed {
            reason,
            status: parts.status.as_u16(),
        };
        parts.headers.append(CACHE_STATUS, outcome.cache_status());
        let upload = stream.upload.take();
        let content = match written {
            Some(written) if !stream.is_end_stream() || upload.is_some() => {
                let context = WriteContext {
                    shared: Arc::clone(&self.shared),
                    clock: self.clock.clone(),
                    rest_timeout: self.forward_timeout,
                };
                let response = WriteResponse::new(stream, upload, written, context);
                Content::Written(Box::new(response))
            }
            _ => Content::Stream(Box::new(stream)),
        };
        let report = Report {
            route,
            scope: scope.map(Scope::id),
            ..outcome.into()
        };
        let mut response = Response::new(Body { content, report });
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        response
    }

    /// Invalidates what a write may have changed, unless its response rules a change out; responses
    /// fetched from these paths are not stored for a while. Without a usable response that is longer:
    /// the origin may still apply the write. Returns what the other replicas must invalidate, and the
    /// paths, if they are known from a response.
    ///
    /// A write of unknown result counts only from an accepted scope: without that, anyone could
    /// invalidate every call for everyone by breaking off requests that the origin would refuse.
    fn invalidate(
        &self,
        method: &Method,
        path: &str,
        token: Option<&Scope>,
        result: &Result<Response<ResponseStream>, FetchError>,
    ) -> (Option<Invalidation>, Option<WrittenPaths>) {
        if !policy::is_unsafe(method) {
            return (None, None);
        }
        let written = |status: StatusCode, fields: &HeaderMap| WrittenPaths {
            store: Arc::clone(&self.store),
            paths: policy::written_paths(method, path, status, fields, self.upstream.origin()),
            // Without an accepted token, anyone could invalidate a collection and keep it out of the
            // store, by writes that the origin redirects.
            below: token.is_some() && !policy::adds_below(method),
            settling: match token {
                Some(_) => policy::settling(status, self.write_settling),
                None => Duration::ZERO,
            },
            token: token.copied(),
            is_proven: token.is_some() || status.is_success(),
            pending_time: self.pending_time,
        };
        let now = self.clock.mono();
        match result {
            // The 5xx may be a gateway's: the origin behind it may have applied the write, or may yet.
            Ok(response) if response.status().is_server_error() => {}
            Ok(response) => {
                let written = written(response.status(), response.headers());
                if written.is_empty() {
                    return (None, None);
                }
                let invalidation = written.invalidate(now, written.settling);
                return (Some(invalidation), Some(written));
            }
            Err(error) if upstream::not_sent(error.fault()) => return (None, None),
            Err(_) => {}
        }
        if token.is_none() {
            return (None, None);
        }
        let invalidation = match result {
            Err(error) if error.fault() == Fault::RequestBody => {
                // The origin got an incomplete request. If it applies partial bodies, then only to
                // the target itself.
                let here = Invalidation::Paths {
                    paths: vec![(policy::canonical_path(path).into_owned(), Reach::Here)],
                    writer: token.copied(),
                    pending: self.pending_time,
                };
                if self.store.invalidate(&here, now) {
                    self.store.count_invalidation(InvalidationCause::Write);
                }
                here
            }
            _ => written(StatusCode::OK, &HeaderMap::new()).invalidate(now, self.pending_time),
        };
        (Some(invalidation), None)
    }
}
