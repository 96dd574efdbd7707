//! The response to a request whose fetch has ended: its result or, if it failed, a stored response.

use http::Response;
use http::header::SET_COOKIE;

use super::Proxy;
use super::body::Body;
use super::error::{self, Error};
use super::fetch::{FetchResult, Fetched};
use super::lookup::Lookup;
use super::request::ClientRequest;
use super::respond;
use crate::outcome::{Forward, Level, Outcome, ServedStale};
use crate::policy;

impl Proxy {
    /// Responds with the result of a fetch, or if it failed with a stored response that may be served then.
    pub(super) async fn respond_result(
        &self,
        request: &ClientRequest<'_>,
        result: FetchResult,
        why: Forward,
    ) -> Response<Body> {
        if result.is_failure()
            && !result.is_stored()
            && let Some(response) = self.stale_if_error(request).await
        {
            return response;
        }
        self.respond_fetched(request, result, why).await
    }

    /// The stored response, if it may be served instead of the failure (RFC 5861 §4).
    ///
    /// Looked up again: since the request arrived, it may have been invalidated or replaced.
    async fn stale_if_error(&self, request: &ClientRequest<'_>) -> Option<Response<Body>> {
        let mut now = self.clock.now();
        let (selected, outcome) = match self.look_up(request, &mut now).await {
            Lookup::Fresh(selected, ttl) => (selected, Outcome::hit(ttl, Level::Memory)),
            Lookup::Usable(selected, why)
            | Lookup::Stale {
                selected,
                on_error: Some(why),
                ..
            } => {
                let why = match why {
                    ServedStale::RecheckFailed => why,
                    _ => ServedStale::OnError,
                };
                let outcome = self.stale(&selected, why, now);
                (selected, outcome)
            }
            Lookup::Stale { .. } | Lookup::NotAdmitted | Lookup::Miss(_) => return None,
        };
        Some(respond::stored(request, &selected, outcome, now))
    }

    async fn respond_fetched(
        &self,
        request: &ClientRequest<'_>,
        result: FetchResult,
        why: Forward,
    ) -> Response<Body> {
        match result {
            FetchResult::Whole(Fetched {
                entry,
                stored,
                status,
                upstream,
                collapsed,
                cookies,
            }) => {
                let selected = self.views.select(request, entry).await;
                let now = self.clock.now();
                let limits = selected.representation.limits;
                let ttl = policy::ttl_seconds(&selected.entry.freshness, limits, now);
                let outcome = Outcome::Fetched {
                    why,
                    status: status.as_u16(),
                    stored: stored.map(|()| ttl),
                    collapsed,
                };
                let mut response = respond::stored(request, &selected, outcome, now);
                response.body_mut().report.upstream = upstream;
                for cookie in cookies {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
                response
            }
            FetchResult::Stream {
                head,
                body,
                reason,
                upstream,
            } => {
                let mut response = respond::streamed(request, head, body, why, reason);
                response.body_mut().report.upstream = Some(upstream);
                response
            }
            FetchResult::Failed(source) => {
                error::log_failure(request.id, &source);
                request.fail(Error::Fetch { source, why })
            }
        }
    }
}
