//! Slots shared fairly among holders, such as tokens.
//!
//! A holder gets another slot only if more are free than it holds. So one greedy holder gets half of
//! them, two get a third each in the end, and a slot is left for the next: none starves another.

use std::collections::HashMap;
use std::hash::Hash;

/// The slots, and their holders.
#[derive(Debug)]
pub struct FairSlots<H> {
    /// The number of all slots, free or taken.
    pub limit: usize,
    taken: usize,
    /// Slots by holder, without zeros.
    held: HashMap<H, usize>,
}

/// Why no slot can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken, or reserved for others.
    All,
    /// This holder's share is taken.
    Share,
}

impl<H: Copy + Eq + Hash> FairSlots<H> {
    /// This many free slots.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: 0,
            held: HashMap::new(),
        }
    }

    /// The number of slots that a holder has.
    pub fn held_by(&self, holder: H) -> usize {
        self.held.get(&holder).copied().unwrap_or(0)
    }

    /// Takes a slot, if this holder may have another; `reserved` ones are not for it.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn take(&mut self, holder: H, reserved: usize) -> Result<(), Full> {
        let free = (self.limit - self.taken).saturating_sub(reserved);
        let held = self.held_by(holder);
        if held < free {
            self.held.insert(holder, held + 1);
            self.taken += 1;
            return Ok(());
        }
        Err(if free == 0 { Full::All } else { Full::Share })
    }

    /// Releases a slot of this holder.
    pub fn release(&mut self, holder: H) {
        self.taken -= 1;
        match self.held_by(holder) {
            0 | 1 => self.held.remove(&holder),
            held => self.held.insert(holder, held - 1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes slots until one is refused.
    fn exhaust(slots: &mut FairSlots<char>, holder: char, reserved: usize) -> (usize, Full) {
        let mut taken = 0;
        loop {
            match slots.take(holder, reserved) {
                Ok(()) => taken += 1,
                Err(full) => return (taken, full),
            }
        }
    }

    #[test]
    fn one_holder_gets_half_of_the_slots_and_two_get_a_third_each() {
        let mut slots = FairSlots::new(120);
        assert_eq!(exhaust(&mut slots, 'a', 0), (60, Full::Share));
        assert_eq!(exhaust(&mut slots, 'b', 0), (30, Full::Share));
        // The reserve is all that is left.
        assert_eq!(exhaust(&mut slots, 'c', 30), (0, Full::All));
        assert_eq!(slots.take('c', 0), Ok(()));
        // The first holder gets another slot once it has no more than its new share.
        for _ in 0..30 {
            slots.release('a');
        }
        assert_eq!(slots.take('a', 0), Ok(()));
    }

    #[test]
    fn reserved_slots_are_for_the_others() {
        let mut slots = FairSlots::new(120);
        assert_eq!(exhaust(&mut slots, 'x', 30), (45, Full::Share));
        assert_eq!(exhaust(&mut slots, 'a', 0), (38, Full::Share));
        assert_eq!(slots.take('x', 30), Err(Full::Share));
    }

    #[test]
    fn a_single_slot_goes_to_the_first_holder() {
        let mut slots = FairSlots::new(1);
        assert_eq!(exhaust(&mut slots, 'a', 0), (1, Full::All));
        assert_eq!(slots.take('b', 0), Err(Full::All));
        slots.release('a');
        assert_eq!(exhaust(&mut slots, 'b', 0), (1, Full::All));
    }

    #[test]
    fn holders_without_a_slot_use_no_memory() {
        let mut slots = FairSlots::new(100);
        for holder in 'a'..='z' {
            assert_eq!(slots.take(holder, 0), Ok(()));
            slots.release(holder);
        }
        assert_eq!((slots.held.len(), slots.taken), (0, 0));
    }
}
