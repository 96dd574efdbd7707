//! The fence: what a purge, a write or a refusal declares void stays void, also when a fetch
//! that began earlier ends later.
//!
//! Voiding moves a generation forward. A response carries the generations its fetch began under;
//! it may be stored, and is served, only while they still stand. So one atomic addition voids
//! every stored response of a call in all scopes, and every fetch of it in the air, at once and
//! with no search. What is void is swept out of memory later.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::canonical_path;
use crate::request::{CacheKey, ScopeId};

/// Paths and scopes are counted in this many slots each. Two that share a slot are voided
/// together: a needless fetch, never a wrong answer.
const SLOTS: usize = 1 << 14;

/// The current generations.
#[derive(Debug)]
pub(super) struct Generations {
    all: AtomicU64,
    paths: Box<[AtomicU64]>,
    scopes: Box<[AtomicU64]>,
    /// Keyed per process, so that nobody outside can make two paths share a slot.
    seed: RandomState,
}

/// The generations that a fetch began under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    all: u64,
    path: (usize, u64),
    scope: (usize, u64),
}

impl Generations {
    pub(super) fn new() -> Self {
        let slots = || {
            std::iter::repeat_with(AtomicU64::default)
                .take(SLOTS)
                .collect()
        };
        Self {
            all: AtomicU64::default(),
            paths: slots(),
            scopes: slots(),
            seed: RandomState::new(),
        }
    }

    /// The generations that stand now for this key.
    pub(super) fn fence(&self, key: &CacheKey) -> Fence {
        let path = self.path_slot(key.path());
        let scope = scope_slot(key.scope().id());
        Fence {
            all: self.all.load(Ordering::SeqCst),
            path: (path, self.paths[path].load(Ordering::SeqCst)),
            scope: (scope, self.scopes[scope].load(Ordering::SeqCst)),
        }
    }

    /// Whether nothing has voided what this fence stands for.
    pub(super) fn hold(&self, fence: &Fence) -> bool {
        self.all.load(Ordering::SeqCst) == fence.all
            && self.paths[fence.path.0].load(Ordering::SeqCst) == fence.path.1
            && self.scopes[fence.scope.0].load(Ordering::SeqCst) == fence.scope.1
    }

    pub(super) fn void_path(&self, path: &str) {
        self.paths[self.path_slot(path)].fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn void_scope(&self, scope: ScopeId) {
        self.scopes[scope_slot(scope)].fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn void_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    fn path_slot(&self, path: &str) -> usize {
        // Equivalent spellings are voided together; the keys keep them apart.
        slot(self.seed.hash_one(canonical_path(path)))
    }
}

/// A scope is a keyed digest already: its beginning is as good as a hash.
fn scope_slot(scope: ScopeId) -> usize {
    slot(u64::from(scope.number()))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the remainder is below SLOTS"
)]
fn slot(hash: u64) -> usize {
    (hash % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::request::ScopeKey;

    #[test]
    fn a_fence_falls_with_its_path_its_scope_or_all_and_with_nothing_else() {
        let generations = Generations::new();
        let scopes = ScopeKey::random();
        let a = scopes.scope(&HeaderValue::from_static("Bearer a"));
        let key = CacheKey::new(a, "/v1/calls/c1", Some("x=1"));

        let fence = generations.fence(&key);
        let other_path = (2..100)
            .map(|n| format!("/v1/calls/c{n}"))
            .find(|p| generations.path_slot(p) != fence.path.0);
        generations.void_path(&other_path.expect("not all paths share a slot"));
        let other_scope = ScopeId::parse(&format!("{:08x}", a.id().number() ^ 1)).expect("hex");
        generations.void_scope(other_scope);
        assert!(generations.hold(&fence));

        for void in [
            (|g: &Generations, _: ScopeId| g.void_path("/v1/calls/c1"))
                as fn(&Generations, ScopeId),
            |g, scope| g.void_scope(scope),
            |g, _| g.void_all(),
        ] {
            let fence = generations.fence(&key);
            assert!(generations.hold(&fence));
            void(&generations, a.id());
            assert!(!generations.hold(&fence));
        }
    }
}
