//! The context shared by all parts of a call: organisation, dates, signature.

use jiff::Timestamp;

use crate::seeded_rng::SeededRng;
use crate::time::{self, Signature};

/// A part of a call is a function of its context and of a name, so a user, partner or invoice is the
/// same in every call that has it.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    pub(crate) organisation: String,
    /// Start time of the simulator; dates before all calls are relative to it.
    pub(crate) started: Timestamp,
    pub(crate) signature: Signature,
}

// === impl CallContext ===

impl CallContext {
    /// The generator for an item of this organisation.
    pub(crate) fn rng(&self, what: &str, which: &str) -> SeededRng {
        SeededRng::of(&[&self.organisation, what, which])
    }

    /// The id of an item of this organisation.
    pub(crate) fn id(&self, prefix: &str, which: &str) -> String {
        self.rng(prefix, which).id(prefix)
    }

    /// Whether an item has what few items have.
    pub(crate) fn at_times(&self, what: &str, which: &str) -> bool {
        self.rng(what, which).one_in(4)
    }

    /// Whether the last synchronisation of this organisation failed: of every one but the first.
    pub(crate) fn is_out_of_sync(&self) -> bool {
        self.organisation != "acme"
    }

    /// The organisation's own id.
    pub(crate) fn organisation_id(&self) -> String {
        self.id("org", "")
    }

    /// A random time that many days before the start, as the API writes it.
    pub(crate) fn days_ago(
        &self,
        rng: &mut SeededRng,
        days: std::ops::RangeInclusive<u32>,
    ) -> String {
        time::written(self.moment(rng, days))
    }

    /// A random time that many days before the start.
    pub(crate) fn moment(
        &self,
        rng: &mut SeededRng,
        days: std::ops::RangeInclusive<u32>,
    ) -> Timestamp {
        let days = rng.within(days);
        time::days_before(self.started, days, rng.within(0..=86_399))
    }
}
