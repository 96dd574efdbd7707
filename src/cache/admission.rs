//! Admissions: the tokens of a named scope to which a stored response may be served.
//!
//! A token is served a response only after the origin has shown it that same response, and only for
//! `scope.admission_ttl`. A scope of one token needs no admissions: the cache key is enough.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::counters::{Counter, Snapshot};
use crate::request::Scope;

/// Maximum admissions per response; a further one replaces the oldest.
const MAX_ADMITTED: usize = 256;

/// Bytes of an admission: itself, and the counters that it keeps alive.
const WEIGHT: usize = size_of::<Admission>() + 160;

/// An admission of a token to a response that the origin has shown it. It is revoked by a later
/// refusal of the token, and by any later response to the token for the same key.
#[derive(Clone, Debug)]
pub struct Admission {
    pub(super) token: Scope,
    /// The generations of the token, and of the resource for it, when the fetch began.
    pub(super) generation: [Snapshot; 2],
    pub(super) superseded: Arc<Counter>,
    pub(super) sequence: u64,
    pub(super) until: Duration,
}

/// The admissions to one response.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<Vec<Admission>>);

impl Admission {
    fn is_valid(&self, now: Duration) -> bool {
        now < self.until
            && self.generation.iter().all(Snapshot::is_current)
            && self.superseded.value() <= self.sequence
    }
}

impl Admitted {
    pub(super) fn admits(&self, token: &Scope, now: Duration) -> bool {
        let admitted = self.0.lock();
        admitted
            .iter()
            .any(|one| one.token == *token && one.is_valid(now))
    }

    /// Whether this token was admitted by a fetch that began after `sequence`.
    pub(super) fn admits_later(&self, token: &Scope, sequence: u64) -> bool {
        let admitted = self.0.lock();
        admitted
            .iter()
            .any(|one| one.token == *token && one.sequence > sequence)
    }

    pub(super) fn add(&self, admission: Admission) {
        let mut admitted = self.0.lock();
        admitted.retain(|one| one.token != admission.token);
        if admitted.len() == MAX_ADMITTED {
            admitted.remove(0);
        }
        admitted.push(admission);
    }

    /// Revokes a token's admission; returns whether other tokens are left.
    pub(super) fn remove(&self, token: &Scope) -> bool {
        let mut admitted = self.0.lock();
        admitted.retain(|one| one.token != *token);
        !admitted.is_empty()
    }

    /// Copies the admissions of an older entry with the same response.
    pub(super) fn inherit(&self, older: &Self) {
        let older = older.0.lock().clone();
        let mut admitted = self.0.lock();
        for one in older {
            if admitted.len() < MAX_ADMITTED
                && admitted.iter().all(|other| other.token != one.token)
            {
                admitted.push(one);
            }
        }
    }

    pub(super) fn weight(&self) -> usize {
        self.0.lock().capacity() * WEIGHT
    }
}
