//! Where a value came from: the file, a variable, a flag, or nowhere (the default).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What every variable of ours begins with.
///
/// Two underscores: a cluster that runs a service of this name sets
/// `STUUT_CACHE_PORT` and the like by itself, and those are not settings.
pub const VARIABLE_PREFIX: &str = "STUUT_CACHE__";

/// Where something was written. A greater place overrides a lesser one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: the value is the built-in one.
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

/// The variable that sets `key`: `server.listen` → `STUUT_CACHE__SERVER__LISTEN`.
#[must_use]
pub fn variable(key: &str) -> String {
    format!(
        "{VARIABLE_PREFIX}{}",
        key.replace('.', "__").to_ascii_uppercase()
    )
}

/// Where each value of a configuration came from; what is not listed is a default.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    places: BTreeMap<String, Place>,
    file: Option<Arc<str>>,
}

impl Sources {
    /// The place of `key`, or of the nearest table around it that was written.
    #[must_use]
    pub fn of(&self, key: &str) -> &Place {
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

    /// The configuration file, as it was named.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    pub(super) fn record(&mut self, key: impl Into<String>, place: &Place) {
        self.places.insert(key.into(), place.clone());
    }

    pub(super) fn record_file(&mut self, name: &Arc<str>) {
        self.file = Some(Arc::clone(name));
    }

    fn count(&self, kind: fn(&Place) -> bool) -> usize {
        // One variable may set several entries of a table.
        let places: BTreeSet<_> = self.places.values().filter(|p| kind(p)).collect();
        places.len()
    }
}

/// For the line a start prints: `config/stuut-cache.toml, 2 variables, 1 flag`.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file().unwrap_or("defaults"))?;
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
