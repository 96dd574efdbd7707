//! Fetching for the cache: coalesces requests, and completes each fetch even if its client leaves.
//!
//! The request to the origin is in `origin`, reading and storing the response in `fill`, what other
//! replicas have fetched in `shared`; `reassess` is for responses that were stored before a reload.

mod fill;
mod led;
mod origin;
mod reassess;
mod result;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};

use super::places::Places;
use super::request::ClientRequest;
use super::span;
use super::watched::Watched;
use crate::cache::shared::{Position, Shared, Ticket};
use crate::cache::{
    Acceptance, Entry, Fence, Generation, InFlight, Leader, Recheck, Role, Store, StoreLookup,
};
use crate::clock::{Clock, Deadline};
use crate::config::{self, CookieName};
use crate::policy::{self, RequestDirectives, Sharing};
use crate::request::{CacheKey, RouteId, Routes};
use crate::telemetry::trace::Span;
use crate::telemetry::{Metrics, RequestId};
use crate::upstream::{FetchError, Upstream, headers};

use led::Led;

pub(super) use result::{FetchResult, Fetched, SharedResult};

/// Fetches responses and stores them.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    pub(super) in_flight: Arc<InFlight<SharedResult>>,
    pub(super) store: Arc<Store>,
    pub(super) shared: Arc<Shared>,
    pub(super) watched: Arc<Watched>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) routes: Routes,
    pub(super) freshness: Arc<config::Freshness>,
    /// `cache.ignore_set_cookie`.
    pub(super) ignored_cookies: Arc<Vec<CookieName>>,
    /// `upstream.forward_headers`.
    pub(super) forward_headers: Vec<HeaderName>,
    /// `upstream.total_timeout`.
    pub(super) total_timeout: Duration,
    /// `scope.admission_ttl`.
    pub(super) admission_ttl: Duration,
    /// `scope.recheck`.
    pub(super) recheck: Option<Duration>,
    /// Parses large bodies. Not shared with views: one client can request any number of those.
    pub(super) parsing: Places,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// The fetches in flight, for operators.
#[derive(Debug)]
pub struct FetchesInFlight(pub(super) Arc<InFlight<SharedResult>>);

impl FetchesInFlight {
    /// The generations that they began under.
    pub fn generations(&self) -> Vec<Generation> {
        self.0.generations()
    }
}

/// The stored response that a fetch can revalidate. `origin` looks it up when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// No stored response.
    Nothing,
    /// A response that this token may see.
    Stored,
    /// A response that only other tokens may see: a 304 to its strong entity tag admits this one.
    NotAdmitted,
}

/// A fetch that has not completed. Boxed: the futures that it passes through have two copies of their
/// arguments each.
#[derive(Debug)]
struct FetchJob {
    key: CacheKey,
    route: RouteId,
    directives: RequestDirectives,
    /// The fields of the request to the origin.
    sent: HeaderMap,
    basis: Basis,
    /// How far the log of the replicas was applied when the fence was taken.
    position: Option<Position>,
    fence: Fence,
    /// How the response may come from other replicas, and go to them.
    sharing: SharedUse,
    /// The fetch, as the other replicas see it.
    ticket: Option<Ticket>,
    /// Of the wait for another replica, and of all requests to the origin together.
    deadline: Deadline,
    span: Option<Span>,
}

/// The use of the shared level by a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SharedUse {
    /// None.
    Off,
    /// The response is fetched in any case, and stored for the other replicas.
    StoreOnly,
    /// A fresh response suffices.
    Fresh,
    /// A fresh response suffices, if it also rechecks its token.
    Recheck,
}

impl Fetcher {
    /// Fetches the response, or waits for a fetch in flight; `None` if another replica has fetched it, and
    /// it is in the store now.
    ///
    /// Fetches are boxed: few requests fetch, and their futures are large.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        request: &ClientRequest<'_>,
        basis: Basis,
    ) -> Option<FetchResult> {
        let mut job = self.job(request, basis);
        let directives = &request.directives;
        if directives.no_store {
            // A response that must not be stored must not be shared either.
            return Some(Box::pin(self.run(job, None)).await);
        }
        let (key, generation) = (request.call.coalescing_key(), job.fence.generation());
        let role = if directives.no_cache || directives.max_age == Some(Duration::ZERO) {
            // The origin may have answered an earlier fetch before this request arrived.
            job.sharing = SharedUse::StoreOnly;
            Role::Leader(self.in_flight.lead(&key, generation))
        } else {
            job.sharing = SharedUse::Fresh;
            self.in_flight
                .join_or_lead(&key, generation, self.clock.mono())
        };
        let waiter = match role {
            Role::Leader(leader) => return Led::new(self, job, leader, None).await,
            Role::Alone(leader) => {
                job.sharing = SharedUse::Off;
                return Some(Box::pin(self.run(job, Some(leader))).await);
            }
            Role::Waiter(waiter) => waiter,
        };
        // A waiter needs no more of the job.
        let FetchJob { sent, .. } = *job;
        // A waiter waits at most as long as its own fetch could take.
        let deadline = self.upstream.deadline();
        let shared = self.clock.timeout_at(deadline, waiter.result()).await;
        let result = match shared {
            Some(Some(Ok(Some(fetched)))) if fetched.answers(&sent) => {
                Some(FetchResult::Whole(fetched))
            }
            Some(Some(Ok(None))) => None,
            Some(Some(Err(error))) => Some(FetchResult::Failed(error)),
            // Not shareable, or the leader was dropped: all waiters fetch concurrently, not in turn.
            Some(_) => {
                let job = self.job(request, basis);
                return Some(Box::pin(self.run(job, None)).await);
            }
            None => {
                return Some(FetchResult::Failed(FetchError::WaitTimeout(
                    self.total_timeout,
                )));
            }
        };
        self.metrics.collapsed.inc();
        result
    }

    /// Fetches the response from the origin, without waiting for a fetch in flight: what other replicas
    /// have stored did not suffice.
    pub(super) async fn fetch_anew(
        self: &Arc<Self>,
        request: &ClientRequest<'_>,
        basis: Basis,
    ) -> FetchResult {
        let mut job = self.job(request, basis);
        job.sharing = SharedUse::StoreOnly;
        // Nothing is taken, but the response is shared.
        self.take_shared(&mut job).await;
        self.run(job, None).await
    }

    /// Refreshes a fresh response in the background, to learn whether the origin still accepts its
    /// token; unless such a recheck of the token is in progress.
    pub(super) fn begin_recheck(self: &Arc<Self>, request: &ClientRequest<'_>, stored: &Entry) {
        let acceptance = stored.acceptance();
        if let Some(recheck) = acceptance.and_then(Acceptance::begin_recheck) {
            self.refresh(request, stored, Some(recheck));
        }
    }

    /// Refreshes a stored response in the background, with the token of the request; unless a fetch is
    /// in flight, or the request has `no-store`. After a failure there is one retry.
    pub(super) fn refresh(
        self: &Arc<Self>,
        request: &ClientRequest<'_>,
        stored: &Entry,
        recheck: Option<Recheck>,
    ) {
        let now = self.clock.mono();
        let is_retry = stored.has_failed_recently(now);
        if request.directives.no_store || is_retry && !stored.claim_retry() {
            return;
        }
        let mut job = self.job(request, Basis::Stored);
        job.sharing = match recheck {
            Some(_) => SharedUse::Recheck,
            None => SharedUse::Fresh,
        };
        let (key, generation) = (request.call.coalescing_key(), job.fence.generation());
        if let Some(leader) = self.in_flight.lead_first(&key, generation) {
            if recheck.is_some() {
                self.metrics.rechecks.inc();
            }
            if is_retry {
                stored.retry_began(now.saturating_add(self.total_timeout));
            }
            tokio::spawn(Led::new(self, job, leader, recheck));
        }
    }

    fn job(&self, request: &ClientRequest<'_>, basis: Basis) -> Box<FetchJob> {
        let (call, head) = (request.call, request.head);
        let mut sent = request.sent(&self.forward_headers);
        for name in headers::left_out(&head.headers, &sent) {
            self.metrics.fields_left_out.inc();
            self.metrics.left_out.count(name);
        }
        // Overwrites an invalid id of the client, which the log does not contain either.
        sent.insert(RequestId::FIELD, request.id.to_header());
        let span = span::begin(&mut sent, &head.extensions);
        // Before the fence: what is invalidated after this position must be looked for.
        let position = self.shared.position();
        let fence = self.store.fence(&call.key, &call.token, self.clock.mono());
        Box::new(FetchJob {
            key: call.key.clone(),
            route: call.route,
            directives: request.directives,
            sent,
            basis,
            position,
            fence,
            sharing: SharedUse::Off,
            ticket: None,
            deadline: self.upstream.deadline(),
            span,
        })
    }

    /// Takes the response from another replica, or fetches it.
    async fn take_or_run(
        &self,
        mut job: Box<FetchJob>,
        leader: Leader<SharedResult>,
    ) -> Option<FetchResult> {
        if self.take_shared(&mut job).await {
            leader.complete(Some(Ok(None)), self.clock.mono());
            return None;
        }
        Some(self.run(job, Some(leader)).await)
    }

    /// Sends the request, stores the response if that is allowed, and completes the fetch for its
    /// waiters: at the head already if the response is not shareable.
    async fn run(
        &self,
        mut job: Box<FetchJob>,
        mut leader: Option<Leader<SharedResult>>,
    ) -> FetchResult {
        let renewal = self.shared.renewal(job.ticket.as_ref());
        let result = tokio::select! {
            result = self.fetch_from_origin(&mut job, &mut leader) => result,
            never = renewal => match never {},
        };
        self.share(&mut job, &result);
        if let Some(leader) = leader {
            leader.complete(result.shared(), self.clock.mono());
        }
        let end = result.span_end();
        end.record(job.span.as_ref(), &Method::GET, self.upstream.origin());
        result
    }

    async fn fetch_from_origin(
        &self,
        job: &mut FetchJob,
        leader: &mut Option<Leader<SharedResult>>,
    ) -> FetchResult {
        let deadline = job.deadline;
        let mut result = self.attempt(job, leader, deadline, true).await;
        if matches!(result, FetchResult::Failed(FetchError::ContentCoding(_))) {
            // Only the proxy has requested the coding; the client may get the body without it.
            self.renew_fence(job);
            result = self.attempt(job, leader, deadline, false).await;
        }
        if job.basis == Basis::Stored
            && let StoreLookup::Entry(stored) = self.find(job)
        {
            stored.fetch_ended(result.is_origin_failure(), self.clock.mono());
        }
        result
    }

    /// One request and its response; without `Accept-Encoding` unless `accepts_coding`.
    async fn attempt(
        &self,
        job: &mut FetchJob,
        leader: &mut Option<Leader<SharedResult>>,
        deadline: Deadline,
        accepts_coding: bool,
    ) -> FetchResult {
        match self.request(job, deadline, accepts_coding).await {
            Ok((response, body)) => {
                if response.is_unshareable {
                    self.give_up_sharing(job, policy::is_failure(response.head.status));
                    if let Some(leader) = leader.take() {
                        leader.complete(None, self.clock.mono());
                    }
                }
                self.fill(job, response, body).await
            }
            Err(error) => FetchResult::Failed(error),
        }
    }
}

// === impl FetchJob ===

impl FetchJob {
    /// The tokens that may be served the response.
    fn sharing(&self) -> Sharing {
        if self.fence.is_shared() {
            Sharing::Admitted
        } else {
            Sharing::OneToken
        }
    }
}
