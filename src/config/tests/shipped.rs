//! The shipped file and docs/configuration.md agree with the keys.
//!
//! `UPDATE=1 cargo test shipped` regenerates them after a change of keys.

use std::path::{Path, PathBuf};

use super::{Config, file, good};
use crate::config::render;

const PAGE: &str = "docs/configuration.md";
const BEGIN: &str = "<!-- configuration:begin -->\n";
const END: &str = "<!-- configuration:end -->";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[track_caller]
fn assert_current(name: &str, committed: &str, expected: &str) {
    if committed == expected {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path(name), expected).expect("the tree is writable");
        return;
    }
    let line = committed
        .lines()
        .zip(expected.lines())
        .position(|(committed, expected)| committed != expected);
    panic!(
        "{name} differs from the keys at line {:?}; run: UPDATE=1 cargo test shipped",
        line.map(|line| line + 1)
    );
}

#[test]
fn the_shipped_file_shows_every_default() {
    let committed = std::fs::read_to_string(path("config/stuut-cache.toml")).unwrap_or_default();
    assert_current("config/stuut-cache.toml", &committed, &render::shipped());
}

#[test]
fn the_shipped_file_reads_as_the_defaults() {
    assert_eq!(good(file(&render::shipped())), Config::default());
}

#[test]
fn the_document_shows_the_same_keys() {
    let page = std::fs::read_to_string(path(PAGE)).expect("there is a page");
    let (before, rest) = page.split_once(BEGIN).expect("its tables have a beginning");
    let (_, after) = rest.split_once(END).expect("its tables have an end");
    let tables = render::tables();
    let expected = format!("{before}{BEGIN}{tables}{END}{after}");
    assert_current(PAGE, &page, &expected);
}
