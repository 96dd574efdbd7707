//! The layers of `src`: `use crate::` goes downward only, and files have no dependency cycles.

use std::fs;
use std::path::Path;

use super::cycles;

/// From the bottom up. A module may use the modules of the rows before it.
const LAYERS: &[&[&str]] = &[
    // settings, and the labels shared by settings and meaning
    &["label", "units", "version"],
    &["config"],
    // meaning: pure
    &["json", "coding"],
    &["policy", "view"],
    &["request"],
    &["outcome"],
    // instruments
    &["clock"],
    &["telemetry"],
    &["in_transit"],
    // state, I/O
    &["cache", "upstream", "otlp"],
    // decisions
    &["proxy"],
    // sockets
    &["server"],
    &["admin"],
    // process
    &["process"],
    &["cli"],
];

/// The modules without a clock, a lock or an await.
const PURE: &[&str] = &[
    "json", "coding", "policy", "view", "request", "outcome", "label", "units", "version",
];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|modules| modules.contains(&module))
        .unwrap_or_else(|| panic!("{module} has no layer"))
}

/// A source file without its tests.
struct Source {
    /// Below `src`, e.g. `proxy/error.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The top-level module that it belongs to.
    fn module(&self) -> &str {
        let end = self
            .path
            .find(['/', '.'])
            .expect("a folder or an extension");
        &self.path[..end]
    }

    fn code(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines();
        lines.filter(|line| !line.trim_start().starts_with("//"))
    }
}

/// The files of every module.
fn sources() -> Vec<Source> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of src") {
            let file = entry.expect("an entry").path();
            let path = file.strip_prefix(root).expect("below src");
            let path = path.to_str().expect("a path of text").to_owned();
            let is_rust = file.extension().is_some_and(|extension| extension == "rs");
            if file.is_dir() {
                folders.push(file);
            } else if is_rust
                && !path.ends_with("tests.rs")
                && !["lib.rs", "main.rs"].contains(&path.as_str())
            {
                let text = fs::read_to_string(&file).expect("a source file");
                let tests = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
                let text = text[..tests].to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources
}

#[test]
fn imports_go_downward() {
    let mut upward = Vec::new();
    for source in sources() {
        let module = source.module();
        for used in source.code().flat_map(|line| line.split("crate::").skip(1)) {
            let end = used.find(|c: char| !c.is_alphanumeric() && c != '_');
            let used = &used[..end.unwrap_or(used.len())];
            let is_module = LAYERS.concat().contains(&used);
            if is_module && used != module && layer(used) >= layer(module) {
                upward.push(format!("{}: {module} uses {used}", source.path));
            }
        }
    }
    assert!(
        upward.is_empty(),
        "imports that go upward or sideways:\n{}",
        upward.join("\n")
    );
}

#[test]
fn files_have_no_dependency_cycles() {
    let sources = sources();
    let files = sources
        .iter()
        .map(|source| (source.path.as_str(), source.text.as_str()));
    let cycles = cycles::find(files);
    assert!(
        cycles.is_empty(),
        "dependency cycles:\n{}",
        cycles.join("\n")
    );
}

#[test]
fn every_module_has_a_layer_and_every_file_module_docs() {
    for source in sources() {
        layer(source.module());
        assert!(
            source.text.starts_with("//!"),
            "{}: no //! docs at the top",
            source.path
        );
    }
}

#[test]
fn pure_modules_use_no_lock_or_await() {
    let forbidden = [".await", "async fn", "Mutex", "RwLock", "tokio::"];
    let sources = sources();
    for source in sources
        .iter()
        .filter(|source| PURE.contains(&source.module()))
    {
        for line in source.code() {
            let is_forbidden = forbidden.iter().any(|word| line.contains(word));
            assert!(!is_forbidden, "{}: {line}", source.path);
        }
    }
}
