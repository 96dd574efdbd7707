//! Admissions: which tokens may see a stored response that several share.
//!
//! In a scope that tokens share, a stored response is served to a token only after the origin
//! itself has answered 2xx to that very token for that key, and only for a while. In a token's
//! own scope the scope says it all, and nothing is kept here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::fence::{Fence, Held, Turn};
use crate::request::Scope;

/// Tokens that are remembered for one response. Of more, who was admitted first asks anew.
const MAX_ADMITTED: usize = 256;

/// That the origin has answered a token. Falls when the origin refuses that token anywhere.
#[derive(Clone, Debug)]
pub struct Admission {
    holder: Scope,
    /// Where the token stood when the origin was asked: a refusal in between counts.
    stood: Held,
    /// When it asked for this key: what a later answer has taken back does not count.
    turn: Turn,
    until: Duration,
}

/// The tokens that are admitted to one response.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<Vec<Admission>>);

/// A token whose request is on its way to the origin.
#[derive(Clone, Debug)]
pub struct Candidate {
    holder: Scope,
    stood: Held,
    turn: Turn,
}

impl Candidate {
    pub(super) fn new(holder: Scope, stood: Held, turn: Turn) -> Self {
        Self {
            holder,
            stood,
            turn,
        }
    }

    pub(super) fn turn(&self) -> Turn {
        self.turn
    }

    /// Whose token it is.
    #[must_use]
    pub fn holder(&self) -> &Scope {
        &self.holder
    }

    /// What its own fetch begins under: what the one for all who share does, and the token itself.
    #[must_use]
    pub fn fence(&self, shared: &Fence) -> Fence {
        shared.and(&self.stood)
    }

    /// The origin has answered it.
    #[must_use]
    pub fn admitted(&self, until: Duration) -> Admission {
        let Self {
            holder,
            stood,
            turn,
        } = self.clone();
        Admission {
            holder,
            stood,
            turn,
            until,
        }
    }
}

impl Admission {
    fn stands(&self, now: Duration) -> bool {
        now < self.until && self.stood.stands()
    }
}

impl Admitted {
    pub(super) fn admits(&self, holder: &Scope, now: Duration) -> bool {
        let admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        admitted
            .iter()
            .any(|one| one.holder == *holder && one.stands(now))
    }

    pub(super) fn add(&self, admission: Admission) {
        let mut admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        admitted.retain(|one| one.holder != admission.holder);
        if admitted.len() == MAX_ADMITTED {
            admitted.remove(0);
        }
        admitted.push(admission);
    }

    pub(super) fn keep(&self, counts: impl Fn(Turn) -> bool) {
        let mut admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        admitted.retain(|one| counts(one.turn));
    }

    /// Takes over who was admitted to what this response replaces.
    pub(super) fn inherit(&self, older: &Self) {
        let older = older
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in older {
            if admitted.len() < MAX_ADMITTED
                && admitted.iter().all(|known| known.holder != one.holder)
            {
                admitted.push(one);
            }
        }
    }

    pub(super) fn weight(&self) -> usize {
        let admitted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        admitted.capacity() * size_of::<Admission>()
    }
}
