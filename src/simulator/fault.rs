//! Faults and delays that befall a request by its number, the same in every run.

use std::time::Duration;

use super::Simulator;
use super::call_id::Kind;
use super::dice::Dice;

/// What a fault does to an answer that would have been good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Broken,
    Throttled,
    Unavailable,
    Torn,
}

impl Simulator {
    /// What befalls the `nth` request, whoever sends it.
    pub(super) fn fault(&self, nth: u64) -> Option<Fault> {
        let mut dice = Dice::of(&["fault", &nth.to_string()]);
        dice.share(self.0.options.fault_rate).then(|| {
            dice.pick(&[
                Fault::Broken,
                Fault::Throttled,
                Fault::Unavailable,
                Fault::Torn,
            ])
        })
    }

    /// How long the `nth` request takes to be answered.
    pub(super) fn delay(&self, nth: u64, kind: Option<Kind>) -> Duration {
        let options = &self.0.options;
        let share = f64::from(Dice::of(&["delay", &nth.to_string()]).within(0..=1_000)) / 1_000.0;
        let slow = if kind == Some(Kind::Slow) {
            options.slow
        } else {
            Duration::ZERO
        };
        options.latency + options.jitter.mul_f64(share) + slow
    }
}
