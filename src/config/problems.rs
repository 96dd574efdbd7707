//! What is wrong with a configuration: all of it at once, each with its place and its remedy.

use std::fmt;

use super::Place;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The key it is about; empty where the text is not TOML at all.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            key,
            message,
        } = self;
        match (place, key.as_str()) {
            (_, "") => write!(f, "{place}: {message}"),
            // A default is wrong only beside something else, which the message names.
            (Place::Default, _) => write!(f, "{key}: {message}"),
            _ => write!(f, "{place}: {key}: {message}"),
        }
    }
}

/// Everything that is wrong, in the order of the file, then variables, then flags.
///
/// Shown one a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        // After those at the same place, so that what was found first is told first.
        let at = self.0.partition_point(|p| p.place <= problem.place);
        self.0.insert(at, problem);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    pub(super) fn add(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        self.push(Problem {
            place: place.clone(),
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Whether `key` or something in it is among them, so that its value means nothing.
    ///
    /// A file that is not TOML says nothing about any key.
    pub(super) fn concern(&self, key: &str) -> bool {
        self.0.iter().any(|problem| {
            problem.key.is_empty()
                || problem
                    .key
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
