//! Faults, precedence, round trips, shipped files.

mod cross_checks;
mod every_key;
mod faults;
mod named_files;
mod precedence;
mod round_trip;
mod shipped;

use super::{Config, Document, Draft, Flag, Loaded, read};

/// A file of this text, and nothing else.
fn file(text: &str) -> Draft {
    all(text, &[], &[])
}

/// A file, variables without their prefix, and flags as `(name, key, value)`.
fn all(text: &str, variables: &[(&str, &str)], flags: &[Flag<'_>]) -> Draft {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (format!("STUUT_CACHE__{name}"), (*value).to_owned()))
        .collect();
    let document = Document {
        name: "proxy.toml",
        text,
    };
    read(Some(document), &variables, flags)
}

/// The settings of a valid draft.
#[track_caller]
fn good(draft: Draft) -> Config {
    loaded(draft).config
}

#[track_caller]
fn loaded(draft: Draft) -> Loaded {
    draft
        .finish()
        .unwrap_or_else(|problems| panic!("should be valid, but:\n{problems}"))
}

/// The problems of an invalid draft.
#[track_caller]
fn problems_of(draft: Draft) -> String {
    match draft.finish() {
        Ok(_) => panic!("should be refused"),
        Err(problems) => problems.to_string(),
    }
}
