//! Places among the requests that wait for the origin (`limits.in_flight`), and who may take the
//! next one. Pure.
//!
//! A token may hold no more places than are free. So one that storms gets half of them, two get
//! a third each, and whoever comes next finds a place: nobody's misses starve anybody else's.

use std::collections::HashMap;

use crate::request::Scope;

/// The places, and who holds how many.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    taken: usize,
    /// Who holds at least one: never more than the limit. All that come without a token are one.
    held: HashMap<Option<Scope>, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All are taken.
    All,
    /// This token holds as many as are free.
    Share,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: 0,
            held: HashMap::new(),
        }
    }

    /// Whether this token may take one.
    pub(super) fn offer(&self, holder: Option<&Scope>) -> Result<(), Full> {
        let free = self.limit - self.taken;
        let held = self.held.get(&holder.copied()).copied().unwrap_or(0);
        if free == 0 {
            Err(Full::All)
        } else if held >= free {
            Err(Full::Share)
        } else {
            Ok(())
        }
    }

    /// Takes what was offered.
    pub(super) fn take(&mut self, holder: Option<&Scope>) {
        self.taken += 1;
        *self.held.entry(holder.copied()).or_default() += 1;
    }

    /// Gives one back.
    pub(super) fn leave(&mut self, holder: Option<&Scope>) {
        self.taken -= 1;
        let holder = holder.copied();
        if let Some(held) = self.held.get_mut(&holder) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::request::ScopeKey;

    fn tokens() -> [Scope; 3] {
        let key = ScopeKey::random();
        ["Bearer a", "Bearer b", "Bearer c"]
            .map(|token| key.scope(&HeaderValue::from_static(token)))
    }

    /// Takes as many as it gets.
    fn storm(places: &mut Places, holder: Option<&Scope>) -> (usize, Full) {
        let mut taken = 0;
        loop {
            match places.offer(holder) {
                Ok(()) => places.take(holder),
                Err(full) => return (taken, full),
            }
            taken += 1;
        }
    }

    #[test]
    fn a_storm_leaves_half_and_two_leave_a_third() {
        let mut places = Places::new(120);
        let [a, b, c] = tokens();
        assert_eq!(storm(&mut places, Some(&a)), (60, Full::Share));
        assert_eq!(storm(&mut places, Some(&b)), (30, Full::Share));
        assert_eq!(storm(&mut places, None), (15, Full::Share));
        assert_eq!(places.offer(Some(&c)), Ok(()));
        // The first goes down to its share as its requests end.
        for _ in 0..30 {
            places.leave(Some(&a));
        }
        assert_eq!(places.offer(Some(&a)), Ok(()));
    }

    #[test]
    fn the_only_place_is_for_whoever_comes() {
        let mut places = Places::new(1);
        let [a, b, _] = tokens();
        assert_eq!(storm(&mut places, Some(&a)), (1, Full::All));
        assert_eq!(places.offer(Some(&b)), Err(Full::All));
        places.leave(Some(&a));
        assert_eq!(storm(&mut places, Some(&b)), (1, Full::All));
    }

    #[test]
    fn who_holds_none_is_not_remembered() {
        let mut places = Places::new(100);
        for scope in tokens() {
            places.take(Some(&scope));
            places.leave(Some(&scope));
        }
        assert_eq!((places.held.len(), places.taken), (0, 0));
    }
}
