//! The fence: what a purge, a write or a refusal declares void stays void, also when a fetch
//! that began earlier ends later.
//!
//! Voiding moves a generation forward. A response carries the generations its fetch began under;
//! it may be stored, and is served, only while they still stand. So one atomic addition voids
//! every stored response of a call in all scopes, and every fetch of it in the air, at once and
//! with no search. What is void is swept out of memory later.
//!
//! A generation exists as long as something stored or in the air stands under it, so nothing is
//! ever voided together with something else, and what has nothing to lose costs nothing.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cells::Cells;
use super::unsettled::Unsettled;
use crate::config::Route;
use crate::policy::canonical_path;
use crate::request::{CacheKey, Prehashed, Routes, Scope, ScopeId};

/// Paths above a stored one under which it is voided too. Beyond them only deep paths of
/// `{*rest}` routes lie.
const MAX_ABOVE: usize = 8;

/// Keys whose newest answer was not stored, or was none for the token that asked, are remembered
/// in this many slots. Two that share one cost a response that could have been stored, and only
/// while both are fetched twice at once; or a token's admission, which it then asks for anew.
const ENDS: usize = 1 << 12;

/// The current generations.
#[derive(Debug)]
pub(super) struct Generations {
    all: AtomicU64,
    paths: Cells<u64>,
    scopes: Cells<Scope>,
    unsettled: Mutex<Unsettled>,
    /// Counts fetches in the order they begin.
    turns: AtomicU64,
    ends: Box<[AtomicU64]>,
    routes: Routes,
    /// Keyed per process, so that nobody outside can make two paths meet.
    seed: RandomState,
}

/// What a fetch begins under, and when it does.
#[derive(Clone, Debug)]
pub struct Fence {
    all: u64,
    scope: Held,
    path: Held,
    /// What lies above the path, and whatever else is to stand.
    above: Box<[Held]>,
    turn: u64,
    /// Whether no write of unknown end may still change what it fetches.
    settled: bool,
}

/// A generation, and where it stood.
#[derive(Clone, Debug)]
pub(super) struct Held {
    cell: Arc<AtomicU64>,
    then: u64,
}

/// When a fetch for a key began, in the order of all that may have the key's slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    slot: usize,
    at: u64,
}

/// What of a path is voided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// What is stored for the path itself.
    Here,
    /// What is stored for paths below it.
    Below,
}

impl Generations {
    pub(super) fn new(routes: &[Route]) -> Self {
        Self {
            all: AtomicU64::default(),
            paths: Cells::default(),
            scopes: Cells::default(),
            unsettled: Mutex::default(),
            turns: AtomicU64::default(),
            ends: std::iter::repeat_with(AtomicU64::default)
                .take(ENDS)
                .collect(),
            routes: Routes::new(routes),
            seed: RandomState::new(),
        }
    }

    /// What stands now for this key.
    pub(super) fn fence(&self, key: &CacheKey, now: Duration) -> Fence {
        let path = canonical_path(key.path());
        let here = self.hash(&path, Reach::Here);
        let above: Vec<u64> = self
            .above(key.path(), &path)
            .map(|above| self.hash(above, Reach::Below))
            .collect();
        // The generations come first: a write that ends now either moves one of them, or has
        // said before that it is unsettled.
        let (held, all) = (Held::of(self.paths.cell(here)), &self.all);
        let fence = Fence {
            all: all.load(Ordering::SeqCst),
            scope: Held::of(self.scopes.cell(*key.scope())),
            path: held,
            above: above
                .iter()
                .map(|above| Held::of(self.paths.cell(*above)))
                .collect(),
            turn: self.turns.fetch_add(1, Ordering::SeqCst),
            settled: true,
        };
        let unsettled = self.lock_unsettled();
        let settled =
            !unsettled.holds(here, now) && !above.iter().any(|above| unsettled.holds(*above, now));
        Fence { settled, ..fence }
    }

    /// Where a token stands now.
    pub(super) fn standing(&self, holder: &Scope) -> Held {
        Held::of(self.scopes.cell(*holder))
    }

    /// Whether nothing has voided what this fence stands for.
    pub(super) fn hold(&self, fence: &Fence) -> bool {
        self.all.load(Ordering::SeqCst) == fence.all
            && fence.path.stands()
            && fence.scope.stands()
            && fence.above.iter().all(Held::stands)
    }

    /// Whether what was fetched under this fence may be stored: nothing has voided it, no write
    /// may have changed it unseen, and no later fetch for its key has brought what ended it.
    pub(super) fn admit(&self, key: &CacheKey, fence: &Fence) -> bool {
        fence.settled && self.hold(fence) && self.counts(fence.turn_of(key))
    }

    /// Whether no later fetch for the key has ended what this one brings.
    pub(super) fn counts(&self, turn: Turn) -> bool {
        self.ends[turn.slot].load(Ordering::SeqCst) <= turn.at
    }

    /// What fetches before this one bring for its key counts no more.
    pub(super) fn end(&self, turn: Turn) {
        self.ends[turn.slot].fetch_max(turn.at, Ordering::SeqCst);
    }

    /// Answers whether there was anything to void.
    pub(super) fn void_path(&self, path: &str, reach: Reach) -> bool {
        self.paths.advance(&self.hash(&canonical_path(path), reach))
    }

    /// What is fetched for this path before `until` is not stored.
    pub(super) fn unsettle(&self, path: &str, reach: Reach, until: Duration, now: Duration) {
        let path = self.hash(&canonical_path(path), reach);
        self.lock_unsettled().add(path, until, now);
    }

    /// Answers whether there was anything to void.
    pub(super) fn void_scope(&self, scope: &Scope) -> bool {
        self.scopes.advance(scope)
    }

    /// Every scope that logs call by this name.
    pub(super) fn void_named_scope(&self, id: ScopeId) {
        self.scopes.advance_all(|scope| scope.id() == id);
    }

    pub(super) fn void_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    /// The paths above a stored one that stand for the same thing: from where the last parameter
    /// of its route begins. A list, or the root, is not one of them: whoever writes there does not
    /// void everybody's calls.
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

    fn hash(&self, path: &str, reach: Reach) -> u64 {
        self.seed.hash_one((path, reach))
    }

    fn lock_unsettled(&self) -> std::sync::MutexGuard<'_, Unsettled> {
        // A map operation does not panic half-way.
        self.unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fence {
    /// Whether two fetches began under the same generations.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.all == other.all
            && self.settled == other.settled
            && self.scope.is_as(&other.scope)
            && self.path.is_as(&other.path)
            && self.above.len() == other.above.len()
            && std::iter::zip(&self.above, &other.above).all(|(a, b)| a.is_as(b))
    }

    /// The same, and this stands as well.
    pub(super) fn and(&self, held: &Held) -> Self {
        let above = self.above.iter().chain([held]).cloned().collect();
        Self {
            above,
            ..self.clone()
        }
    }

    pub(super) fn turn_of(&self, key: &CacheKey) -> Turn {
        Turn {
            slot: end_slot(key),
            at: self.turn,
        }
    }

    /// The turn of one who asks for the same key once more.
    pub(super) fn turn_after(&self, before: Turn) -> Turn {
        Turn {
            at: self.turn,
            ..before
        }
    }

    /// Whether this fetch began after that one (RFC 9111 §4: the most recent response).
    #[must_use]
    pub fn is_after(&self, other: &Self) -> bool {
        self.turn > other.turn
    }
}

impl Held {
    fn of(cell: Arc<AtomicU64>) -> Self {
        let then = cell.load(Ordering::SeqCst);
        Self { cell, then }
    }

    pub(super) fn stands(&self) -> bool {
        self.cell.load(Ordering::SeqCst) == self.then
    }

    fn is_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell) && self.then == other.then
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the remainder is below ENDS"
)]
fn end_slot(key: &CacheKey) -> usize {
    (Prehashed::default().hash_one(key) % ENDS as u64) as usize
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
    fn a_fence_falls_with_its_path_its_scope_or_all_and_with_nothing_else() {
        let generations = generations(&["/v1/calls/{id}"]);
        let key = key("/v1/calls/c1");
        let fence = || generations.fence(&key, Duration::ZERO);

        let stands = fence();
        for n in 2..50_000 {
            assert!(!generations.void_path(&format!("/v1/calls/c{n}"), Reach::Here));
        }
        for above in ["/v1/calls", "/v1", "/"] {
            assert!(!generations.void_path(above, Reach::Here));
            assert!(!generations.void_path(above, Reach::Below));
        }
        let other = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
        assert!(!generations.void_scope(&other));
        generations.void_named_scope(other.id());
        assert!(generations.hold(&stands));

        for void in [
            (|g: &Generations, _: &Scope| {
                g.void_path("/v1/calls/%63%31", Reach::Here);
            }) as fn(&Generations, &Scope),
            |g, scope| {
                g.void_scope(scope);
            },
            |g, scope| g.void_named_scope(scope.id()),
            |g, _| g.void_all(),
        ] {
            let fence = fence();
            assert!(generations.hold(&fence));
            void(&generations, key.scope());
            assert!(!generations.hold(&fence));
        }
    }

    #[test]
    fn what_lies_below_falls_with_what_it_is_a_part_of() {
        let patterns = ["/v1/calls/{*rest}", "/v2/{org}/calls/{id}/transcript"];
        for (path, above, falls) in [
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
            let fence = generations.fence(&key(path), Duration::ZERO);
            generations.void_path(above, Reach::Here);
            assert!(generations.hold(&fence), "{path} {above}");
            generations.void_path(above, Reach::Below);
            assert_eq!(!generations.hold(&fence), falls, "{path} {above}");
        }
    }

    #[test]
    fn what_is_fetched_while_a_write_is_unsettled_is_not_admitted_later_either() {
        let generations = generations(&["/v1/calls/{id}"]);
        let key = key("/v1/calls/c1");
        let second = Duration::from_secs(1);
        generations.unsettle(key.path(), Reach::Here, second, Duration::ZERO);
        let early = generations.fence(&key, Duration::ZERO);
        let late = generations.fence(&key, second);
        assert!(!generations.admit(&key, &early));
        assert!(generations.admit(&key, &late));
        assert!(generations.hold(&early) && !early.is_as(&late));
    }
}
