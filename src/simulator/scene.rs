//! What all parts of one call agree on: whose it is, the dates, the signature.

use jiff::Timestamp;

use super::dice::Dice;
use super::time::{self, Signature};

/// The common ground of a call's parts.
///
/// A part of the document is a function of the scene and of a name; the same user, partner
/// or invoice therefore looks the same in every call that mentions it.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) organisation: String,
    /// When the simulator began; what is older than every call is dated from here.
    pub(super) started: Timestamp,
    pub(super) signature: Signature,
}

// === impl Scene ===

impl Scene {
    /// The dice of something in this organisation.
    pub(super) fn dice(&self, what: &str, which: &str) -> Dice {
        Dice::of(&[&self.organisation, what, which])
    }

    /// The id of something in this organisation.
    pub(super) fn id(&self, prefix: &str, which: &str) -> String {
        self.dice(prefix, which).id(prefix)
    }

    /// The organisation's own id.
    pub(super) fn organisation_id(&self) -> String {
        self.id("org", "")
    }

    /// Some moment that many days before the simulator began, as the API writes it.
    pub(super) fn days_ago(&self, dice: &mut Dice, days: std::ops::RangeInclusive<u32>) -> String {
        time::written(self.moment(dice, days))
    }

    /// Some moment that many days before the simulator began.
    pub(super) fn moment(&self, dice: &mut Dice, days: std::ops::RangeInclusive<u32>) -> Timestamp {
        let days = dice.within(days);
        time::days_before(self.started, days, dice.within(0..=86_399))
    }
}
