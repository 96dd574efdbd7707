//! Findings of a load: the place of every value, and every problem with its remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Place of a value. A greater place overrides a lesser one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Nowhere: the built-in default.
    Default,
    /// In the configuration file.
    File {
        /// The file's name, as it was given.
        name: Arc<str>,
        /// Line and column, both counted from 1, the column in characters; `None` means
        /// the file as a whole.
        at: Option<(usize, usize)>,
    },
    /// In an environment variable of this name.
    Variable(String),
    /// In a command line flag of this name.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File {
                name,
                at: Some((line, column)),
            } => write!(f, "{name}:{line}:{column}"),
            Self::File { name, at: None } => f.write_str(name),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Place of each value of a configuration; a key without an entry has its default.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    places: BTreeMap<String, Place>,
    pub(super) file: Option<Arc<str>>,
}

impl Sources {
    /// The place of `key`, or of the nearest table around it that was written.
    pub(super) fn of(&self, key: &str) -> &Place {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return place;
            }
            match key.rsplit_once('.') {
                Some((around, _)) => key = around,
                None => return &Place::Default,
            }
        }
    }

    pub(super) fn record(&mut self, key: impl Into<String>, place: &Place) {
        self.places.insert(key.into(), place.clone());
    }

    fn count(&self, kind: fn(&Place) -> bool) -> usize {
        // One variable may set several entries of a table.
        let places: BTreeSet<_> = self.places.values().filter(|p| kind(p)).collect();
        places.len()
    }
}

/// The line printed at startup: `config/stuut-cache.toml, 2 variables, 1 flag`.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file.as_deref().unwrap_or("defaults"))?;
        let variables = self.count(|place| matches!(place, Place::Variable(_)));
        let flags = self.count(|place| matches!(place, Place::Flag(_)));
        for (number, one) in [(variables, "variable"), (flags, "flag")] {
            match number {
                0 => {}
                1 => write!(f, ", 1 {one}")?,
                many => write!(f, ", {many} {one}s")?,
            }
        }
        Ok(())
    }
}

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    /// The place of the faulty value.
    place: Place,
    /// Its key; empty where the text is not TOML at all.
    key: String,
    /// The fault and its remedy.
    message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A default is wrong only together with another key, which the message names.
        if self.place != Place::Default {
            write!(f, "{}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All problems, in the order of the file, then variables, then flags.
///
/// Shown one per line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        // After the problems at the same place, which were found first.
        let at = self.0.partition_point(|problem| problem.place <= *place);
        let problem = Problem {
            place: place.clone(),
            key: key.to_owned(),
            message: message.into(),
        };
        self.0.insert(at, problem);
    }

    /// The value; an error is added as a problem of `key`.
    pub(super) fn ok_or_add<T>(
        &mut self,
        place: &Place,
        key: &str,
        result: Result<T, String>,
    ) -> Option<T> {
        result.map_err(|message| self.add(place, key, message)).ok()
    }

    /// Whether `key`, or an entry of it, has a problem, so that its value is unknown.
    ///
    /// Every key has one if the file is not TOML.
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

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// All that a load finds besides the values themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) sources: Sources,
    pub(super) problems: Problems,
}

impl Findings {
    /// Adds a problem of `key`, at the place where its value was written.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let place = self.sources.of(key).clone();
        self.problems.add(&place, key, message);
    }

    /// The content of the file that `key` names, if it names one that can be read. Neither a secret nor the
    /// path is shown: the secret itself may have been written where the path of its file belongs.
    pub(super) fn file<T>(
        &mut self,
        key: &str,
        path: Option<&Path>,
        read: impl Fn(&Path) -> Result<T, String>,
    ) -> Option<T> {
        let content = read(path?);
        content.map_err(|message| self.refuse(key, message)).ok()
    }
}
