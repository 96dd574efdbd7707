//! The largest fields of responses: measured at some fills, never at a hit.
//!
//! Names of members are schema, not content. Even so, only a few short words are kept.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::field_sizes::{Field, sizes};

/// At most one fill per interval is measured: at 0.3 ms for a fill of 40 KB, measuring takes about 0.03 %
/// of a CPU.
const INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of paths.
const MAX_PATHS: usize = 256;

/// The share of its body below which a field does not become one of them.
const MIN_SHARE: f64 = 0.003;

/// The factor by which each fill reduces the weight of earlier ones: about fifty fills count.
const DECAY: f64 = 0.98;

/// The sizes of fields over recent fills.
#[derive(Debug, Default)]
pub struct FieldWeights(Mutex<Recent>);

/// Sums that decay with each fill.
#[derive(Debug, Default)]
struct Recent {
    /// Earliest time of the next measurement, by the monotonic clock.
    next: Duration,
    paths: HashMap<Box<str>, f64>,
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
    /// Paths and mean bytes, the largest first; a field is also part of the one that contains it.
    pub fields: Vec<(String, f64)>,
}

impl FieldWeights {
    /// Whether a fill at this time must be measured; true at most once a second.
    pub fn is_due(&self, now: Duration) -> bool {
        let mut recent = self.0.lock();
        let is_due = now >= recent.next;
        if is_due {
            recent.next = now + INTERVAL;
        }
        is_due
    }

    /// Measures a body, if it is a JSON object.
    pub fn measure(&self, body: &[u8]) {
        if let Ok(fields) = sizes(body) {
            self.0.lock().add(&fields, body.len());
        }
    }

    /// The current sizes.
    pub fn heaviest(&self) -> Heaviest {
        let recent = self.0.lock();
        if recent.measured == 0 {
            return Heaviest::default();
        }
        let mut fields: Vec<_> = recent
            .paths
            .iter()
            .map(|(path, bytes)| (path.to_string(), bytes / recent.fills))
            .collect();
        fields.sort_by(|(a, more), (b, less)| less.total_cmp(more).then_with(|| a.cmp(b)));
        Heaviest {
            measured: recent.measured,
            body: recent.bytes / recent.fills,
            fields,
        }
    }
}

impl Recent {
    fn add(&mut self, fields: &[Field], body: usize) {
        for sum in [&mut self.bytes, &mut self.fills] {
            *sum *= DECAY;
        }
        self.paths.retain(|_, bytes| {
            *bytes *= DECAY;
            *bytes >= 1.0
        });
        self.measured += 1;
        self.fills += 1.0;
        self.bytes += float(body);
        for Field { path, bytes, .. } in fields {
            let bytes = float(*bytes);
            let has_room = self.paths.len() < MAX_PATHS && bytes >= MIN_SHARE * float(body);
            if has_room || self.paths.contains_key(path.as_str()) {
                *self.paths.entry(path.as_str().into()).or_default() += bytes;
            }
        }
    }
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
    fn the_largest_fields_come_first() {
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
    fn paths_beyond_the_limit_are_not_kept() {
        let weights = FieldWeights::default();
        for body in 0..4 {
            let many: Vec<_> = (0..200).map(|n| format!(r#""n{body}_{n}":1"#)).collect();
            weights.measure(format!("{{{}}}", many.join(",")).as_bytes());
        }
        assert_eq!(weights.heaviest().fields.len(), MAX_PATHS);
    }

    #[test]
    fn one_fill_a_second_is_measured() {
        let weights = FieldWeights::default();
        let at = Duration::from_millis;
        assert!(weights.is_due(at(0)));
        assert!(!weights.is_due(at(0)));
        assert!(!weights.is_due(at(999)));
        assert!(weights.is_due(at(1_000)));
        assert!(!weights.is_due(at(1_500)));
    }
}
