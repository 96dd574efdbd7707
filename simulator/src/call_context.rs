//! The context that all parts of a call share: organisation, dates, signature.

use jiff::Timestamp;

use crate::seeded_rng::SeededRng;
use crate::time::{self, Signature};

/// The context that the parts of a call share.
///
/// A part of the document is a function of the context and of a name; the same user, partner
/// or invoice therefore looks the same in every call that mentions it.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    pub(crate) organisation: String,
    /// When the simulator began; what is older than every call is dated from here.
    pub(crate) started: Timestamp,
    pub(crate) signature: Signature,
}

// === impl CallContext ===

impl CallContext {
    /// The generator of something in this organisation.
    pub(crate) fn rng(&self, what: &str, which: &str) -> SeededRng {
        SeededRng::of(&[&self.organisation, what, which])
    }

    /// The id of something in this organisation.
    pub(crate) fn id(&self, prefix: &str, which: &str) -> String {
        self.rng(prefix, which).id(prefix)
    }

    /// The organisation's own id.
    pub(crate) fn organisation_id(&self) -> String {
        self.id("org", "")
    }

    /// Some moment that many days before the simulator began, as the API writes it.
    pub(crate) fn days_ago(
        &self,
        rng: &mut SeededRng,
        days: std::ops::RangeInclusive<u32>,
    ) -> String {
        time::written(self.moment(rng, days))
    }

    /// Some moment that many days before the simulator began.
    pub(crate) fn moment(
        &self,
        rng: &mut SeededRng,
        days: std::ops::RangeInclusive<u32>,
    ) -> Timestamp {
        let days = rng.within(days);
        time::days_before(self.started, days, rng.within(0..=86_399))
    }
}
