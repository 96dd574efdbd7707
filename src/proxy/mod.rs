//! The life of a request, from its parsed head to its response: start with [`Proxy::answer`].
//!
//! Parse; forward past the cache, or look up; serve fresh, serve stale and refresh, or fetch; respond.
//! Each step is a submodule. Connections and timeouts of clients belong to `server`; `cache` and
//! `upstream` do not use each other, they are joined here.

mod body;
mod compress;
mod error;
mod fetch;
mod fetched;
mod forward;
mod lookup;
mod offload;
pub mod openapi;
mod places;
mod request;
pub mod respond;
mod span;
mod view;
mod wait;
mod watched;
mod write;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use http::Response;
use http::request::Parts;
use http_body::Body as _;

use crate::cache::{Levels, Store};
use crate::clock::Clock;
use crate::config::Config;
use crate::in_transit::{Account, Held};
use crate::outcome::{Forward, Level, Outcome, ServedStale};
use crate::policy::{self, Moment};
use crate::request::{Bypass, Bypassed, CacheKey, Call, Parsed, Parser, Peer, Scope, Wait};
use crate::telemetry::{Metrics, NotHit, RequestId, Unserved};
use crate::upstream::Upstream;
use crate::view::OptionsFault;
use fetch::{Basis, Fetcher};
use forward::Forwarder;
use lookup::{Lookup, Unready};
use openapi::OpenApi;
use request::ClientRequest;
use view::{Selected, Views};
use watched::Watched;

pub use body::{Body, Content, Report};
pub use error::{Error, problems};
pub use fetch::FetchesInFlight;
pub use request::Arrived;
pub use watched::WaitingRequests;

/// The proxy: turns each request into a response.
#[derive(Clone, Debug)]
pub struct Proxy {
    parser: Parser,
    store: Arc<Store>,
    fetcher: Arc<Fetcher>,
    forwarder: Arc<Forwarder>,
    views: Views,
    watched: Arc<Watched>,
    openapi: Option<OpenApi>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// The next step for a request whose head is known.
enum Next {
    Respond(Response<Body>),
    Forward(Bypassed),
    MakeReady(Call, Unready),
    Fetch(Call, Forward, Basis),
    Wait(Call, Box<Wait>),
}

impl Proxy {
    /// A proxy built from these parts.
    #[must_use]
    pub fn new(
        config: &Config,
        parser: Parser,
        Levels { store, shared }: Levels,
        upstream: Upstream,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let upstream = Arc::new(upstream);
        let freshness = Arc::new(config.freshness.clone());
        let views = Views::new(&freshness, &store, &metrics, &clock, upstream.ledger());
        let watched = Watched::new(config.limits.waiting, &metrics);
        Self {
            fetcher: Arc::new(Fetcher {
                in_flight: Arc::default(),
                routes: parser.routes().clone(),
                ignored_cookies: Arc::new(config.cache.ignore_set_cookie.clone()),
                forward_headers: config.upstream.forward_headers.clone(),
                total_timeout: config.upstream.total_timeout,
                admission_ttl: config.scope.admission_ttl,
                recheck: config.scope.recheck.0,
                parsing: places::Places::new(metrics.bodies_parsing.clone()),
                store: Arc::clone(&store),
                shared: Arc::clone(&shared),
                watched: Arc::clone(&watched),
                upstream: Arc::clone(&upstream),
                metrics: Arc::clone(&metrics),
                clock: clock.clone(),
                freshness,
            }),
            forwarder: Arc::new(Forwarder {
                routes: parser.routes().clone(),
                pending_time: config.upstream.total_timeout,
                forward_timeout: config.upstream.forward_timeout,
                write_settling: config.freshness.write_settling,
                store: Arc::clone(&store),
                shared,
                upstream,
                metrics: Arc::clone(&metrics),
                clock: clock.clone(),
            }),
            store,
            parser,
            views,
            watched,
            openapi: OpenApi::of(config),
            metrics,
            clock,
        }
    }

    /// The same proxy and store, with the freshness, scope and view settings of `config`.
    ///
    /// # Errors
    ///
    /// The configured views whose lists are invalid.
    pub fn reloaded(&self, config: &Config) -> Result<Self, Vec<OptionsFault>> {
        // Stored responses with other rules than these are assessed again.
        let is_same = self.fetcher.admission_ttl == config.scope.admission_ttl
            && *self.fetcher.ignored_cookies == config.cache.ignore_set_cookie
            && *self.fetcher.freshness == config.freshness;
        let freshness = if is_same {
            Arc::clone(&self.fetcher.freshness)
        } else {
            Arc::new(config.freshness.clone())
        };
        let views = self.views.reloaded(&freshness);
        Ok(Self {
            parser: self.parser.reloaded(config)?,
            fetcher: Arc::new(Fetcher {
                ignored_cookies: Arc::new(config.cache.ignore_set_cookie.clone()),
                admission_ttl: config.scope.admission_ttl,
                recheck: config.scope.recheck.0,
                freshness,
                ..Fetcher::clone(&self.fetcher)
            }),
            forwarder: Arc::new(Forwarder {
                write_settling: config.freshness.write_settling,
                ..Forwarder::clone(&self.forwarder)
            }),
            views,
            openapi: OpenApi::of(config),
            ..self.clone()
        })
    }

    /// The fetches in flight, also of proxies that a reload has replaced or will replace this one by.
    #[must_use]
    pub fn fetches(&self) -> FetchesInFlight {
        FetchesInFlight(Arc::clone(&self.fetcher.in_flight))
    }

    /// The requests that wait, also of proxies that a reload has replaced or will replace this one by.
    #[must_use]
    pub fn waiting(&self) -> WaitingRequests {
        WaitingRequests(Arc::clone(&self.watched))
    }

    /// The other side of a new connection.
    #[must_use]
    pub fn peer(&self, address: IpAddr) -> Peer {
        self.parser.peer(address)
    }

    /// The client of the origin.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.fetcher.upstream
    }

    /// Answers all requests that wait for a state of their call; from now on, none waits.
    pub fn end_waits(&self) {
        self.watched.drain();
    }

    /// Answers a request. Whatever happens is a response.
    ///
    /// Futures that may wait are boxed: a future is as large as its largest branch, and each hit would move the
    /// memory of a fetch.
    ///
    /// # Errors
    ///
    /// Never: tower's `Service` requires a result.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps two copies of its arguments"
    )]
    pub fn answer(
        self: Arc<Self>,
        arrived: Arrived,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send {
        async move {
            Ok(match self.begin(&arrived) {
                Next::Respond(response) => response,
                Next::Forward(bypassed) => Box::pin(self.forward(arrived, bypassed)).await,
                Next::MakeReady(call, unready) => {
                    Box::pin(self.answer_late(call, arrived, Some(unready))).await
                }
                Next::Fetch(call, why, basis) => {
                    Box::pin(self.fetch(call, arrived, why, basis)).await
                }
                Next::Wait(call, wait) => Box::pin(self.wait(call, arrived, wait)).await,
            })
        }
    }

    /// Answers a GET without a body from the store, if that suffices. The head of the response is added to
    /// `text` in HTTP/1.1. `None` has changed nothing: such a request is for [`answer`](Self::answer).
    #[must_use]
    pub fn answer_stored(
        &self,
        head: &Parts,
        id: &RequestId,
        at: Moment,
        account: &Arc<Account>,
        text: &mut Vec<u8>,
    ) -> Option<Response<Body>> {
        let Ok(Parsed::Call(call)) = self.parser.parse(head, false) else {
            return None;
        };
        if call.wait.is_some() {
            return None;
        }
        let rule = self.fetcher.freshness.client_directives;
        let request = ClientRequest::new(&call, head, id, account, rule);
        let lookup = self.look_up_at_once(&request, at).ok()?;
        let (selected, outcome) = self.served(&request, lookup, at, Level::Memory).ok()?;
        self.count_as_accepted(account, &call.token);
        let written = respond::written(&request, &selected, outcome, at, text);
        Some(written)
    }

    /// Answers a request from its head and the store, if they suffice.
    fn begin(&self, arrived: &Arrived) -> Next {
        let has_body = !arrived.body.is_end_stream();
        let mut call = match self.parser.parse(&arrived.head, has_body) {
            Ok(Parsed::Call(call)) => call,
            Ok(Parsed::Bypass(bypassed)) => {
                let openapi = self.openapi.as_ref();
                let document =
                    openapi.and_then(|openapi| openapi.answer(&arrived.head, &arrived.id));
                return document.map_or(Next::Forward(bypassed), Next::Respond);
            }
            Err(refused) => {
                self.metrics.refused.of(refused.why).inc();
                let error = Error::Refused(refused);
                return Next::Respond(error.into_response(&arrived.id, None, None));
            }
        };
        self.count_as_accepted(&arrived.account, &call.token);
        if let Some(wait) = call.wait.take() {
            return Next::Wait(call, wait);
        }
        let request = self.request(&call, arrived);
        match self.look_up_at_once(&request, arrived.at) {
            Ok(lookup) => match self.respond_stored(&request, lookup, arrived.at, Level::Memory) {
                Ok(response) => Next::Respond(response),
                Err((why, basis)) => Next::Fetch(call, why, basis),
            },
            Err(unready) => Next::MakeReady(call, unready),
        }
    }

    async fn forward(&self, arrived: Arrived, bypassed: Bypassed) -> Response<Body> {
        let scope = self.parser.scope(&arrived.head.headers);
        // Of a path on a route, and not of every request.
        if let Bypass::Credential | Bypass::Body | Bypass::Range | Bypass::Condition =
            bypassed.reason
        {
            let (scope, path) = (scope.as_ref().map(Scope::id), arrived.head.uri.path());
            let (why, now) = (Unserved::Bypass(bypassed.reason), arrived.at.mono);
            self.metrics.reasons.record_miss(scope, path, why, now);
        }
        if let Some(token) = &scope {
            self.count_as_accepted(&arrived.account, token);
        }
        self.forwarder.forward(arrived, scope, bypassed).await
    }

    /// Counts what the connection holds as an accepted token's, if this one is accepted.
    fn count_as_accepted(&self, account: &Account, token: &Scope) {
        if !account.is_accepted() && self.store.is_accepted(token) {
            account.accept();
        }
    }

    /// Answers a request later than it arrived, from the store if that suffices.
    async fn answer_late(
        &self,
        call: Call,
        arrived: Arrived,
        unready: Option<Unready>,
    ) -> Response<Body> {
        let request = self.request(&call, &arrived);
        let mut now = self.clock.now();
        let lookup = match unready {
            Some(unready) => self.make_ready(unready, &request, &mut now).await,
            None => self.look_up(&request, &mut now).await,
        };
        match self.respond_stored(&request, lookup, now, Level::Memory) {
            Ok(response) => response,
            Err((why, basis)) => Box::pin(self.fetch(call, arrived, why, basis)).await,
        }
    }

    /// The response without a fetch; `Err` with the reason for one, and what it can revalidate.
    fn respond_stored(
        &self,
        request: &ClientRequest<'_>,
        lookup: Lookup,
        now: Moment,
        level: Level,
    ) -> Result<Response<Body>, (Forward, Basis)> {
        match self.served(request, lookup, now, level) {
            Ok((selected, outcome)) => Ok(respond::stored(request, &selected, outcome, now)),
            Err(_) if request.directives.only_if_cached => Ok(request.fail(Error::OnlyIfCached)),
            Err(lookup) => Err(lookup.basis()),
        }
    }

    /// The stored response that is served without waiting for a fetch; else `Err` with the lookup.
    fn served(
        &self,
        request: &ClientRequest<'_>,
        lookup: Lookup,
        now: Moment,
        level: Level,
    ) -> Result<(Selected, Outcome), Lookup> {
        match lookup {
            Lookup::Fresh(selected, ttl) => {
                let selected = self.views.compressed(request, selected);
                Ok((selected, Outcome::hit(ttl, level)))
            }
            Lookup::Usable(selected, why) => {
                self.fetcher.refresh(request, &selected.entry, None);
                let selected = self.views.compressed(request, selected);
                let outcome = self.stale(&selected, why, now);
                Ok((selected, outcome))
            }
            other => Err(other),
        }
    }

    fn request<'a>(&self, call: &'a Call, arrived: &'a Arrived) -> ClientRequest<'a> {
        let Arrived {
            head, id, account, ..
        } = arrived;
        let rule = self.fetcher.freshness.client_directives;
        ClientRequest::new(call, head, id, account, rule)
    }

    /// Fetches the response, or revalidates the stored one.
    async fn fetch(
        &self,
        mut call: Call,
        mut arrived: Arrived,
        why: Forward,
        basis: Basis,
    ) -> Response<Body> {
        self.record_miss(&call.key, why, basis, arrived.at);
        arrived.compact(&self.fetcher.forward_headers);
        // A copy as well.
        call.key = call.key.clone();
        let request = &self.request(&call, &arrived);
        let _held = Held::new(request.account, request.size());
        let (result, why) = if let Some(result) = self.fetcher.fetch(request, basis).await {
            (result, why)
        } else {
            let mut now = self.clock.now();
            let lookup = self.look_up(request, &mut now).await;
            match self.respond_stored(request, lookup, now, Level::Shared) {
                Ok(response) => return response,
                Err((why, basis)) => {
                    let fetched = Box::pin(self.fetcher.fetch_anew(request, basis));
                    (fetched.await, why)
                }
            }
        };
        self.respond_result(request, result, why).await
    }

    fn record_miss(&self, key: &CacheKey, why: Forward, basis: Basis, now: Moment) {
        let why = match why {
            _ if basis == Basis::NotAdmitted => NotHit::NotAdmitted,
            Forward::Stale => NotHit::Expired,
            Forward::Request => NotHit::Request,
            Forward::VaryMiss => NotHit::OtherVariant,
            Forward::Miss | Forward::Method | Forward::Bypass => self.store.why_nothing(key),
        };
        let (scope, why) = (Some(key.scope().id()), Unserved::NotHit(why));
        self.metrics
            .reasons
            .record_miss(scope, key.path(), why, now.mono);
    }

    fn stale(&self, selected: &Selected, why: ServedStale, now: Moment) -> Outcome {
        self.metrics.stale.of(why).inc();
        let (freshness, limits) = (&selected.entry.freshness, selected.representation.limits);
        let ttl = policy::ttl_seconds(freshness, limits, now);
        Outcome::Stale { ttl, why }
    }
}
