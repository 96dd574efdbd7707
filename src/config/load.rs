//! From what was written to what it means: defaults, then the file, then variables, then flags.

use std::path::Path;
use std::sync::Arc;

use super::nearest::nearest;
use super::node::{Entry, Written};
use super::render::bare_or_quoted;
use super::{
    Config, Flag, KEYS, Place, Problems, Sources, checks, document, files, keys, outside, place,
};

/// A configuration file's text and the name it is called by in messages.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// Such as `config/stuut-cache.toml`.
    pub name: &'a str,
    /// TOML.
    pub text: &'a str,
}

/// A configuration that may still be wrong.
///
/// Rules that belong to other rooms, such as the grammar of views, add what they find
/// with [`Draft::refuse`], so that it is told together with the rest.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub(super) config: Config,
    pub(super) sources: Sources,
    pub(super) problems: Problems,
}

/// A configuration that is good, and where each value came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Their places.
    pub sources: Sources,
}

/// Loads the configuration: [`draft`], and nothing to add.
///
/// # Errors
///
/// Everything that is wrong, at once.
pub fn load(
    file: Option<&Path>,
    variables: &[(String, String)],
    flags: &[Flag],
) -> Result<Loaded, Problems> {
    draft(file, variables, flags).finish()
}

/// Reads the file, and the files it names, into a draft.
#[must_use]
pub fn draft(file: Option<&Path>, variables: &[(String, String)], flags: &[Flag]) -> Draft {
    let name = file.map(|path| path.display().to_string());
    let mut draft = Draft::default();
    let mut text = None;
    if let (Some(path), Some(name)) = (file, name.as_deref()) {
        match std::fs::read_to_string(path) {
            Ok(read) => text = Some(read),
            Err(error) => {
                let place = Place::File {
                    name: Arc::from(name),
                    at: None,
                };
                let message = format!("cannot be read: {error}; write the path of a TOML file");
                draft.problems.add(&place, "", message);
            }
        }
    }
    let document = name.as_deref().zip(text.as_deref());
    let document = document.map(|(name, text)| Document { name, text });
    files::named(draft.fill(document, variables, flags))
}

/// What was written, as settings. Pure: the files that settings name are not opened.
#[must_use]
pub fn read(
    document: Option<Document<'_>>,
    variables: &[(String, String)],
    flags: &[Flag],
) -> Draft {
    Draft::default().fill(document, variables, flags)
}

impl Draft {
    /// The settings as far as they could be read; a refused value leaves the one before it.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Adds a problem with `key`, at the place where its value was written.
    pub fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let place = self.sources.of(key).clone();
        self.problems.add(&place, key, message);
    }

    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn finish(self) -> Result<Loaded, Problems> {
        let Self {
            config,
            sources,
            problems,
        } = self;
        if problems.is_empty() {
            Ok(Loaded { config, sources })
        } else {
            Err(problems)
        }
    }

    /// Each source overrides the one before it.
    fn fill(
        mut self,
        document: Option<Document<'_>>,
        variables: &[(String, String)],
        flags: &[Flag],
    ) -> Self {
        if let Some(Document { name, text }) = document {
            let name = Arc::from(name);
            self.sources.record_file(&name);
            if let Some(entries) = document::parse(text, &name, &mut self.problems) {
                self.apply(&entries, "");
            }
        }
        let entries = outside::variables(variables, &mut self.problems);
        self.apply(&entries, "");
        let entries = outside::flags(flags, &mut self.problems);
        self.apply(&entries, "");
        checks::agree(&mut self);
        self
    }

    fn apply(&mut self, entries: &[Entry], section: &str) {
        for entry in entries {
            let name = bare_or_quoted(&entry.name);
            let name = match section {
                "" => name,
                _ => format!("{section}.{name}"),
            };
            if let Some(key) = keys::find(&name) {
                (key.apply)(self, (key.name, &entry.node));
            } else if keys::is_section(&name) {
                match entry.node.table(&format!("the table [{name}]")) {
                    Ok(entries) => self.apply(&entries, &name),
                    Err(message) => self.problems.add(&entry.node.place, &name, message),
                }
            } else {
                // The value is not shown: it may be a secret that has lost its way.
                let message = unknown(section, entry);
                self.problems.add(&entry.place, &name, message);
            }
        }
    }
}

/// The sentence for a key that is not known, with the nearest known one.
fn unknown(section: &str, entry: &Entry) -> String {
    let kind = match entry.node.value {
        Written::Table(_) => "section",
        _ => "key",
    };
    let mut here: Vec<_> = keys::inside(section).map(keys::last).collect();
    here.dedup();
    let full = |name: &str| match section {
        "" => name.to_owned(),
        _ => format!("{section}.{name}"),
    };
    let near = nearest(&entry.name, here.iter().copied()).map(full);
    // Or the right word in the wrong section.
    let near = near.or_else(|| {
        let mut all = KEYS.iter();
        all.find(|key| key.short().eq_ignore_ascii_case(&entry.name))
            .map(|key| key.name.to_owned())
    });
    match (near, &entry.place) {
        (Some(key), Place::Variable(_)) => {
            format!("unknown {kind}; did you mean {}?", place::variable(&key))
        }
        (Some(key), _) => format!("unknown {kind}; did you mean {key}?"),
        (None, _) => format!("unknown {kind}; known here: {}", here.join(", ")),
    }
}
