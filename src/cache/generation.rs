//! Generations: what a purge, a write or a refused token invalidates stays invalid, also when a
//! fetch that began earlier ends later.
//!
//! An invalidation moves a counter forward. A response carries the generation its fetch began
//! under; it may be stored, and is served, only while that is current. So one atomic addition
//! invalidates every stored response of a call in all scopes, and every fetch of it in flight,
//! with no search. The memory is reclaimed later.
//!
//! A counter exists only while something is stored, in flight or pending under its name, so no two
//! names ever share one, and an invalidation with nothing to invalidate costs nothing.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Admission;
use super::counters::{Counter, LiveCounters, Snapshot, micros};
use crate::config::Route;
use crate::policy::canonical_path;
use crate::request::{CacheKey, Routes, Scope, ScopeId};

/// Paths above a stored one whose invalidation reaches it. Only paths of `{*rest}` routes are
/// deeper.
const MAX_ABOVE: usize = 8;

/// The current generations.
#[derive(Debug)]
pub(super) struct Generations {
    all: AtomicU64,
    paths: LiveCounters<u64>,
    scopes: LiveCounters<Scope>,
    /// By key and token: the last fetch whose answer ended what earlier ones return.
    superseded: LiveCounters<u64>,
    /// Counts fetches in the order they begin.
    sequence: AtomicU64,
    /// Until when every path counts as pending: set when there are more pending writes than can be
    /// told apart. Storing nothing for a while is better than storing something wrong.
    all_pending_until: AtomicU64,
    routes: Routes,
    /// Keyed per process, so that a client cannot make the names of two paths collide.
    seed: RandomState,
}

/// The generations that a fetch began under; kept with what it stores.
#[derive(Clone, Debug)]
pub struct Generation {
    all: u64,
    scope: Snapshot,
    path: Snapshot,
    above: Box<[Snapshot]>,
    /// The token that asks, where several share the scope: a refusal of it counts as well.
    token: Option<Snapshot>,
    sequence: u64,
    /// Whether no write of unknown outcome may still change the response.
    settled: bool,
}

/// What a fetch begins with: it keeps what became invalid meanwhile out of the store.
#[derive(Clone, Debug)]
pub struct Fence {
    pub(super) generation: Generation,
    superseded: Arc<Counter>,
    /// Whose token asks.
    token: Scope,
}

/// Which paths an invalidation reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The path itself.
    Here,
    /// Paths below it.
    Below,
}

// === impl Generations ===

impl Generations {
    pub(super) fn new(routes: &[Route]) -> Self {
        Self {
            all: AtomicU64::default(),
            paths: LiveCounters::default(),
            scopes: LiveCounters::default(),
            superseded: LiveCounters::default(),
            sequence: AtomicU64::default(),
            all_pending_until: AtomicU64::default(),
            routes: Routes::new(routes),
            seed: RandomState::new(),
        }
    }

    /// A fence for a fetch of this key with this token.
    pub(super) fn fence(&self, key: &CacheKey, token: &Scope, now: Duration) -> Fence {
        let path = canonical_path(key.path());
        let above = self.above(key.path(), &path);
        let above = above.map(|above| self.counted(above, Reach::Below));
        let is_shared = token != key.scope();
        // The values are read first: a write that ends now either moves one of them, or has
        // marked its path as pending before.
        let generation = Generation {
            all: self.all.load(Ordering::SeqCst),
            scope: Snapshot::of(self.scopes.counter(*key.scope())),
            path: self.counted(&path, Reach::Here),
            above: above.collect(),
            token: is_shared.then(|| Snapshot::of(self.scopes.counter(*token))),
            sequence: self.sequence.fetch_add(1, Ordering::SeqCst),
            settled: true,
        };
        let settled = micros(now) >= self.all_pending_until.load(Ordering::SeqCst)
            && !generation.path.is_pending(now)
            && !generation.above.iter().any(|above| above.is_pending(now));
        let name = self.seed.hash_one((key, token));
        Fence {
            generation: Generation {
                settled,
                ..generation
            },
            superseded: self.superseded.counter(name),
            token: *token,
        }
    }

    /// Whether nothing has invalidated what was fetched under this generation.
    pub(super) fn is_current(&self, generation: &Generation) -> bool {
        self.all.load(Ordering::SeqCst) == generation.all
            && generation.path.is_current()
            && generation.scope.is_current()
            && generation.above.iter().all(Snapshot::is_current)
    }

    /// Whether what was fetched behind this fence may be stored: nothing has invalidated it, no
    /// write may have changed it unseen, and no later fetch has ended it.
    pub(super) fn may_store(&self, fence: &Fence) -> bool {
        let Fence { generation, .. } = fence;
        generation.settled && self.is_current(generation) && !fence.is_superseded()
    }

    /// Answers whether there was anything to invalidate.
    pub(super) fn invalidate_path(&self, path: &str, reach: Reach) -> bool {
        self.paths.advance(&self.name(&canonical_path(path), reach))
    }

    /// What is fetched for this path before `until` is not stored.
    pub(super) fn mark_pending(&self, path: &str, reach: Reach, until: Duration, now: Duration) {
        let name = self.name(&canonical_path(path), reach);
        if !self.paths.mark_pending(name, until, now) {
            self.all_pending_until
                .fetch_max(micros(until), Ordering::SeqCst);
        }
    }

    /// Answers whether there was anything to invalidate.
    pub(super) fn invalidate_scope(&self, scope: &Scope) -> bool {
        self.scopes.advance(scope)
    }

    /// Every scope that logs call by this name.
    pub(super) fn invalidate_named_scope(&self, id: ScopeId) {
        self.scopes.advance_all(|scope| scope.id() == id);
    }

    pub(super) fn invalidate_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    /// The paths above a stored one that are the same resource: from where the last parameter of
    /// its route begins. A list, or the root, is not one of them: a write there does not
    /// invalidate every call.
    fn above<'a>(&self, sent: &str, path: &'a str) -> impl Iterator<Item = &'a str> {
        let pattern = self.routes.find(sent).map(|route| self.routes.name(route));
        let fixed = pattern
            .and_then(|pattern| pattern.rsplit_once('{'))
            .map_or(usize::MAX, |(before, _)| before.matches('/').count());
        path.match_indices('/')
            .map(|(at, _)| &path[..at])
            .skip(fixed)
            .take(MAX_ABOVE)
    }

    fn counted(&self, path: &str, reach: Reach) -> Snapshot {
        Snapshot::of(self.paths.counter(self.name(path, reach)))
    }

    fn name(&self, path: &str, reach: Reach) -> u64 {
        self.seed.hash_one((path, reach))
    }
}

// === impl Generation ===

impl Generation {
    /// Whether two fetches began under the same generations.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same_token = match (&self.token, &other.token) {
            (Some(one), Some(other)) => one.is_same(other),
            (None, None) => true,
            _ => false,
        };
        same_token
            && self.all == other.all
            && self.settled == other.settled
            && self.scope.is_same(&other.scope)
            && self.path.is_same(&other.path)
            && self.above.len() == other.above.len()
            && std::iter::zip(&self.above, &other.above).all(|(a, b)| a.is_same(b))
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether its fetch began after that one (RFC 9111 §4: the most recent response).
    #[must_use]
    pub fn is_after(&self, other: &Self) -> bool {
        self.sequence > other.sequence
    }
}

// === impl Fence ===

impl Fence {
    /// The generations that the fetch began under.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Whose token asks.
    #[must_use]
    pub fn token(&self) -> &Scope {
        &self.token
    }

    /// Whether the tokens of a named scope share what is stored.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.generation.token.is_some()
    }

    /// The origin has shown this very response to the token; `None` in a token's own scope, where
    /// the scope itself says so.
    #[must_use]
    pub fn admission(&self, until: Duration) -> Option<Admission> {
        let token = self.generation.token.clone()?;
        let superseded = Arc::clone(&self.superseded);
        let sequence = self.generation.sequence;
        Some(Admission::new(
            self.token, token, superseded, sequence, until,
        ))
    }

    /// What earlier fetches of this key by this token return is out of date from now on.
    pub(super) fn supersede_earlier(&self) {
        self.superseded.raise_to(self.generation.sequence);
    }

    fn is_superseded(&self) -> bool {
        self.superseded.value() > self.generation.sequence
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::RoutePattern;
    use crate::request::ScopeKey;

    fn generations(patterns: &[&str]) -> Generations {
        let route = |pattern: &&str| Route {
            path: RoutePattern::parse(pattern).expect("a pattern"),
            ttl: None,
        };
        Generations::new(&patterns.iter().map(route).collect::<Vec<_>>())
    }

    fn key(path: &str) -> CacheKey {
        let scope = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
        CacheKey::new(scope, path, Some("x=1"))
    }

    #[test]
    fn a_generation_ends_with_its_path_its_scope_or_all_and_with_nothing_else() {
        let generations = generations(&["/v1/calls/{id}"]);
        let key = key("/v1/calls/c1");
        let fence = || generations.fence(&key, key.scope(), Duration::ZERO);

        let before = fence();
        for n in 2..50_000 {
            assert!(!generations.invalidate_path(&format!("/v1/calls/c{n}"), Reach::Here));
        }
        for above in ["/v1/calls", "/v1", "/"] {
            assert!(!generations.invalidate_path(above, Reach::Here));
            assert!(!generations.invalidate_path(above, Reach::Below));
        }
        let other = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
        assert!(!generations.invalidate_scope(&other));
        generations.invalidate_named_scope(other.id());
        assert!(generations.is_current(&before.generation));

        for invalidate in [
            (|g: &Generations, _: &Scope| {
                g.invalidate_path("/v1/calls/%63%31", Reach::Here);
            }) as fn(&Generations, &Scope),
            |g, scope| {
                g.invalidate_scope(scope);
            },
            |g, scope| g.invalidate_named_scope(scope.id()),
            |g, _| g.invalidate_all(),
        ] {
            let fence = fence();
            assert!(generations.is_current(&fence.generation));
            invalidate(&generations, key.scope());
            assert!(!generations.is_current(&fence.generation));
        }
    }

    #[test]
    fn paths_below_a_resource_are_invalidated_with_it() {
        let patterns = ["/v1/calls/{*rest}", "/v2/{org}/calls/{id}/transcript"];
        for (path, above, ends) in [
            ("/v1/calls/c1/transcript", "/v1/calls/c1", true),
            ("/v1/calls/c1/a/b", "/v1/calls/c1", true),
            ("/v1/calls/c1/a/b", "/v1/calls/c1/a", true),
            ("/v1/calls/c1/transcript", "/v1/calls", false),
            ("/v1/calls/c1/transcript", "/v1/calls/c", false),
            ("/v2/o/calls/c1/transcript", "/v2/o/calls/c1", true),
            ("/v2/o/calls/c1/transcript", "/v2/o/calls", false),
            ("/v2/o/calls/c1/transcript", "/v2/o", false),
        ] {
            let generations = generations(&patterns);
            let fence = {
                let key = key(path);
                generations.fence(&key, key.scope(), Duration::ZERO)
            };
            generations.invalidate_path(above, Reach::Here);
            assert!(generations.is_current(&fence.generation), "{path} {above}");
            generations.invalidate_path(above, Reach::Below);
            assert_eq!(
                !generations.is_current(&fence.generation),
                ends,
                "{path} {above}"
            );
        }
    }

    #[test]
    fn a_fetch_that_began_during_a_pending_write_is_never_stored() {
        let generations = generations(&["/v1/calls/{id}"]);
        let key = key("/v1/calls/c1");
        let second = Duration::from_secs(1);
        generations.mark_pending(key.path(), Reach::Here, second, Duration::ZERO);
        let early = generations.fence(&key, key.scope(), Duration::ZERO);
        let late = generations.fence(&key, key.scope(), second);
        assert!(!generations.may_store(&early));
        assert!(generations.may_store(&late));
        assert!(
            generations.is_current(&early.generation)
                && !early.generation.is_same(&late.generation)
        );
    }
}
