//! Tables whose names the operator chooses: `[freshness.live]`, `[scope.named]` and
//! `[views.named]`.
//!
//! What is written adds to what is built in and replaces an entry of the same name;
//! `"off"` takes an entry away. A name keeps one entry: a view written again is not
//! mixed with the view it replaces.

use std::time::Duration;

use super::lists::unknown;
use super::node::{Entry, Node};
use super::render::{bare_or_quoted, quoted};
use super::setting::Setting;
use super::{Config, NamedScope, NamedView, Problems, Sources};

const OFF: &str = "off";

/// One item of such a table.
pub(super) trait Item: Sized + 'static {
    /// For "expected …" of the table.
    const TABLE: &'static str;

    fn name(&self) -> &str;

    /// Reads what stands behind `name`; `"off"` has been dealt with.
    fn read(name: &str, node: &Node, key: &str, problems: &mut Problems) -> Option<Self>;

    /// The value as TOML.
    fn written(&self) -> String;

    /// The items that are there when nothing is written.
    fn built_in() -> Vec<Self>;
}

/// Adds a written table to `items`, which stay sorted by name.
pub(super) fn add<T: Item>(
    items: &mut Vec<T>,
    (key, node): (&str, &Node),
    problems: &mut Problems,
    sources: &mut Sources,
) {
    let entries = match node.table(T::TABLE) {
        Ok(entries) => entries,
        Err(message) => return problems.add(&node.place, key, message),
    };
    for Entry { name, node, .. } in entries.iter() {
        let key = format!("{key}.{}", bare_or_quoted(name));
        sources.record(&key, &node.place);
        // A view's lists too, so that a fault found in one later has its own place.
        for part in node.table("").iter().flat_map(|parts| parts.iter()) {
            sources.record(format!("{key}.{}", part.name), &part.node.place);
        }
        let item = match node.text() {
            Some(OFF) => None,
            _ => match T::read(name, node, &key, problems) {
                Some(item) => Some(item),
                None => continue,
            },
        };
        items.retain(|old| old.name() != name);
        items.extend(item);
        items.sort_by(|a, b| a.name().cmp(b.name()));
    }
}

/// `(name, value)` of every entry that, written, makes a table with these items.
pub(super) fn lines<T: Item>(items: &[T]) -> Vec<(String, String)> {
    let gone = T::built_in();
    let mut lines: Vec<_> = gone
        .iter()
        .filter(|old| !items.iter().any(|item| item.name() == old.name()))
        .map(|old| (old.name().to_owned(), quoted(OFF)))
        .collect();
    lines.extend(
        items
            .iter()
            .map(|item| (item.name().to_owned(), item.written())),
    );
    lines.sort();
    lines
}

/// `[freshness.live]`
impl Item for (String, Duration) {
    const TABLE: &'static str = "a table such as { invoices = \"1m\" }";

    fn name(&self) -> &str {
        &self.0
    }

    fn read(name: &str, node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        Some((name.to_owned(), Duration::read(node, key, problems)?))
    }

    fn written(&self) -> String {
        self.1.written()
    }

    fn built_in() -> Vec<Self> {
        Config::default().freshness.live
    }
}

/// `[scope.named]`
impl Item for NamedScope {
    const TABLE: &'static str = "a table such as { billing = [\"DIGEST\", \"DIGEST\"] }";

    fn name(&self) -> &str {
        &self.name
    }

    fn read(name: &str, node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let tokens = Vec::read(node, key, problems)?;
        if tokens.len() < 2 {
            let message = "a scope is for tokens that share; write the digests of two or more";
            problems.add(&node.place, key, message);
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            tokens,
        })
    }

    fn written(&self) -> String {
        self.tokens.written()
    }

    fn built_in() -> Vec<Self> {
        Vec::new()
    }
}

/// `[views.named]`
impl Item for NamedView {
    const TABLE: &'static str = "a table such as { light = { strip = \"invoices\" } }";

    fn name(&self) -> &str {
        &self.name
    }

    fn read(name: &str, node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let before = problems.len();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let message = format!(
                "{} is not the name of a view; write up to 64 letters, digits, - or _",
                quoted(name)
            );
            problems.add(&node.place, key, message);
        }
        let expected = "a view such as { strip = \"invoices\" }, or \"off\"";
        let entries = node
            .table(expected)
            .map_err(|message| problems.add(&node.place, key, message))
            .ok()?;
        let (mut fields, mut strip) = (None, None);
        for Entry {
            name,
            place,
            node: value,
        } in entries.iter()
        {
            let key = format!("{key}.{}", bare_or_quoted(name));
            match name.as_str() {
                "fields" => fields = String::read(value, &key, problems),
                "strip" => strip = String::read(value, &key, problems),
                _ => problems.add(place, &key, unknown(name, &["fields", "strip"])),
            }
        }
        if entries.is_empty() {
            let message = "a view without fields and strip removes nothing; write one of them, or \
                           \"off\" to have no view of this name";
            problems.add(&node.place, key, message);
        }
        (problems.len() == before).then(|| Self {
            name: name.to_owned(),
            fields,
            strip,
        })
    }

    fn written(&self) -> String {
        let parts = [("fields", &self.fields), ("strip", &self.strip)];
        let parts: Vec<_> = parts
            .into_iter()
            .filter_map(|(name, list)| Some(format!("{name} = {}", quoted(list.as_deref()?))))
            .collect();
        format!("{{ {} }}", parts.join(", "))
    }

    fn built_in() -> Vec<Self> {
        Config::default().views.named
    }
}
