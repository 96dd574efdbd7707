//! Generations: what a purge, a write or a refused token invalidates stays invalid, even if a fetch
//! that began before the invalidation completes after it.
//!
//! An invalidation advances a counter. A response has the generation that its fetch began under; it
//! is stored and served only while that is current. So one atomic addition invalidates all stored
//! responses of a call in all scopes, and all fetches of it in flight, without a search. The sweep
//! in `store` frees their memory.
//!
//! A counter exists only while something is stored, in flight or pending under its key, so no two
//! paths share one, and an invalidation without anything to invalidate costs a lookup.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memchr::{memchr_iter, memchr2_iter};

use super::counters::{Counter, LiveCounters, Snapshot};
use super::journal::Journal;
use super::{Admission, Invalidation, Reach};
use crate::config::Route;
use crate::policy::canonical_path;
use crate::request::{CacheKey, Routes, Scope};
use crate::telemetry::NotHit;

mod purged;
#[cfg(test)]
mod tests;

pub use purged::Purged;

/// The deepest ancestor with a counter, by the separators of its path and the one after it: it stands for
/// all deeper ones. Only `{*rest}` routes have such paths.
const MAX_ANCESTORS: usize = 10;

/// Bytes of an ancestor's counter: its snapshot, its allocation, and its place in a table that may be
/// less than half full.
const ANCESTOR_BYTES: usize = size_of::<Snapshot>() + 48 + 80;

/// The current generations.
#[derive(Debug)]
pub(super) struct Generations {
    all: AtomicU64,
    paths: LiveCounters<u64>,
    scopes: LiveCounters<Scope>,
    /// By path and token: the refusals of this resource to this token.
    resources: LiveCounters<u64>,
    /// By cache key and token: the latest fetch that has superseded all earlier ones.
    superseded: LiveCounters<u64>,
    /// Numbers fetches in the order they begin.
    sequence: AtomicU64,
    /// The invalidations of the replicas, by the hashes of the fields above.
    journal: Journal,
    routes: Routes,
    /// Random per process, so that a client cannot make the hashes of two paths collide.
    seed: RandomState,
}

/// The generations that a fetch began under; kept in its entry.
#[derive(Clone, Debug)]
pub struct Generation {
    all: u64,
    scope: Snapshot,
    path: Snapshot,
    ancestors: Box<[Snapshot]>,
    /// Advanced by a refusal of the path to the requesting token.
    resource: Snapshot,
    /// The requesting token's counter, in a named scope: a refusal of the token advances it.
    token: Option<Snapshot>,
    pub(super) sequence: u64,
    /// When the fetch began, at the latest.
    pub(super) began: Duration,
    /// Whether no write was pending when the fetch began.
    settled: bool,
    /// Whether the replica had a lease when the fetch began.
    is_leased: bool,
}

/// A fence: taken before a fetch, it keeps a response that was invalidated during the fetch out of
/// the store.
#[derive(Clone, Debug)]
pub struct Fence {
    pub(super) generation: Generation,
    superseded: Arc<Counter>,
    /// The requesting token.
    token: Scope,
}

/// The effect of an invalidation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invalidated {
    /// Whether there was anything to invalidate.
    pub(super) any: bool,
    /// Whether every pending write was marked: there is a bound, in total and for each token.
    pub(super) is_tracked: bool,
}

// === impl Generations ===

impl Generations {
    pub(super) fn new(routes: &[Route]) -> Self {
        Self {
            all: AtomicU64::default(),
            paths: LiveCounters::default(),
            scopes: LiveCounters::default(),
            resources: LiveCounters::default(),
            superseded: LiveCounters::default(),
            sequence: AtomicU64::default(),
            journal: Journal::default(),
            routes: Routes::new(routes),
            seed: RandomState::new(),
        }
    }

    /// A fence for a fetch of this key with this token.
    pub(super) fn fence(
        &self,
        key: &CacheKey,
        token: &Scope,
        is_leased: bool,
        now: Duration,
    ) -> Fence {
        let path = canonical_path(key.path());
        let ancestors = self.ancestors(key.path(), &path);
        let ancestors = ancestors.map(|path| self.snapshot(path, Reach::Below));
        let is_shared = token != key.scope();
        // The counters are read before the pending marks: a write either advances a counter after
        // that, or has set its mark before.
        let mut generation = Generation {
            all: self.all.load(Ordering::SeqCst),
            scope: Snapshot::of(self.scopes.counter(*key.scope())),
            path: self.snapshot(&path, Reach::Here),
            ancestors: ancestors.collect(),
            resource: Snapshot::of(self.resources.counter(self.resource_key(&path, token))),
            token: is_shared.then(|| Snapshot::of(self.scopes.counter(*token))),
            sequence: self.sequence.fetch_add(1, Ordering::SeqCst),
            began: now,
            settled: true,
            is_leased,
        };
        generation.settled = !generation.path.is_pending(now)
            && !generation.ancestors.iter().any(|path| path.is_pending(now));
        let id = self.seed.hash_one((key, token));
        Fence {
            generation,
            superseded: self.superseded.counter(id),
            token: *token,
        }
    }

    /// Whether nothing has invalidated what was fetched under this generation.
    pub(super) fn is_current(&self, generation: &Generation) -> bool {
        self.why_over(generation).is_none()
    }

    /// Why responses that were fetched under this generation are invalid, if they are.
    pub(super) fn why_over(&self, generation: &Generation) -> Option<NotHit> {
        if self.all.load(Ordering::SeqCst) != generation.all {
            Some(NotHit::PurgedAll)
        } else if !generation.path.is_current() {
            Some(NotHit::PathInvalidated)
        } else if !generation.scope.is_current()
            // In a named scope a refusal revokes the token's admissions only.
            || generation.token.is_none() && !generation.resource.is_current()
        {
            Some(NotHit::TokenInvalidated)
        } else {
            let are_current = generation.ancestors.iter().all(Snapshot::is_current);
            (!are_current).then_some(NotHit::PathInvalidated)
        }
    }

    /// Whether a response fetched under this fence may be stored: nothing has invalidated it, no
    /// write was pending, and no later fetch has superseded it.
    pub(super) fn may_store(&self, fence: &Fence) -> bool {
        let Fence { generation, .. } = fence;
        generation.settled && self.is_current(generation) && !fence.is_superseded()
    }

    /// Carries out an invalidation that is this old; returns what it did.
    pub(super) fn invalidate(
        &self,
        invalidation: &Invalidation,
        age: Duration,
        now: Duration,
    ) -> Invalidated {
        let mut is_tracked = true;
        let any = match invalidation {
            Invalidation::Paths {
                paths,
                writer,
                pending,
            } => {
                let pending = pending.saturating_sub(age);
                let until = now.saturating_add(pending);
                let mut any = false;
                for (path, reach) in paths {
                    let key = self.counter_key(&canonical_path(path), *reach);
                    if !pending.is_zero() {
                        // First, so that a fetch that begins in between sees the mark.
                        let writer = writer.as_ref();
                        is_tracked &= self.paths.mark_pending(key, writer, until, now);
                    }
                    any |= self.paths.advance(&key);
                }
                any
            }
            Invalidation::Resource { token, path } => {
                let key = self.resource_key(&canonical_path(path), token);
                self.resources.advance(&key)
            }
            Invalidation::Scope(scope) => self.scopes.advance(scope),
            Invalidation::ScopeId(id) => self.scopes.advance_all(|scope| scope.id() == *id),
            Invalidation::All => {
                self.all.fetch_add(1, Ordering::SeqCst);
                true
            }
        };
        Invalidated { any, is_tracked }
    }

    /// Records an item of the log in the journal: before it is carried out, so that a fetch that begins
    /// in between finds it.
    pub(super) fn record(&self, id: u64, invalidation: &Invalidation) {
        let concerned: Box<[u64]> = match invalidation {
            Invalidation::Paths { paths, .. } => {
                let keys = paths.iter();
                keys.map(|(path, reach)| self.counter_key(&canonical_path(path), *reach))
                    .collect()
            }
            Invalidation::Resource { token, path } => {
                let resource = self.resource_key(&canonical_path(path), token);
                let token = self.seed.hash_one(token);
                return self.journal.record_refusal(id, resource, token);
            }
            Invalidation::Scope(scope) => Box::new([self.seed.hash_one(scope)]),
            Invalidation::ScopeId(id) => Box::new([self.seed.hash_one(id.number())]),
            Invalidation::All => return self.journal.reset(id),
        };
        self.journal.record(id, concerned);
    }

    /// Invalidates everything, and forgets the journal: items up to `floor` are not known.
    pub(super) fn forget_all(&self, floor: u64) {
        self.journal.reset(floor);
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether an item of the log after `id` concerns this key and token, or may do so.
    pub(super) fn changed_since(&self, key: &CacheKey, token: &Scope, id: u64) -> bool {
        let path = canonical_path(key.path());
        let ancestors = self.ancestors(key.path(), &path);
        let ancestors = ancestors.map(|path| self.counter_key(path, Reach::Below));
        let scopes = [key.scope(), token];
        let scopes = scopes.iter().flat_map(|scope| {
            [
                self.seed.hash_one(scope),
                self.seed.hash_one(scope.id().number()),
            ]
        });
        let own = [
            self.counter_key(&path, Reach::Here),
            self.resource_key(&path, token),
        ];
        self.journal
            .has_since(id, own.into_iter().chain(ancestors).chain(scopes))
    }

    /// The ancestors of a path, the nearest to the root first: from the collection before the first
    /// parameter of its route on. A write to what is above must not invalidate every call.
    fn ancestors<'a>(&self, sent: &str, path: &'a str) -> impl Iterator<Item = &'a str> {
        let pattern = self.routes.find(sent).map(|route| self.routes.name(route));
        let slashes = match pattern.and_then(|pattern| pattern.split_once('{')) {
            // In another spelling it can be that of a path outside its route.
            _ if sent != path => 1,
            Some((before, _)) => memchr_iter(b'/', before.as_bytes()).count(),
            None => usize::MAX,
        };
        let first = memchr_iter(b'/', path.as_bytes()).nth(slashes.saturating_sub(1));
        let first = first.map_or(path.len(), |at| at.max(1));
        let last = deepest(path).len();
        separators(path)
            .filter(move |at| (first.min(last)..=last).contains(at))
            .map(|at| &path[..at])
    }

    fn snapshot(&self, path: &str, reach: Reach) -> Snapshot {
        Snapshot::of(self.paths.counter(self.counter_key(path, reach)))
    }

    fn resource_key(&self, path: &str, token: &Scope) -> u64 {
        self.seed.hash_one((path, token))
    }

    fn counter_key(&self, path: &str, reach: Reach) -> u64 {
        let path = match reach {
            Reach::Here => path,
            Reach::Below => deepest(path),
        };
        self.seed.hash_one((path, reach))
    }
}

/// The path, or its deepest ancestor with a counter.
fn deepest(path: &str) -> &str {
    separators(path)
        .nth(MAX_ANCESTORS - 1)
        .map_or(path, |at| &path[..at])
}

fn separators(path: &str) -> impl Iterator<Item = usize> {
    memchr2_iter(b'/', b':', path.as_bytes())
}

// === impl Generation ===

impl Generation {
    /// Bytes of the counters of a deep path. Those of the first ancestor are shared by a route.
    pub(super) fn weight(&self) -> usize {
        self.ancestors.len().saturating_sub(1) * ANCESTOR_BYTES
    }

    /// Whether two fetches began under the same generations.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_token = match (&self.token, &other.token) {
            (Some(one), Some(other)) => one.is_same(other),
            (None, None) => true,
            _ => false,
        };
        same_token
            && self.all == other.all
            && self.settled == other.settled
            // Of a fetch from before the lease ended, it is not known what other replicas have changed.
            && self.is_leased == other.is_leased
            && self.scope.is_same(&other.scope)
            && self.path.is_same(&other.path)
            && self.resource.is_same(&other.resource)
            && self.ancestors.len() == other.ancestors.len()
            && std::iter::zip(&self.ancestors, &other.ancestors).all(|(a, b)| a.is_same(b))
    }

    /// Whether its fetch began after the other's (RFC 9111 §4: the most recent response).
    pub fn is_after(&self, other: &Self) -> bool {
        self.sequence > other.sequence
    }
}

// === impl Fence ===

impl Fence {
    /// The generations that the fetch began under.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The requesting token.
    pub fn token(&self) -> &Scope {
        &self.token
    }

    /// Whether the scope is a named one, whose tokens share what is stored.
    pub fn is_shared(&self) -> bool {
        self.generation.token.is_some()
    }

    /// An admission of the token to the response of this fetch; `None` in a scope of one token, which
    /// needs none.
    pub fn admission(&self, until: Duration) -> Option<Admission> {
        let token = self.generation.token.clone()?;
        Some(Admission {
            token: self.token,
            generation: [token, self.generation.resource.clone()],
            superseded: Arc::clone(&self.superseded),
            sequence: self.generation.sequence,
            until,
        })
    }

    /// Supersedes earlier fetches of this key by this token: their responses are not stored.
    pub(super) fn supersede_earlier(&self) {
        self.superseded.raise_to(self.generation.sequence);
    }

    fn is_superseded(&self) -> bool {
        self.superseded.value() > self.generation.sequence
    }
}
