//! The slots of one pool of exchanges with the origin, fair among tokens. Pure.
//!
//! A token gets another slot only if more are free than it holds. So one greedy token gets half of
//! them, two get a third each in the end, and a slot is left for the next: no token starves another.
//! Tokens can be invented, so that all those that the origin has not accepted are one holder, and a
//! quarter of the slots is not for them.

use std::collections::HashMap;

use crate::request::Scope;

/// The slots, and their holders.
#[derive(Debug)]
pub(super) struct FairSlots {
    limit: usize,
    taken: usize,
    /// Slots by holder, without zeros. All requests without an accepted token are one holder.
    held: HashMap<Option<Scope>, usize>,
}

/// Why no slot can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All are taken.
    All,
    /// This token's share is taken.
    Share,
}

impl FairSlots {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: 0,
            held: HashMap::new(),
        }
    }

    /// Takes a slot, if this token may hold another.
    pub(super) fn take(&mut self, holder: Option<&Scope>) -> Result<(), Full> {
        let reserved = holder.map_or(self.limit / 4, |_| 0);
        let free = (self.limit - self.taken).saturating_sub(reserved);
        let held = self.held.entry(holder.copied()).or_default();
        if *held < free {
            *held += 1;
            self.taken += 1;
            return Ok(());
        }
        if *held == 0 {
            self.held.remove(&holder.copied());
        }
        Err(if free == 0 { Full::All } else { Full::Share })
    }

    pub(super) fn release(&mut self, holder: Option<&Scope>) {
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

    /// Takes slots until one is refused.
    fn exhaust(slots: &mut FairSlots, holder: Option<&Scope>) -> (usize, Full) {
        let mut taken = 0;
        loop {
            match slots.take(holder) {
                Ok(()) => taken += 1,
                Err(full) => return (taken, full),
            }
        }
    }

    #[test]
    fn one_token_gets_half_of_the_slots_and_two_get_a_third_each() {
        let mut slots = FairSlots::new(120);
        let [a, b, c] = tokens();
        assert_eq!(exhaust(&mut slots, Some(&a)), (60, Full::Share));
        assert_eq!(exhaust(&mut slots, Some(&b)), (30, Full::Share));
        // The reserve of accepted tokens is all that is left.
        assert_eq!(exhaust(&mut slots, None), (0, Full::All));
        assert_eq!(slots.take(Some(&c)), Ok(()));
        // The first token gets another slot once it holds no more than its new share.
        for _ in 0..30 {
            slots.release(Some(&a));
        }
        assert_eq!(slots.take(Some(&a)), Ok(()));
    }

    #[test]
    fn a_quarter_is_reserved_for_accepted_tokens() {
        let mut slots = FairSlots::new(120);
        let [a, _, _] = tokens();
        assert_eq!(exhaust(&mut slots, None), (45, Full::Share));
        assert_eq!(exhaust(&mut slots, Some(&a)), (38, Full::Share));
        assert_eq!(slots.take(None), Err(Full::Share));
    }

    #[test]
    fn a_single_slot_goes_to_the_first_token() {
        let mut slots = FairSlots::new(1);
        let [a, b, _] = tokens();
        assert_eq!(exhaust(&mut slots, Some(&a)), (1, Full::All));
        assert_eq!(slots.take(Some(&b)), Err(Full::All));
        slots.release(Some(&a));
        assert_eq!(exhaust(&mut slots, Some(&b)), (1, Full::All));
    }

    #[test]
    fn tokens_without_a_slot_use_no_memory() {
        let mut slots = FairSlots::new(100);
        for scope in tokens() {
            assert_eq!(slots.take(Some(&scope)), Ok(()));
            slots.release(Some(&scope));
        }
        assert_eq!((slots.held.len(), slots.taken), (0, 0));
    }
}
