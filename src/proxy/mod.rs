//! The hallway: the life of a request, read straight down.
//!
//! Parse; past the cache, or look up; fresh, usable while it is refreshed, or fetch; respond.
//! Every question on the way is answered by a room below this one. The rooms for stored
//! responses and for the origin are strangers to each other; they meet here.

mod body;
mod coded;
mod error;
mod exchange;
mod fetch;
mod forward;
pub mod respond;
mod show;
mod traced;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::cache::{Entry, InFlight, Representation, Store, StoreLookup};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::label::Label as _;
use crate::outcome::{Forward, Outcome, ServedStale};
use crate::policy::{self, Moment, RequestDirectives, Verdict};
use crate::request::{Call, Parsed, Parser, Scope};
use crate::telemetry::trace::Tracer;
use crate::telemetry::{Metrics, RequestId};
use crate::upstream::{FetchError, Upstream, headers};
use crate::view::OptionsFault;
use fetch::{Fetched, Landing};
use respond::Ask;

pub use body::{Body, Content, Report};
pub use error::{Error, problems};

/// A request that has come in.
#[derive(Debug)]
pub struct Arrived<B = Incoming> {
    /// Its head, as hyper has read it.
    pub head: Parts,
    /// Its body, as it comes.
    pub body: B,
    /// Its id.
    pub id: RequestId,
    /// When its head was complete.
    pub at: Moment,
}

/// The proxy: what happens to a request between the sockets and the rooms.
#[derive(Clone, Debug)]
pub struct Proxy {
    parser: Parser,
    store: Arc<Store>,
    flights: Arc<InFlight<Landing>>,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    clock: Clock,
    freshness: Arc<config::Freshness>,
    settings: config::Upstream,
    admission_ttl: Duration,
    /// Places for deriving views of large bodies.
    views: Arc<Semaphore>,
    /// Places for reading large bodies that have come in: views, of which one client can ask for
    /// as many as it likes, do not hold them up.
    fills: Arc<Semaphore>,
    /// Places for putting bodies into a content coding.
    codings: Arc<Semaphore>,
    /// Where spans are collected.
    tracer: Option<Tracer>,
}

/// A stored response, and the part of it that a client wants.
#[derive(Debug)]
struct Shown {
    entry: Arc<Entry>,
    part: Arc<Representation>,
}

/// What the store has for a request.
enum Lookup {
    /// Serve it; it stays fresh for so long.
    Fresh(Shown, Duration),
    /// Serve it, and refresh it in the background.
    Usable(Shown, ServedStale),
    /// Ask the origin about it.
    Stale {
        why: Forward,
        shown: Shown,
        /// Whether it may be served if the origin fails.
        stands_in: bool,
    },
    /// Ask the origin whether this token may see it too.
    NotAdmitted(Arc<Entry>),
    /// Ask the origin for the whole: nothing is stored, or no 304 makes it good again.
    Miss(Forward),
}

impl Proxy {
    /// A proxy of these parts.
    #[must_use]
    pub fn new(
        config: &Config,
        parser: Parser,
        store: Arc<Store>,
        upstream: Upstream,
        metrics: Arc<Metrics>,
        clock: Clock,
        tracer: Option<Tracer>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            parser,
            store,
            flights: Arc::default(),
            upstream: Arc::new(upstream),
            metrics,
            clock,
            freshness: Arc::new(config.freshness.clone()),
            settings: config.upstream.clone(),
            admission_ttl: config.scope.admission_ttl,
            views: Arc::new(Semaphore::new(cores)),
            fills: Arc::new(Semaphore::new(cores)),
            codings: Arc::new(Semaphore::new(cores.div_ceil(2))),
            tracer,
        }
    }

    /// The same proxy, with the same store, by other rules for freshness, scopes and views.
    ///
    /// # Errors
    ///
    /// The configured views whose lists cannot be read.
    pub fn renewed(&self, config: &Config) -> Result<Self, Vec<OptionsFault>> {
        Ok(Self {
            parser: self.parser.renewed(config)?,
            freshness: Arc::new(config.freshness.clone()),
            admission_ttl: config.scope.admission_ttl,
            ..self.clone()
        })
    }

    /// Answers a request. Whatever happens is a response.
    ///
    /// What waits for the origin is boxed here and in what follows: a future is as large as its
    /// largest branch, and a hit would be moved about with room for a fetch. For the same reason
    /// head and call are borrowed: an async function keeps two places for what it is given.
    ///
    /// # Errors
    ///
    /// None: tower asks for a result.
    pub fn answer(
        self: Arc<Self>,
        arrived: Arrived,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send {
        let has_body = !arrived.body.is_end_stream();
        async move {
            let parsed = self.parser.parse(&arrived.head, has_body);
            let Arrived { head, id, at, .. } = &arrived;
            Ok(match parsed {
                Ok(Parsed::Call(call)) => self.answer_call(&call, head, id, *at).await,
                Ok(Parsed::Bypass(reason)) => Box::pin(self.forward(arrived, reason)).await,
                Err(refused) => {
                    self.metrics.refused.of(refused.why).inc();
                    Error::Refused(refused).into_response(id, None, None)
                }
            })
        }
    }

    async fn answer_call(
        self: &Arc<Self>,
        call: &Call,
        head: &Parts,
        id: &RequestId,
        mut now: Moment,
    ) -> Response<Body> {
        let directives = if call.directed {
            RequestDirectives::read(&head.headers, self.freshness.client_directives)
        } else {
            RequestDirectives::default()
        };
        let ask = Ask { call, head };
        let (why, known) = match self.look_up(&ask, &directives, &mut now).await {
            Lookup::Fresh(shown, ttl) => {
                let shown = self.coded(&ask, shown);
                return respond::hit(&ask, &shown, ttl, now);
            }
            Lookup::Usable(shown, reason) => {
                self.refresh(call, head, &shown.entry, id);
                let shown = self.coded(&ask, shown);
                return respond::stale(&ask, &shown, reason, now);
            }
            Lookup::Stale { why, shown, .. } => (why, Some(shown.entry)),
            Lookup::NotAdmitted(entry) => (Forward::Miss, Some(entry)),
            Lookup::Miss(why) => (why, None),
        };
        if directives.only_if_cached {
            return Error::OnlyIfCached.into_response(
                id,
                Some(call.route),
                Some(call.key.scope().id()),
            );
        }
        Box::pin(self.ask_origin(&ask, &directives, why, known, id)).await
    }

    /// Asks the origin, about what is stored if something is.
    async fn ask_origin(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        directives: &RequestDirectives,
        why: Forward,
        known: Option<Arc<Entry>>,
        id: &RequestId,
    ) -> Response<Body> {
        let fetched = self.fetch(ask.call, ask.head, known.as_ref(), id).await;
        if known.is_some()
            && fetched.is_failure()
            && let Some(response) = self.stand_in(ask, directives).await
        {
            return response;
        }
        self.respond_fetched(ask, fetched, why, id).await
    }

    /// What is served in place of an origin that fails.
    ///
    /// The store is asked again: what it had when the request came in may be void by now, or
    /// have been followed by something newer.
    async fn stand_in(
        &self,
        ask: &Ask<'_>,
        directives: &RequestDirectives,
    ) -> Option<Response<Body>> {
        let mut now = self.clock.now();
        match self.look_up(ask, directives, &mut now).await {
            Lookup::Fresh(shown, ttl) => Some(respond::hit(ask, &shown, ttl, now)),
            Lookup::Usable(shown, _)
            | Lookup::Stale {
                shown,
                stands_in: true,
                ..
            } => Some(respond::stale(ask, &shown, ServedStale::OnError, now)),
            Lookup::Stale { .. } | Lookup::NotAdmitted(_) | Lookup::Miss(_) => None,
        }
    }

    /// What the store has for this request, in the view it asks for. Where that has to be derived
    /// first, `now` is later than before.
    async fn look_up(
        &self,
        ask: &Ask<'_>,
        directives: &RequestDirectives,
        now: &mut Moment,
    ) -> Lookup {
        let sent = || {
            headers::of_fetch(
                &ask.head.headers,
                ask.head.version,
                &self.settings.forward_headers,
            )
        };
        let (key, token) = (&ask.call.key, &ask.call.holder);
        let entry = match self.store.find(key, token, now.mono, sent) {
            StoreLookup::Entry(entry) => entry,
            StoreLookup::NotAdmitted(entry) => return Lookup::NotAdmitted(entry),
            StoreLookup::OtherVariant => return Lookup::Miss(Forward::VaryMiss),
            StoreLookup::Nothing => return Lookup::Miss(Forward::Miss),
        };
        let part = if let Some(part) = self.remembered(&entry, ask.call.view.as_ref()) {
            part
        } else {
            let part = Box::pin(self.show(&ask.call.key, &entry, ask.call.view.as_ref())).await;
            // Much may have happened while it was derived.
            *now = self.clock.now();
            if !self.store.is_current(&entry.generation) || !entry.admits(token, now.mono) {
                return Lookup::Miss(Forward::Miss);
            }
            part
        };
        let now = *now;
        let verdict = policy::verdict(&entry.freshness, part.cap, directives, now);
        let shown = Shown { entry, part };
        let why = |shown: &Shown| {
            if policy::is_fresh(&shown.entry.freshness, shown.part.cap, now) {
                Forward::Request
            } else {
                Forward::Stale
            }
        };
        match verdict {
            Verdict::Fresh { ttl } => Lookup::Fresh(shown, ttl),
            Verdict::Usable { .. } if directives.max_stale.is_some() => {
                Lookup::Usable(shown, ServedStale::Accepted)
            }
            Verdict::Usable { .. } => Lookup::Usable(shown, ServedStale::Revalidating),
            Verdict::Stale { on_error_until } => Lookup::Stale {
                why: why(&shown),
                shown,
                stands_in: on_error_until.is_some(),
            },
            Verdict::Unusable => Lookup::Miss(why(&shown)),
        }
    }

    async fn respond_fetched(
        &self,
        ask: &Ask<'_>,
        fetched: Fetched,
        why: Forward,
        id: &RequestId,
    ) -> Response<Body> {
        match fetched {
            Fetched::Whole {
                entry,
                stored,
                status,
                collapsed,
            } => {
                let part = self
                    .show(&ask.call.key, &entry, ask.call.view.as_ref())
                    .await;
                let now = self.clock.now();
                let ttl = policy::ttl_seconds(&entry.freshness, part.cap, now);
                let outcome = Outcome::Fetched {
                    why,
                    status,
                    stored: stored.map(|()| ttl),
                    collapsed,
                };
                respond::stored(ask, &Shown { entry, part }, outcome, now)
            }
            Fetched::Stream { head, body, reason } => {
                respond::streamed(ask, head, body, why, reason)
            }
            Fetched::Failed(source) => {
                log_failure(id, &source);
                Error::Fetch { source, why }.into_response(
                    id,
                    Some(ask.call.route),
                    Some(ask.call.key.scope().id()),
                )
            }
        }
    }

    /// The origin has refused a token: whatever that token could see is void, at once.
    fn token_refused(&self, scope: &Scope) {
        self.metrics.tokens_refused.inc();
        self.store.refuse(scope);
    }
}

/// Whether this status says that the token is not good (any more).
fn refused_token(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Logs each failure once. A request that was not admitted is at debug level: admission counts them,
/// and logs when the circuit breaker opens.
fn log_failure(id: &RequestId, source: &FetchError) {
    let fault = source.fault().as_str();
    if source.fault().is_shed() {
        tracing::debug!(request_id = %id, fault, "{source}");
    } else {
        tracing::warn!(request_id = %id, fault, "{}", chain(source));
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
