//! Why the last request of a key was not a hit, and its last response not stored: for `/explain`.
//!
//! Recorded when a request goes to the origin and when a response is removed, never at a hit.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use crate::label::labels;
use crate::policy::{NotStored, canonical_path};
use crate::request::{Bypass, ScopeId};

/// Number of keys; one that takes the place of another, by their hashes, replaces it. That is not counted:
/// with more keys in use it is the normal case, and the next miss of a key records its reason again.
const PLACES: usize = 4_096;

labels! {
    /// Why a request was not a hit.
    pub enum NotHit {
        Absent => "absent": "nothing was stored for it",
        Evicted => "evicted": "what was stored had been evicted: `cache.capacity` was used up",
        HardLimit => "hard-limit": "what was stored was older than `freshness.hard_limit`",
        PurgedAll => "everything-invalidated": "everything stored had been invalidated: by a purge, or because invalidations of other replicas may have been lost",
        PathInvalidated => "path-invalidated": "a purge or a write had invalidated its path",
        TokenInvalidated => "token-invalidated": "the origin had refused its token, or its scope was purged",
        Superseded => "superseded": "a newer response, which could not be stored, had removed what was stored",
        NoLease => "no-lease": "what was stored may not be used without the engine of the shared level",
        OtherVariant => "vary-miss": "what was stored is for other request fields (Vary)",
        NotAdmitted => "not-admitted": "the origin had not yet sent its token what others of the scope had stored",
        Expired => "expired": "what was stored was no longer fresh, or the token was due for a recheck",
        Request => "request": "the request's Cache-Control or Pragma forbade the use of what was stored",
    }
}

/// Why a request was not served from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// After a lookup.
    NotHit(NotHit),
    /// Without one.
    Bypass(Bypass),
}

/// The last reasons of the keys, by scope and path.
#[derive(Debug, Default)]
pub struct Reasons {
    /// A blocking mutex: held for the write of one place, never by a hit.
    places: Mutex<Vec<Place>>,
    /// Random per process, so that a client cannot choose which keys it replaces.
    seed: RandomState,
}

/// The last reasons of one key, each with its time by the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastReasons {
    /// Why the last request that was not served from the store was not.
    pub miss: Option<(Unserved, Duration)>,
    /// Why the last response that was not stored was not.
    pub not_stored: Option<(NotStored, Duration)>,
    /// Why the last stored response was removed.
    removed: Option<NotHit>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The hash of the path in its canonical form.
    path: u64,
    /// `None`: without a bearer token.
    scope: Option<ScopeId>,
    last: LastReasons,
}

impl Reasons {
    /// Records a request that goes to the origin. If nothing is stored, the reason is that of the removal.
    pub fn record_miss(&self, scope: Option<ScopeId>, path: &str, why: Unserved, now: Duration) {
        self.change(scope, path, |last| {
            let why = match (why, last.removed) {
                (Unserved::NotHit(NotHit::Absent), Some(removed)) => Unserved::NotHit(removed),
                _ => why,
            };
            last.miss = Some((why, now));
        });
    }

    /// Records a response that is not stored.
    pub fn record_not_stored(&self, scope: ScopeId, path: &str, why: NotStored, now: Duration) {
        self.change(Some(scope), path, |last| {
            last.not_stored = Some((why, now));
            // Recorded at the head of this response.
            last.removed = last.removed.filter(|why| *why == NotHit::Superseded);
        });
    }

    /// Records why a stored response was removed.
    pub fn record_removal(&self, scope: ScopeId, path: &str, why: NotHit) {
        self.change(Some(scope), path, |last| last.removed = Some(why));
    }

    /// The last reasons for this path, of each scope or of one.
    pub fn of(&self, path: &str, scope: Option<ScopeId>) -> Vec<(Option<ScopeId>, LastReasons)> {
        let path = self.seed.hash_one(canonical_path(path));
        let places = self.places.lock();
        let is_asked =
            |place: &&Place| place.path == path && (scope.is_none() || scope == place.scope);
        let found = places.iter().filter(is_asked);
        found.map(|place| (place.scope, place.last)).collect()
    }

    fn change(&self, scope: Option<ScopeId>, path: &str, change: impl FnOnce(&mut LastReasons)) {
        let path = self.seed.hash_one(canonical_path(path));
        let at = self.seed.hash_one((path, scope.map(ScopeId::number)));
        let at = usize::try_from(at % PLACES as u64).expect("it is below the number of places");
        let mut places = self.places.lock();
        places.resize(PLACES, Place::default());
        let place = &mut places[at];
        if (place.path, place.scope) != (path, scope) {
            *place = Place {
                path,
                scope,
                last: LastReasons::default(),
            };
        }
        change(&mut place.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_miss_after_a_removal_has_its_reason() {
        let reasons = Reasons::default();
        let scope = ScopeId::parse("01020304");
        let absent = Unserved::NotHit(NotHit::Absent);
        reasons.record_miss(scope, "/a", absent, SECOND);
        let miss = |scope| {
            reasons
                .of("//a", scope)
                .first()
                .and_then(|(_, last)| last.miss)
        };
        assert_eq!(miss(scope), Some((absent, SECOND)));
        reasons.record_removal(scope.expect("hex digits"), "/a", NotHit::Evicted);
        reasons.record_miss(scope, "/a", absent, 2 * SECOND);
        let evicted = Unserved::NotHit(NotHit::Evicted);
        assert_eq!(miss(None), Some((evicted, 2 * SECOND)));
        assert_eq!(miss(ScopeId::parse("01020305")), None);
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let reasons = Reasons::default();
        for path in 0..2 * PLACES {
            reasons.record_miss(
                None,
                &format!("/{path}"),
                Unserved::Bypass(Bypass::Range),
                SECOND,
            );
        }
        let known = (0..2 * PLACES).map(|path| reasons.of(&format!("/{path}"), None).len());
        let known = known.sum::<usize>();
        assert!((PLACES / 2..=PLACES).contains(&known), "{known}");
        assert_eq!(reasons.places.lock().len(), PLACES);
    }
}
