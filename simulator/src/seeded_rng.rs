//! Deterministic pseudo-random values: a splitmix64 generator seeded by names.

use std::ops::RangeInclusive;

/// A pseudo-random sequence that depends only on the names that seed it.
///
/// Not for secrets: the names determine the sequence.
#[derive(Clone, Debug)]
pub(crate) struct SeededRng(u64);

impl SeededRng {
    /// A generator seeded by these names; `["ab", "c"]` and `["a", "bc"]` are different seeds.
    pub(crate) fn of(names: &[&str]) -> Self {
        let mut hash = blake3::Hasher::new();
        for name in names {
            // The length separates adjacent names.
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
        }
        let mut seed = [0; 8];
        hash.finalize_xof().fill(&mut seed);
        Self(u64::from_le_bytes(seed))
    }

    /// The next number of the sequence (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number within `range`, inclusive.
    pub(crate) fn within(&mut self, range: RangeInclusive<u32>) -> u32 {
        let span = u64::from(range.end() - range.start()) + 1;
        let step =
            u32::try_from(self.next() % span).expect("a remainder of a span of u32 fits u32");
        range.start() + step
    }

    /// True with a probability of 1 in `n`.
    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        self.within(1..=n) == 1
    }

    /// True with the probability `share` (0.0 never, 1.0 always).
    pub(crate) fn share(&mut self, share: f64) -> bool {
        let top = u32::try_from(self.next() >> 32).expect("the upper half of a u64 fits u32");
        f64::from(top) / (f64::from(u32::MAX) + 1.0) < share
    }

    /// One of `choices`, which must not be empty.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let last = u32::try_from(choices.len() - 1).expect("lists of choices are short");
        choices[self.within(0..=last) as usize]
    }

    /// `prefix` and sixteen hexadecimal digits: `inv_0f3c…`, at most 32 bytes, like the API's ids.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}_{:016x}", self.next())
    }

    /// An amount of money in this range of whole units, plus cents.
    pub(crate) fn money(&mut self, units: RangeInclusive<u32>) -> Money {
        Money(self.within(units) * 100 + self.within(0..=99))
    }
}

/// Money in cents, so that sums are exact; as JSON, units with a fraction, like the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Money(pub(crate) u32);

impl From<Money> for serde_json::Value {
    fn from(money: Money) -> Self {
        Self::from(f64::from(money.0) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_names_give_the_same_numbers() {
        let mut one = SeededRng::of(&["acme", "0001"]);
        let mut two = SeededRng::of(&["acme", "0001"]);
        assert_eq!(one.next(), two.next());
        assert_ne!(
            SeededRng::of(&["ab", "c"]).next(),
            SeededRng::of(&["a", "bc"]).next()
        );
    }

    #[test]
    fn a_number_stays_within_its_range() {
        let mut rng = SeededRng::of(&["range"]);
        for _ in 0..1_000 {
            assert!((3..=7).contains(&rng.within(3..=7)));
        }
        assert!(!rng.share(0.0));
        assert!(rng.share(1.0));
    }

    #[test]
    fn money_is_written_in_units() {
        assert_eq!(serde_json::Value::from(Money(12_345)).to_string(), "123.45");
    }
}
