//! README and `docs/`: tables made from the program, commands that run, links that lead somewhere.

mod blocks;
mod commands;
mod examples;
mod links;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[track_caller]
fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The Markdown files that users read, by their paths in the repository.
fn documents() -> Vec<String> {
    let listed = |folder: &str| {
        let entries = fs::read_dir(path(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
        let names = entries.map(|entry| PathBuf::from(entry.expect("an entry").file_name()));
        let pages = names.filter(|name| name.extension().is_some_and(|kind| kind == "md"));
        pages
            .map(|name| Path::new(folder).join(name).display().to_string())
            .collect::<Vec<_>>()
    };
    let mut documents = [listed(""), listed("docs"), listed("deploy")].concat();
    documents.sort();
    documents
}
