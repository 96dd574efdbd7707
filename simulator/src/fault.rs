//! Injected faults and delays: they depend on the number of the request, and are the same in every
//! run.

use std::time::Duration;

use crate::Simulator;
use crate::call_id::Kind;
use crate::seeded_rng::SeededRng;

/// An injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Broken,
    Throttled,
    Unavailable,
    Torn,
}

impl Simulator {
    /// The fault of the `nth` request, if any.
    pub(crate) fn fault(&self, nth: u64) -> Option<Fault> {
        let mut rng = SeededRng::of(&["fault", &nth.to_string()]);
        rng.share(self.0.options.fault_rate).then(|| {
            rng.pick(&[
                Fault::Broken,
                Fault::Throttled,
                Fault::Unavailable,
                Fault::Torn,
            ])
        })
    }

    /// The delay of the response to the `nth` request.
    pub(crate) fn delay(&self, nth: u64, kind: Option<Kind>) -> Duration {
        let options = &self.0.options;
        let share =
            f64::from(SeededRng::of(&["delay", &nth.to_string()]).within(0..=1_000)) / 1_000.0;
        let slow = if kind == Some(Kind::Slow) {
            options.slow
        } else {
            Duration::ZERO
        };
        options.latency + options.jitter.mul_f64(share) + slow
    }
}
