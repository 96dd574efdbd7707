//! Which fields of the responses weigh most: measured at some fills, never on the way of a hit.
//!
//! Names of members are schema, not content. Even so only words are remembered, short ones, and
//! not many: a body that is a map with keys of its own (telephone numbers, say) counts as
//! [`Heaviest::rest`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::json;

/// At most one fill in this time is measured: however many there are, and a fill of 40 KB takes
/// 40 µs, they cost less than a thousandth of a processor.
const PAUSE: Duration = Duration::from_millis(100);

/// Names that are remembered at once.
const MAX_NAMES: usize = 64;

/// Bytes of a name.
const MAX_NAME: usize = 48;

/// What is left of a fill's weight after the next one: about fifty fills are remembered.
const FADING: f64 = 0.98;

/// The weights of top-level fields over recent fills.
#[derive(Debug, Default)]
pub struct Fields {
    /// When the next fill may be measured, in nanoseconds of the monotonic clock.
    next: AtomicU64,
    /// Held for the names of one body, by at most ten fills and a few readers a second.
    recent: Mutex<Recent>,
}

/// Sums in which the past fades.
#[derive(Debug, Default)]
struct Recent {
    names: HashMap<Box<str>, f64>,
    rest: f64,
    bytes: f64,
    fills: f64,
    measured: u64,
}

/// The fields that weigh most, by mean bytes of a fill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heaviest {
    /// Fills measured since the start.
    pub measured: u64,
    /// Mean bytes of a whole body.
    pub body: f64,
    /// Names and mean bytes, the heaviest first.
    pub fields: Vec<(String, f64)>,
    /// Mean bytes of what has no name here: braces, long or odd names, names too many.
    pub rest: f64,
}

impl Fields {
    /// Whether a fill at this moment is to be measured; each yes is for one fill.
    pub fn is_due(&self, now: Duration) -> bool {
        let now = nanos(now);
        let next = self.next.load(Ordering::Relaxed);
        now >= next
            && self
                .next
                .compare_exchange(
                    next,
                    now + nanos(PAUSE),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Measures a body. One that is no JSON object weighs nothing.
    pub fn measure(&self, body: &[u8]) {
        let mut found = Vec::new();
        let read = json::members(body, |name, bytes| {
            found.push((word(&name.unescaped()), bytes));
        });
        if read.is_err() {
            return;
        }
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(found, body.len());
    }

    /// The weights now.
    #[must_use]
    pub fn heaviest(&self) -> Heaviest {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
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
}

impl Recent {
    fn add(&mut self, found: Vec<(Option<Box<str>>, usize)>, body: usize) {
        for sum in [&mut self.rest, &mut self.bytes, &mut self.fills] {
            *sum *= FADING;
        }
        self.names.retain(|_, bytes| {
            *bytes *= FADING;
            *bytes >= 1.0
        });
        self.measured += 1;
        self.fills += 1.0;
        self.bytes += float(body);
        let mut unnamed = body;
        for (name, bytes) in found {
            let room = self.names.len() < MAX_NAMES;
            if let Some(name) = name.filter(|name| room || self.names.contains_key(name)) {
                *self.names.entry(name).or_default() += float(bytes);
                unnamed -= bytes;
            }
        }
        self.rest += float(unnamed);
    }
}

/// A name that is a word of a schema.
fn word(name: &[u8]) -> Option<Box<str>> {
    let begins = name
        .first()
        .is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_');
    let goes_on = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    (begins && name.len() <= MAX_NAME && name.iter().all(goes_on))
        .then(|| String::from_utf8_lossy(name).into())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
    fn the_heaviest_fields_come_first_and_everything_adds_up() {
        let fields = Fields::default();
        assert_eq!(fields.heaviest(), Heaviest::default());
        fields.measure(br#"{"id":"c1","transcript":"a long one, longer than the rest"}"#);
        fields.measure(b"no JSON");
        fields.measure(b"[1]");
        let found = fields.heaviest();
        assert_eq!(found.measured, 1);
        assert_eq!(
            found.fields,
            [("transcript".to_owned(), 48.0), ("id".to_owned(), 10.0)]
        );
        let sum: f64 = found.fields.iter().map(|(_, bytes)| bytes).sum();
        assert!((sum + found.rest - found.body).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn the_past_fades() {
        let fields = Fields::default();
        fields.measure(br#"{"old":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#);
        for _ in 0..300 {
            fields.measure(br#"{"new":1}"#);
        }
        let found = fields.heaviest();
        assert_eq!(found.fields.len(), 1, "{found:?}");
        assert!((found.fields[0].1 - 8.0).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn names_that_may_be_content_and_names_too_many_are_not_remembered() {
        let fields = Fields::default();
        let long = "n".repeat(MAX_NAME + 1);
        fields.measure(format!(r#"{{"+4930123456":1,"a b":2,"{long}":3,"":4}}"#).as_bytes());
        assert_eq!(fields.heaviest().fields, []);
        let many: Vec<_> = (0..10 * MAX_NAMES)
            .map(|n| format!(r#""n{n}":1"#))
            .collect();
        fields.measure(format!("{{{}}}", many.join(",")).as_bytes());
        let found = fields.heaviest();
        assert_eq!(found.fields.len(), MAX_NAMES);
        let sum: f64 = found.fields.iter().map(|(_, bytes)| bytes).sum();
        assert!((sum + found.rest - found.body).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn one_fill_in_a_tenth_of_a_second_is_measured() {
        let fields = Fields::default();
        let at = Duration::from_millis;
        assert!(fields.is_due(at(0)));
        assert!(!fields.is_due(at(0)));
        assert!(!fields.is_due(at(99)));
        assert!(fields.is_due(at(100)));
        assert!(!fields.is_due(at(150)));
    }
}
