//! Admissions: which tokens may see a stored response that several share.
//!
//! In a named scope a stored response is served to a token only after the origin has shown it that
//! very response, and only for a while. A token's own scope needs no admissions: the scope says it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::counters::{Counter, Snapshot};
use crate::request::Scope;

/// Tokens that are remembered for one response. Beyond it, the one admitted first asks again.
const MAX_ADMITTED: usize = 256;

/// What an admission weighs: itself, and the counter that it keeps alive.
const WEIGHT: usize = size_of::<Admission>() + 96;

/// That the origin has shown a response to a token. A later refusal of the token ends it, and so
/// does any later answer to the token for the same key.
#[derive(Clone, Debug)]
pub struct Admission {
    token: Scope,
    /// The token's generation when the origin was asked.
    generation: Snapshot,
    superseded: Arc<Counter>,
    sequence: u64,
    until: Duration,
}

/// The tokens that are admitted to one response.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<Vec<Admission>>);

impl Admission {
    pub(super) fn new(
        token: Scope,
        generation: Snapshot,
        superseded: Arc<Counter>,
        sequence: u64,
        until: Duration,
    ) -> Self {
        Self {
            token,
            generation,
            superseded,
            sequence,
            until,
        }
    }

    fn is_valid(&self, now: Duration) -> bool {
        now < self.until && self.generation.is_current() && self.superseded.value() <= self.sequence
    }
}

impl Admitted {
    pub(super) fn admits(&self, token: &Scope, now: Duration) -> bool {
        let admitted = self.lock();
        admitted
            .iter()
            .any(|one| one.token == *token && one.is_valid(now))
    }

    /// Whether this token was admitted by a fetch that began later.
    pub(super) fn admits_later(&self, token: &Scope, sequence: u64) -> bool {
        let admitted = self.lock();
        admitted
            .iter()
            .any(|one| one.token == *token && one.sequence > sequence)
    }

    pub(super) fn add(&self, admission: Admission) {
        let mut admitted = self.lock();
        admitted.retain(|one| one.token != admission.token);
        if admitted.len() == MAX_ADMITTED {
            admitted.remove(0);
        }
        admitted.push(admission);
    }

    /// Answers whether other tokens are left.
    pub(super) fn remove(&self, token: &Scope) -> bool {
        let mut admitted = self.lock();
        admitted.retain(|one| one.token != *token);
        !admitted.is_empty()
    }

    /// Takes over the admissions to the same response.
    pub(super) fn inherit(&self, older: &Self) {
        let older = older.lock().clone();
        let mut admitted = self.lock();
        for one in older {
            if admitted.len() < MAX_ADMITTED
                && admitted.iter().all(|known| known.token != one.token)
            {
                admitted.push(one);
            }
        }
    }

    pub(super) fn weight(&self) -> usize {
        self.lock().capacity() * WEIGHT
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Admission>> {
        // An operation on a list does not panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
