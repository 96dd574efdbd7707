//! Settings → TOML: the shipped file, the tables of docs/configuration.md, the effective configuration.

use std::fmt::Write as _;

use super::findings::{Place, Sources};
use super::setting::Rendered;
use super::settings::{Config, KEYS, Key};
use super::wording::bare_or_quoted;

/// The head of the shipped file: how each kind of value is written.
const FILE_HEADER: &str = include_str!("header.toml");

/// The shipped file: every key at its default with its meaning.
pub fn shipped() -> String {
    let comment = |key: &Key| format!("# {}\n", key.meaning);
    let toml = document(&Config::default(), comment, &|_| String::new());
    format!("{FILE_HEADER}{toml}")
}

/// The configuration as TOML that reads back the same. A value from a file, variable or flag is
/// followed by its source. It has no secrets, only the names of their files.
pub fn effective(config: &Config, sources: &Sources) -> String {
    let suffix = |key: &str| match sources.of(key) {
        Place::Default => String::new(),
        place => format!("  # {place}"),
    };
    let toml = document(config, |_| String::new(), &suffix);
    format!("# {sources}; a line without a place is a default\n{toml}")
}

/// All keys with their values, section by section.
fn document(
    config: &Config,
    comment: fn(&Key) -> String,
    suffix: &dyn Fn(&str) -> String,
) -> String {
    let mut out = String::new();
    let mut section = "";
    for key in in_order() {
        match (key.rendered)(config) {
            Rendered::Line(value) => {
                if section != key.section() {
                    section = key.section();
                    let _ = write!(out, "\n[{section}]\n");
                }
                out.push_str(&comment(key));
                let _ = writeln!(out, "{} = {value}{}", key.short(), suffix(key.name));
            }
            Rendered::Table(lines) => {
                section = key.name;
                let _ = write!(out, "\n{}[{section}]\n", comment(key));
                for (name, value) in lines {
                    let name = bare_or_quoted(&name);
                    let suffix = suffix(&format!("{section}.{name}"));
                    let _ = writeln!(out, "{name} = {value}{suffix}");
                }
            }
        }
    }
    out
}

/// All keys in the order of the shipped file: the operator's own tables last in their section,
/// because TOML counts the lines after a table's head to the table.
fn in_order() -> Vec<&'static Key> {
    let default = Config::default();
    let top = |key: &Key| key.name.split('.').next();
    let mut keys = Vec::new();
    for section in KEYS.chunk_by(|a, b| top(a) == top(b)) {
        let is_table = |key: &&Key| matches!((key.rendered)(&default), Rendered::Table(_));
        let (tables, lines): (Vec<&Key>, Vec<&Key>) = section.iter().partition(is_table);
        keys.extend(lines.into_iter().chain(tables));
    }
    keys
}

/// The tables of docs/configuration.md, one for each section: key, default, meaning.
pub fn tables() -> String {
    let config = Config::default();
    let mut out = String::new();
    for section in KEYS.chunk_by(|a, b| a.section() == b.section()) {
        let name = section[0].section();
        let head = "| key | default | meaning |\n|---|---|---|";
        let _ = writeln!(out, "\n### {name}\n\n{head}");
        for key in section {
            let default = match (key.rendered)(&config).to_string().replace('|', "\\|") {
                // A table without entries.
                empty if empty.is_empty() => "none".to_owned(),
                default => format!("`{default}`"),
            };
            let meaning = key.meaning.replace('|', "\\|");
            let _ = writeln!(out, "| `{}` | {default} | {meaning} |", key.name);
        }
    }
    out.push('\n');
    out
}
