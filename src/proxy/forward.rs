//! The way past the cache: a request goes to the origin as it is, and its answer comes back as
//! it is. What it does to stored responses on its way is noted here.

use std::ops::Range;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response, StatusCode};

use super::body::{Body, Report};
use super::error::{CACHE_STATUS, Error};
use super::{Arrived, Proxy, refused_token};
use crate::cache::Reach;
use crate::outcome::{Fault, Outcome};
use crate::policy;
use crate::request::Bypass;
use crate::telemetry::RequestId;
use crate::upstream::{self, headers};

impl Proxy {
    /// Sends a request on, and hands back the origin's answer.
    pub(super) async fn forward(&self, arrived: Arrived, reason: Bypass) -> Response<Body> {
        let Arrived {
            mut head, body, id, ..
        } = arrived;
        self.metrics.bypass.of(reason).inc();
        let scope = self.parser.scope(&head.headers);
        let target = head
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        headers::of_forward(&mut head.headers, head.version);
        // Also in place of one that is not usable: the log does not have that either.
        head.headers.insert(RequestId::FIELD, id.to_header());
        let traced = self.trace(&mut head.headers, &head.extensions);

        let write = Write::begin(self, &head.method, target.path());
        let response = match self
            .upstream
            .forward(
                scope.as_ref(),
                head.method.clone(),
                &target,
                head.headers,
                body,
                head.version,
            )
            .await
        {
            Ok(response) => {
                self.end_forward(traced.as_ref(), &head.method, Ok(response.status()));
                response
            }
            Err(source) => {
                self.end_forward(traced.as_ref(), &head.method, Err(source.fault()));
                write.failed(source.fault());
                super::log_failure(&id, &source);
                let route = self.parser.routes().find(target.path());
                return Error::Fetch {
                    source,
                    why: reason.into(),
                }
                .into_response(&id, route, scope.map(|scope| scope.id()));
            }
        };
        let (mut parts, stream) = response.into_parts();
        write.answered(parts.status, &parts.headers);
        if let Some(scope) = scope.filter(|_| refused_token(parts.status)) {
            self.token_refused(&scope);
        }
        headers::of_response(&mut parts.headers, parts.version);
        let outcome = Outcome::Bypassed {
            reason,
            status: parts.status.as_u16(),
        };
        let route = self.parser.routes().find(target.path());
        parts.headers.append(CACHE_STATUS, outcome.cache_status());
        let mut response = Response::new(Body::stream(
            Box::new(stream),
            Report {
                outcome,
                route,
                scope: scope.map(|scope| scope.id()),
            },
        ));
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        response
    }
}

/// An unsafe request on its way (RFC 9111 §4.4).
///
/// Unless the origin says that it did nothing, what it may have changed is voided: also when
/// the client hangs up half-way, or the answer is lost. Then nobody knows whether the origin
/// has acted, or is still to act: for a while nothing that is fetched there is stored.
struct Write<'a> {
    proxy: &'a Proxy,
    method: &'a Method,
    path: &'a str,
    pending: bool,
}

impl<'a> Write<'a> {
    fn begin(proxy: &'a Proxy, method: &'a Method, path: &'a str) -> Self {
        Self {
            proxy,
            method,
            path,
            pending: policy::is_unsafe(method),
        }
    }

    fn failed(mut self, fault: Fault) {
        if upstream::not_sent(fault) {
            // The origin cannot have seen it.
            self.pending = false;
        } else if self.pending && fault == Fault::RequestBody {
            // What came of it was no request. An origin that acts on parts can only have done so
            // at the place that was named.
            self.pending = false;
            let path = std::iter::once((self.path, Reach::Here));
            self.proxy
                .store
                .invalidate_written(path, Some(&self.doubt()));
        }
    }

    fn answered(mut self, status: StatusCode, response: &HeaderMap) {
        // A 5xx may come from a gateway: the origin behind it may have acted, or be at it.
        if self.pending && !status.is_server_error() {
            self.pending = false;
            self.void(status, response, None);
        }
    }

    fn void(&self, status: StatusCode, response: &HeaderMap, doubt: Option<&Range<Duration>>) {
        let origin = self.proxy.upstream.origin();
        let written = policy::invalidated(self.method, self.path, status, response, origin);
        let below = !policy::adds_below(self.method);
        let paths = written.iter().flat_map(|path| {
            let here = policy::self_and_above(path).map(|path| (path, Reach::Here));
            here.chain(below.then_some((path.as_str(), Reach::Below)))
        });
        self.proxy.store.invalidate_written(paths, doubt);
    }

    /// For how long the origin may still be at it: as long as we would wait for any answer.
    fn doubt(&self) -> Range<Duration> {
        let now = self.proxy.clock.now().mono;
        now..now + self.proxy.settings.total_timeout
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if self.pending {
            self.void(StatusCode::OK, &HeaderMap::new(), Some(&self.doubt()));
        }
    }
}
