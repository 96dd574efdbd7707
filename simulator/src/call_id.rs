//! Call ids: the organisation, kind and number of a call.
//!
//! `call_<organisation>_<number>` is an ordinary call, and `call_<kind>_<organisation>_<number>` one
//! of another [`Kind`]. The number has at least four digits and counts from 1. A call is derived
//! from its id alone, so a million calls need no memory.

use std::fmt;

/// A call id, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallId {
    pub(crate) kind: Kind,
    pub(crate) organisation: String,
    pub(crate) number: u32,
}

/// The kind of a call, part of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// An ordinary call; its number decides its lifecycle and its size.
    Plain,
    /// Long completed, around 4 KB: no invoices, a short partner.
    Small,
    /// Long completed, around 400 KB.
    Large,
    /// Starts with the first request for it and ends half a minute later.
    Live,
    /// Pending approval, then like a live one.
    Pending,
    /// Ended because the line was busy.
    Busy,
    /// Ended without an answer.
    NoAnswer,
    /// Ended by a failure of the line.
    Failed,
    /// Canceled before it started.
    Canceled,
    /// Long completed; the response is delayed by `Options::slow`.
    Slow,
    /// Always answered with 500.
    Fault500,
    /// Always answered with 429 and `Retry-After`.
    Fault429,
    /// A 200 whose connection is closed in the middle of the body.
    FaultReset,
}

const KINDS: [(Kind, &str); 12] = [
    (Kind::Small, "small_"),
    (Kind::Large, "large_"),
    (Kind::Live, "live_"),
    (Kind::Pending, "pending_"),
    (Kind::Busy, "busy_"),
    (Kind::NoAnswer, "no_answer_"),
    (Kind::Failed, "failed_"),
    (Kind::Canceled, "canceled_"),
    (Kind::Slow, "slow_"),
    (Kind::Fault500, "fault_500_"),
    (Kind::Fault429, "fault_429_"),
    (Kind::FaultReset, "fault_reset_"),
];

// === impl CallId ===

impl CallId {
    /// An ordinary call of an organisation.
    pub(crate) fn plain(organisation: &str, number: u32) -> Self {
        Self {
            kind: Kind::Plain,
            organisation: organisation.to_owned(),
            number,
        }
    }

    /// Parses an id in exactly the form that [`fmt::Display`] writes; `None` for any other text.
    pub(crate) fn parse(written: &str) -> Option<Self> {
        let rest = written.strip_prefix("call_")?;
        let (kind, rest) = KINDS
            .iter()
            .find_map(|(kind, name)| Some((*kind, rest.strip_prefix(name)?)))
            .unwrap_or((Kind::Plain, rest));
        let (organisation, digits) = rest.split_once('_')?;
        let id = Self {
            kind,
            organisation: organisation.to_owned(),
            number: digits.parse().ok()?,
        };
        // One call has one id: `+1`, `01` and `00001` are rejected.
        (id.number > 0 && id.to_string() == written).then_some(id)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = KINDS
            .iter()
            .find_map(|(kind, name)| (*kind == self.kind).then_some(*name))
            .unwrap_or_default();
        write!(f, "call_{kind}{}_{:04}", self.organisation, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_parses_and_prints_as_the_same_text() {
        for written in [
            "call_acme_0001",
            "call_live_acme_0001",
            "call_no_answer_globex_0042",
            "call_fault_reset_initech_12345",
        ] {
            let id = CallId::parse(written).expect("the id is well formed");
            assert_eq!(id.to_string(), written);
            assert!(
                written.len() <= 32,
                "{written} is longer than the API's ids"
            );
        }
    }

    #[test]
    fn other_spellings_are_rejected() {
        for written in [
            "",
            "call_",
            "call_acme",
            "call_acme_",
            "call_acme_1",
            "call_acme_0000",
            "call_acme_+001",
            "call_acme_00001",
            "Call_acme_0001",
            "call_odd_acme_0001",
            "call_acme_99999999999",
        ] {
            assert_eq!(CallId::parse(written), None, "{written}");
        }
    }
}
