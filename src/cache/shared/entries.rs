//! Entries in the engine: looked up before a fetch, and stored after it (`stores`).
//!
//! No operation fails: without the engine, the replica works alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;

use super::{
    Audience, Engine, EngineError, Group, Header, Occupied, Opened, Pause, Position, Salt, Sealer,
    Terms,
};
use crate::cache::{Fence, Store};
use crate::clock::Clock;
use crate::config::{self, CookieName};
use crate::in_transit::{Ledger, Share};
use crate::policy::{Budget, Moment, RouteRule};
use crate::request::CacheKey;
use crate::telemetry::{Holder, Metrics, SharedLookup, Unsealed};

mod stores;

/// Above this size, bodies are sealed and entries opened on a blocking thread. A lookup has memory for
/// an entry of this size; a larger one is read by a second lookup.
const LARGE: usize = 64 << 10;

/// Lookups one after another: the second one reads a large entry, or begins a fetch because the entry
/// cannot be used.
const MAX_STEPS: usize = 2;

/// Announcements for tokens that no replica is known to have seen accepted: this many at once, then one
/// in each interval.
const MAX_STRANGERS: usize = 50;
const STRANGER: Duration = Duration::from_secs(1);

/// The entries of the group.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) group: Arc<Group>,
    pub(super) sealer: Sealer,
    pub(super) store: Arc<Store>,
    ledger: Arc<Ledger>,
    /// The number of the next fetch. The first is random, so that replicas do not use the same numbers.
    next_owner: AtomicU64,
    pause: Pause,
    /// The budget of announcements for tokens that no replica is known to have seen accepted. A blocking mutex:
    /// held for arithmetic.
    pub(super) strangers: Mutex<Budget>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// The subject of a lookup: a response, and how its freshness is assessed here.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The cache key.
    pub key: &'a CacheKey,
    /// The fence of the fetch, with the requesting token.
    pub fence: &'a Fence,
    /// The token's credential.
    pub credential: &'a HeaderValue,
    /// The settings that freshness is assessed by.
    pub rules: &'a Arc<config::Freshness>,
    /// The route's own rules for freshness.
    pub route: RouteRule,
    /// `cache.ignore_set_cookie`
    pub ignored_cookies: &'a [CookieName],
}

/// An entry in the engine.
struct Sealed {
    ticket: Ticket,
    /// Before the lookup.
    asked: Moment,
    /// The entry, or its header if there is no room for more.
    bytes: Bytes,
    length: usize,
    room: Share,
}

/// A [`Subject`], for another thread.
struct OwnedSubject {
    key: CacheKey,
    fence: Fence,
    credential: HeaderValue,
    rules: Arc<config::Freshness>,
    route: RouteRule,
    ignored_cookies: Vec<CookieName>,
}

/// A fetch as registered in the engine.
#[derive(Clone, Debug)]
pub struct Ticket {
    name: Arc<str>,
    /// Zero if another replica fetches the same response.
    owner: u64,
    /// The salt of the entry that was found.
    found: Option<Salt>,
    /// The engine's clock at the lookup, in microseconds since 1970.
    engine_time: u64,
    /// The clocks of this replica after the lookup.
    looked_up: Moment,
}

/// The result of a lookup.
#[derive(Debug)]
pub enum LookedUp {
    /// An entry. Another replica may be fetching a newer one.
    Entry(Ticket, Box<Opened>),
    /// No entry; the caller fetches.
    Fetch(Ticket),
    /// No entry, but another replica is fetching it: look up again after a moment.
    Wait(Ticket),
    /// Nothing can be shared: the caller fetches for itself.
    Nothing,
}

// === impl Subject ===

impl<'a> Subject<'a> {
    fn owned(&self) -> OwnedSubject {
        OwnedSubject {
            key: self.key.clone(),
            fence: self.fence.clone(),
            credential: self.credential.clone(),
            rules: Arc::clone(self.rules),
            route: self.route,
            ignored_cookies: self.ignored_cookies.to_vec(),
        }
    }

    fn terms(&self, name: &'a str, engine_time: u64, own_time: Moment) -> Terms<'a> {
        let scope = *self.key.scope();
        // In a scope of several tokens, each is admitted by the origin.
        let audience = if self.fence.is_shared() {
            Audience::Named(scope)
        } else {
            Audience::Token(scope, self.credential)
        };
        Terms {
            name,
            audience,
            engine_time,
            own_time,
            rules: self.rules,
            route: self.route,
            ignored_cookies: self.ignored_cookies,
        }
    }
}

impl OwnedSubject {
    fn borrowed(&self) -> Subject<'_> {
        Subject {
            key: &self.key,
            fence: &self.fence,
            credential: &self.credential,
            rules: &self.rules,
            route: self.route,
            ignored_cookies: &self.ignored_cookies,
        }
    }
}

// === impl Entries ===

impl Entries {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        group: Arc<Group>,
        sealer: Sealer,
        (store, ledger): (Arc<Store>, Arc<Ledger>),
        metrics: &Arc<Metrics>,
        clock: &Clock,
    ) -> Self {
        let first = getrandom::u64().expect("the system has a source of randomness");
        Self {
            engine,
            group,
            sealer,
            store,
            ledger,
            next_owner: AtomicU64::new(first),
            pause: Pause::default(),
            strangers: Mutex::new(Budget::new(STRANGER, MAX_STRANGERS)),
            metrics: Arc::clone(metrics),
            clock: clock.clone(),
        }
    }

    /// Looks up an entry that has not been invalidated.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        subject: Subject<'_>,
        mut known: Option<Salt>,
    ) -> LookedUp {
        let name: Arc<str> = self.sealer.names.entry(subject.key).into();
        let holder = if self.store.is_accepted(subject.fence.token()) {
            Holder::Accepted
        } else {
            Holder::Other
        };
        let mut most = LARGE;
        for _ in 0..MAX_STEPS {
            let room = self.ledger.reserve(most, holder);
            let sealed = match self.ask(&name, known, room).await {
                Ok(sealed) => sealed,
                Err(ended) => return ended,
            };
            let ticket = sealed.ticket.clone();
            let opened = match self.is_current(subject, &sealed.bytes) {
                Ok(true) if sealed.bytes.len() < sealed.length => {
                    most = sealed.length;
                    continue;
                }
                Ok(true) => self.open(subject, sealed, holder).await.map(Some),
                Ok(false) => Ok(None),
                Err(reason) => Err(reason),
            };
            match opened {
                Ok(Some(opened)) => {
                    self.count(SharedLookup::Entry);
                    return LookedUp::Entry(ticket, Box::new(opened));
                }
                Ok(None) => self.count(SharedLookup::Outdated),
                Err(reason) => {
                    self.count(SharedLookup::Unsealed);
                    self.metrics.shared_unsealed.of(reason).inc();
                    // It is good where there is memory for it.
                    if reason == Unsealed::InTransit {
                        return LookedUp::Nothing;
                    }
                    self.remove(&ticket);
                }
            }
            // It counts as absent, to begin a fetch.
            known = ticket.found;
        }
        LookedUp::Nothing
    }

    /// One lookup: the sealed entry, or the result without one.
    async fn ask(
        &self,
        name: &Arc<str>,
        known: Option<Salt>,
        room: Option<Share>,
    ) -> Result<Sealed, LookedUp> {
        let asked = self.clock.now();
        let is_alone = || self.pause.is_on(asked.mono) || self.group.position(asked.mono).is_none();
        let Some(mut room) = room.filter(|_| !is_alone()) else {
            self.count(SharedLookup::Skipped);
            return Err(LookedUp::Nothing);
        };
        let owner = self.next_owner.fetch_add(1, Ordering::Relaxed).max(1);
        let looked_up = self.engine.look_up(name, known, owner, room.bytes());
        let found = self.noted(looked_up.await);
        let looked_up = self.clock.now();
        let took = looked_up.mono.saturating_sub(asked.mono);
        let duration = &self.metrics.shared_lookup_duration;
        duration.observe(took.as_secs_f64());
        let Ok(found) = found else {
            self.count(SharedLookup::Failed);
            return Err(LookedUp::Nothing);
        };
        let ticket = |owner, found_salt| Ticket {
            name: Arc::clone(name),
            owner,
            found: found_salt,
            engine_time: found.at,
            looked_up,
        };
        let (result, ended) = match found.entry {
            Ok(bytes) => {
                room.shrink(bytes.len());
                return Ok(Sealed {
                    ticket: ticket(0, Some(Header::salt(&bytes))),
                    asked,
                    bytes,
                    length: found.length,
                    room,
                });
            }
            Err(Occupied::Ours) => (SharedLookup::Miss, LookedUp::Fetch(ticket(owner, known))),
            Err(Occupied::Other) => (SharedLookup::Wait, LookedUp::Wait(ticket(0, known))),
            Err(Occupied::Unshareable) => (SharedLookup::Unshareable, LookedUp::Nothing),
        };
        self.count(result);
        Err(ended)
    }

    /// Whether nothing has invalidated an entry since its fetch began.
    fn is_current(&self, subject: Subject<'_>, sealed: &[u8]) -> Result<bool, Unsealed> {
        let Position { era, id } = Header::read(sealed)?.position;
        let own = self.group.position(self.clock.mono());
        let token = subject.fence.token();
        Ok(own.is_some_and(|own| own.era == era)
            && !self.store.changed_since(subject.key, token, id))
    }

    /// Opens an entry, a large one on a thread of its own.
    async fn open(
        self: &Arc<Self>,
        subject: Subject<'_>,
        sealed: Sealed,
        holder: Holder,
    ) -> Result<Opened, Unsealed> {
        if sealed.length <= LARGE {
            return self.open_now(subject, sealed, holder);
        }
        let (entries, subject) = (Arc::clone(self), subject.owned());
        let open = move || entries.open_now(subject.borrowed(), sealed, holder);
        let opened = tokio::task::spawn_blocking(open).await;
        opened.unwrap_or(Err(Unsealed::Codec))
    }

    fn open_now(
        &self,
        subject: Subject<'_>,
        sealed: Sealed,
        holder: Holder,
    ) -> Result<Opened, Unsealed> {
        let Sealed {
            ticket,
            asked,
            bytes,
            room: _room,
            ..
        } = sealed;
        let terms = subject.terms(&ticket.name, ticket.engine_time, asked);
        self.sealer
            .open_entry(bytes, &terms, subject.fence, &self.ledger, holder)
    }

    fn noted<T>(&self, result: Result<T, EngineError>) -> Result<T, EngineError> {
        self.pause.record(result.is_ok(), self.clock.mono());
        result
    }

    fn count(&self, result: SharedLookup) {
        self.metrics.shared_lookups.of(result).inc();
    }
}
