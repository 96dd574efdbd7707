//! The largest fields of responses: measured at some fills, never at a hit.
//!
//! Names of members are schema, not content. Even so, only a few short words are kept: the keys of
//! a body that is a map (of telephone numbers, say) count as [`Heaviest::rest`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::json;

/// At most one fill per interval is measured: at 40 µs for a fill of 40 KB, measuring takes less
/// than 0.1 % of a CPU.
const INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of names.
const MAX_NAMES: usize = 64;

/// Maximum bytes of a name.
const MAX_NAME: usize = 48;

/// The factor by which each fill reduces the weight of earlier ones: about fifty fills count.
const DECAY: f64 = 0.98;

/// The sizes of top-level fields over recent fills.
#[derive(Debug, Default)]
pub struct FieldWeights(Mutex<Recent>);

/// Sums that decay with each fill.
#[derive(Debug, Default)]
struct Recent {
    /// Earliest time of the next measurement, by the monotonic clock.
    next: Duration,
    names: HashMap<Box<str>, f64>,
    rest: f64,
    bytes: f64,
    fills: f64,
    measured: u64,
}

/// The largest fields, by mean bytes of a fill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heaviest {
    /// Fills measured since the start.
    pub measured: u64,
    /// Mean bytes of a whole body.
    pub body: f64,
    /// Names and mean bytes, the largest first.
    pub fields: Vec<(String, f64)>,
    /// Mean bytes not in `fields`: braces, and members whose names are too long, too many or not
    /// words.
    pub rest: f64,
}

impl FieldWeights {
    /// Whether a fill at this time must be measured; true at most ten times a second.
    pub fn is_due(&self, now: Duration) -> bool {
        let mut recent = self.lock();
        let is_due = now >= recent.next;
        if is_due {
            recent.next = now + INTERVAL;
        }
        is_due
    }

    /// Measures a body, if it is a JSON object.
    pub fn measure(&self, body: &[u8]) {
        let mut members = Vec::new();
        let read = json::members(body, |name, bytes| {
            members.push((word(&name.unescaped()), bytes));
        });
        if read.is_ok() {
            self.lock().add(members, body.len());
        }
    }

    /// The current sizes.
    #[must_use]
    pub fn heaviest(&self) -> Heaviest {
        let recent = self.lock();
        if recent.measured == 0 {
            return Heaviest::default();
        }
        let mut fields: Vec<_> = recent
            .names
            .iter()
            .map(|(name, bytes)| (name.to_string(), bytes / recent.fills))
            .collect();
        fields.sort_by(|(a, more), (b, less)| less.total_cmp(more).then_with(|| a.cmp(b)));
        Heaviest {
            measured: recent.measured,
            body: recent.bytes / recent.fills,
            fields,
            rest: recent.rest / recent.fills,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn add(&mut self, members: Vec<(Option<Box<str>>, usize)>, body: usize) {
        for sum in [&mut self.rest, &mut self.bytes, &mut self.fills] {
            *sum *= DECAY;
        }
        self.names.retain(|_, bytes| {
            *bytes *= DECAY;
            *bytes >= 1.0
        });
        self.measured += 1;
        self.fills += 1.0;
        self.bytes += float(body);
        let mut unnamed = body;
        for (name, bytes) in members {
            let has_room = self.names.len() < MAX_NAMES;
            if let Some(name) = name.filter(|name| has_room || self.names.contains_key(name)) {
                *self.names.entry(name).or_default() += float(bytes);
                unnamed -= bytes;
            }
        }
        self.rest += float(unnamed);
    }
}

/// A name that looks like a word of a schema.
fn word(name: &[u8]) -> Option<Box<str>> {
    let starts = name
        .first()
        .is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_');
    let continues = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    (starts && name.len() <= MAX_NAME && name.iter().all(continues))
        .then(|| String::from_utf8_lossy(name).into())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a body is smaller than 2^53 bytes"
)]
fn float(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_fields_come_first_and_sizes_add_up() {
        let weights = FieldWeights::default();
        assert_eq!(weights.heaviest(), Heaviest::default());
        weights.measure(br#"{"id":"c1","transcript":"a long one, longer than the rest"}"#);
        weights.measure(b"no JSON");
        weights.measure(b"[1]");
        let heaviest = weights.heaviest();
        assert_eq!(heaviest.measured, 1);
        assert_eq!(
            heaviest.fields,
            [("transcript".to_owned(), 48.0), ("id".to_owned(), 10.0)]
        );
        let sum: f64 = heaviest.fields.iter().map(|(_, bytes)| bytes).sum();
        assert!(
            (sum + heaviest.rest - heaviest.body).abs() < 1e-9,
            "{heaviest:?}"
        );
    }

    #[test]
    fn old_fills_decay() {
        let weights = FieldWeights::default();
        weights.measure(br#"{"old":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#);
        for _ in 0..300 {
            weights.measure(br#"{"new":1}"#);
        }
        let heaviest = weights.heaviest();
        assert_eq!(heaviest.fields.len(), 1, "{heaviest:?}");
        assert!((heaviest.fields[0].1 - 8.0).abs() < 0.01, "{heaviest:?}");
    }

    #[test]
    fn names_that_may_be_content_and_names_beyond_the_limit_are_not_kept() {
        let weights = FieldWeights::default();
        let long = "n".repeat(MAX_NAME + 1);
        weights.measure(format!(r#"{{"+4930123456":1,"a b":2,"{long}":3,"":4}}"#).as_bytes());
        assert_eq!(weights.heaviest().fields, []);
        let many: Vec<_> = (0..10 * MAX_NAMES)
            .map(|n| format!(r#""n{n}":1"#))
            .collect();
        weights.measure(format!("{{{}}}", many.join(",")).as_bytes());
        let heaviest = weights.heaviest();
        assert_eq!(heaviest.fields.len(), MAX_NAMES);
        let sum: f64 = heaviest.fields.iter().map(|(_, bytes)| bytes).sum();
        assert!(
            (sum + heaviest.rest - heaviest.body).abs() < 1e-6,
            "{heaviest:?}"
        );
    }

    #[test]
    fn one_fill_in_a_tenth_of_a_second_is_measured() {
        let weights = FieldWeights::default();
        let at = Duration::from_millis;
        assert!(weights.is_due(at(0)));
        assert!(!weights.is_due(at(0)));
        assert!(!weights.is_due(at(99)));
        assert!(weights.is_due(at(100)));
        assert!(!weights.is_due(at(150)));
    }
}
