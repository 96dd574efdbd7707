//! Entries in the engine: looked up before a fetch, and stored after it.
//!
//! No operation fails: without the engine, the replica works alone.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::Semaphore;

use super::{
    Audience, Engine, EngineError, Group, Header, Occupied, Opened, Pause, Position, Salt, Sealer,
    Terms,
};
use crate::cache::{Entry, Fence, Store};
use crate::clock::Clock;
use crate::config::{self, CookieName};
use crate::in_transit::Ledger;
use crate::policy::{self, Budget, Moment, RouteRule};
use crate::request::{CacheKey, Scope};
use crate::telemetry::{Holder, Metrics, SharedLookup, SharedStore, Unsealed};

/// Maximum lookups that wait for the engine; a further one counts as skipped.
const MAX_LOOKUPS: usize = 1 << 10;

/// Maximum responses being sealed and sent to the engine; a further one is not shared.
const MAX_STORES: usize = 64;

/// Above this size, bodies are sealed and entries opened on a blocking thread.
const LARGE: usize = 64 << 10;

/// Maximum unusable entries in a row before a lookup gives up.
const MAX_UNUSABLE: usize = 3;

/// The interval at which a fetch is renewed. Without renewal it ends after a second.
const RENEWAL: Duration = Duration::from_millis(300);

/// Announcements for tokens that no replica is known to have seen accepted: this many at once, then one
/// in each interval.
const MAX_STRANGERS: usize = 50;
const STRANGER: Duration = Duration::from_millis(200);

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
    lookups: Semaphore,
    stores: Arc<Semaphore>,
    pause: Pause,
    /// The budget of announcements for tokens that no replica is known to have seen accepted. A std mutex:
    /// held for arithmetic.
    strangers: Mutex<Budget>,
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
            lookups: Semaphore::new(MAX_LOOKUPS),
            stores: Arc::new(Semaphore::new(MAX_STORES)),
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
        // After an unusable entry, the lookup is repeated with it as absent, to begin a fetch.
        for _ in 0..MAX_UNUSABLE {
            let asked = self.clock.now();
            let (ticket, sealed) = match self.ask(&name, known, asked.mono).await {
                Ok(found) => found,
                Err(ended) => return ended,
            };
            let opened = if sealed.len() > LARGE {
                let (entries, ticket, subject) =
                    (Arc::clone(self), ticket.clone(), subject.owned());
                let open = move || entries.open(subject.borrowed(), &ticket, asked, sealed);
                match tokio::task::spawn_blocking(open).await {
                    Ok(opened) => opened,
                    Err(_) => return LookedUp::Nothing,
                }
            } else {
                self.open(subject, &ticket, asked, sealed)
            };
            match opened {
                Ok(opened) => {
                    self.count(SharedLookup::Entry);
                    return LookedUp::Entry(ticket, Box::new(opened));
                }
                Err(Unusable::Outdated(salt)) => {
                    self.count(SharedLookup::Outdated);
                    known = Some(salt);
                }
                Err(Unusable::Unsealed(reason, salt)) => {
                    self.count(SharedLookup::Unsealed);
                    self.metrics.shared_unsealed.of(reason).inc();
                    let _ = self.engine.remove(&name, salt).await;
                    known = Some(salt);
                }
            }
        }
        LookedUp::Nothing
    }

    /// One lookup: the sealed entry, or the result without one.
    async fn ask(
        &self,
        name: &Arc<str>,
        known: Option<Salt>,
        asked: Duration,
    ) -> Result<(Ticket, Bytes), LookedUp> {
        let permit = self.lookups.try_acquire();
        if permit.is_err() || self.pause.is_on(asked) || self.group.position(asked).is_none() {
            self.count(SharedLookup::Skipped);
            return Err(LookedUp::Nothing);
        }
        let owner = self.next_owner.fetch_add(1, Ordering::Relaxed).max(1);
        let found = self.noted(self.engine.look_up(name, known, owner).await);
        let looked_up = self.clock.now();
        let took = looked_up.mono.saturating_sub(asked);
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
            Ok(sealed) => {
                let salt = Header::read(&sealed).ok().map(|header| header.salt);
                return Ok((ticket(0, salt), sealed));
            }
            Err(Occupied::Ours) => (SharedLookup::Miss, LookedUp::Fetch(ticket(owner, known))),
            Err(Occupied::Other) => (SharedLookup::Wait, LookedUp::Wait(ticket(0, known))),
            Err(Occupied::Unshareable) => (SharedLookup::Unshareable, LookedUp::Nothing),
        };
        self.count(result);
        Err(ended)
    }

    /// Opens an entry, unless it may have been invalidated since its fetch began.
    fn open(
        &self,
        subject: Subject<'_>,
        ticket: &Ticket,
        asked: Moment,
        sealed: Bytes,
    ) -> Result<Opened, Unusable> {
        let unsealed = |salt| move |reason| Unusable::Unsealed(reason, salt);
        let header = Header::read(&sealed).map_err(unsealed(Header::salt(&sealed)))?;
        let (Position { era, id }, salt) = (header.position, header.salt);
        let own = self.group.position(self.clock.mono());
        if own.is_none_or(|own| own.era != era)
            || self
                .store
                .changed_since(subject.key, subject.fence.token(), id)
        {
            return Err(Unusable::Outdated(salt));
        }
        let terms = subject.terms(&ticket.name, ticket.engine_time, asked);
        let holder = if self.store.is_accepted(subject.fence.token()) {
            Holder::Accepted
        } else {
            Holder::Other
        };
        self.sealer
            .open_entry(sealed, &terms, subject.fence, &self.ledger, holder)
            .map_err(unsealed(salt))
    }

    /// While it is polled, renews a fetch, unless that is another replica's.
    pub(super) async fn keep_renewing(&self, ticket: &Ticket) -> Infallible {
        if ticket.owner == 0 {
            return pending().await;
        }
        loop {
            let pause = self.clock.deadline(RENEWAL);
            self.clock.clone().sleep_until(pause).await;
            // If it fails, another replica takes over.
            let _ = self.engine.renew(&ticket.name, ticket.owner).await;
        }
    }

    /// Shares an entry, in the background.
    pub(super) fn share(
        self: &Arc<Self>,
        ticket: Ticket,
        position: Position,
        entry: &Arc<Entry>,
        subject: Subject<'_>,
    ) {
        let Ok(permit) = Arc::clone(&self.stores).try_acquire_owned() else {
            self.metrics.shared_stores.of(SharedStore::Busy).inc();
            return self.release(Some(ticket), true);
        };
        let (entries, entry, subject) = (Arc::clone(self), Arc::clone(entry), subject.owned());
        tokio::spawn(async move {
            let result = entries.store(ticket, position, entry, subject).await;
            entries.metrics.shared_stores.of(result).inc();
            drop(permit);
        });
    }

    async fn store(
        self: &Arc<Self>,
        ticket: Ticket,
        position: Position,
        entry: Arc<Entry>,
        subject: OwnedSubject,
    ) -> SharedStore {
        let life = policy::remaining_life(&entry.freshness, self.clock.now());
        let scope = self.sealer.names.scope(subject.fence.token());
        // First, and even if the entry is too large: a later refusal of the token needs the record.
        let recorded = self.noted(self.engine.record_scope(&scope).await);
        let is_large = entry.whole.body.len() > LARGE;
        let (entries, sealing) = (Arc::clone(self), ticket.clone());
        let seal = move || {
            let Ticket {
                name,
                engine_time,
                looked_up,
                ..
            } = &sealing;
            let terms = subject.borrowed().terms(name, *engine_time, *looked_up);
            entries.sealer.seal_entry(&entry, &terms, position)
        };
        let sealed = if is_large {
            tokio::task::spawn_blocking(seal).await.ok().flatten()
        } else {
            seal()
        };
        let Ticket { name, owner, .. } = &ticket;
        let Some(sealed) = sealed else {
            self.release(Some(ticket), true);
            return SharedStore::TooLarge;
        };
        if recorded.is_err() {
            return SharedStore::Failed;
        }
        match self.noted(self.engine.store(name, sealed, life, *owner).await) {
            Ok(true) => SharedStore::Stored,
            Ok(false) => SharedStore::Older,
            Err(_) => SharedStore::Failed,
        }
    }

    /// Removes the entry that the lookup of a fetch found, in the background.
    pub(super) fn remove(self: &Arc<Self>, ticket: &Ticket) {
        if let Some(salt) = ticket.found {
            let (entries, name) = (Arc::clone(self), Arc::clone(&ticket.name));
            tokio::spawn(async move {
                // If it fails, the entry stays until it expires.
                let _ = entries.engine.remove(&name, salt).await;
            });
        }
    }

    /// Ends a fetch whose response is not shared, in the background.
    pub(super) fn release(self: &Arc<Self>, ticket: Option<Ticket>, is_unshareable: bool) {
        let Some(ticket) = ticket.filter(|ticket| ticket.owner != 0) else {
            return;
        };
        let entries = Arc::clone(self);
        tokio::spawn(async move {
            let Ticket { name, owner, .. } = ticket;
            // If it fails, the fetch expires.
            let _ = entries.engine.release(&name, owner, is_unshareable).await;
        });
    }

    /// Whether the engine has a record of a scope; `forgets`: also removes the record.
    pub(super) async fn is_known(&self, token: &Scope, forgets: bool) -> bool {
        if self.pause.is_on(self.clock.mono()) {
            return false;
        }
        let name = self.sealer.names.scope(token);
        self.noted(self.engine.find_scope(&name, forgets).await)
            .unwrap_or(false)
    }

    pub(super) fn strangers(&self) -> MutexGuard<'_, Budget> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn noted<T>(&self, result: Result<T, EngineError>) -> Result<T, EngineError> {
        self.pause.record(result.is_ok(), self.clock.mono());
        result
    }

    fn count(&self, result: SharedLookup) {
        self.metrics.shared_lookups.of(result).inc();
    }
}

/// Why an entry is not used, and its salt.
enum Unusable {
    /// It may have been invalidated since its fetch began.
    Outdated(Salt),
    /// It does not open, or cannot be used.
    Unsealed(Unsealed, Salt),
}
