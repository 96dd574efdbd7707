//! The request fields that fetches do not forward, by name.

use std::collections::BTreeMap;

use http::HeaderName;
use parking_lot::Mutex;

/// Maximum names, and maximum bytes of one: clients can send any.
const MAX_NAMES: usize = 64;
const MAX_NAME: usize = 48;

/// The names and their counts. Values are never kept.
#[derive(Debug, Default)]
pub struct LeftOut(Mutex<BTreeMap<Box<str>, u64>>);

impl LeftOut {
    /// Counts a field. Further names than the first 64 are not kept.
    pub fn count(&self, name: &HeaderName) {
        let mut names = self.0.lock();
        if let Some(count) = names.get_mut(name.as_str()) {
            *count += 1;
        } else if names.len() < MAX_NAMES && name.as_str().len() <= MAX_NAME {
            names.insert(name.as_str().into(), 1);
        }
    }

    /// The counts by name.
    pub fn counts(&self) -> BTreeMap<Box<str>, u64> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        let left_out = LeftOut::default();
        let count = |name: &str| left_out.count(&name.parse().expect("a name"));
        count(&"x".repeat(MAX_NAME + 1));
        for n in 0..=MAX_NAMES {
            count(&format!("x-{n}"));
            count("x-0");
        }
        let counts = left_out.counts();
        assert_eq!((counts.len(), counts["x-0"]), (MAX_NAMES, 66));
    }
}
