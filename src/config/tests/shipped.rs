//! The shipped file and the README say what the program does.
//!
//! To write them anew after a key has changed: `UPDATE=1 cargo test shipped`.

use std::path::{Path, PathBuf};

use super::{Config, file, good};
use crate::config::render;

const BEGIN: &str = "<!-- configuration:begin -->\n";
const END: &str = "<!-- configuration:end -->";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[track_caller]
fn holds(name: &str, committed: &str, expected: &str) {
    if committed == expected {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path(name), expected).expect("the tree can be written");
        return;
    }
    let line = committed
        .lines()
        .zip(expected.lines())
        .position(|(is, should)| is != should);
    panic!(
        "{name} is not what the keys say, from line {:?}; run: UPDATE=1 cargo test shipped",
        line.map(|line| line + 1)
    );
}

#[test]
fn the_shipped_file_shows_every_default() {
    let committed = std::fs::read_to_string(path("config/stuut-cache.toml")).unwrap_or_default();
    holds("config/stuut-cache.toml", &committed, &render::shipped());
}

#[test]
fn the_shipped_file_means_the_defaults() {
    assert_eq!(good(file(&render::shipped())), Config::default());
}

#[test]
fn the_readme_shows_the_same_keys() {
    let readme = std::fs::read_to_string(path("README.md")).expect("there is a README");
    let (before, rest) = readme.split_once(BEGIN).expect("its table has a beginning");
    let (_, after) = rest.split_once(END).expect("its table has an end");
    let table = render::readme_table();
    let expected = format!("{before}{BEGIN}{table}{END}{after}");
    holds("README.md", &readme, &expected);
}
