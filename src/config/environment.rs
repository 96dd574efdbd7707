//! Environment variables and flags as raw values, like those of a file: one reader serves all
//! three.

use super::findings::{Place, Problems};
use super::raw::{RawEntry, RawKind, RawValue};
use super::settings::KEYS;

/// Prefix of all our variables.
///
/// Two underscores: Kubernetes sets `STUUT_CACHE_PORT` and the like for a service of this
/// name, and those are not settings.
const VARIABLE_PREFIX: &str = "STUUT_CACHE__";

/// The variable that sets `key`: `server.listen` → `STUUT_CACHE__SERVER__LISTEN`.
pub(super) fn variable(key: &str) -> String {
    format!(
        "{VARIABLE_PREFIX}{}",
        key.replace('.', "__").to_ascii_uppercase()
    )
}

/// A command line flag, the key that it sets, and its value: `("--listen", "server.listen", "[::]:80")`.
pub type Flag<'a> = (&'a str, &'a str, &'a str);

/// The variables of this process, by name.
///
/// Bytes that are not UTF-8 are replaced, so that the key refuses the value instead of ignoring it.
pub fn environment() -> Vec<(String, String)> {
    let mut variables: Vec<_> = std::env::vars_os()
        .map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            (name, value.to_string_lossy().into_owned())
        })
        .collect();
    variables.sort();
    variables
}

/// `STUUT_CACHE__SERVER__LISTEN=x` → `server = { listen = x }`. Variables of others are ignored.
pub(super) fn variables(variables: &[(String, String)], problems: &mut Problems) -> Vec<RawEntry> {
    let mut tree = Vec::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
            let meant = KEYS.iter().map(|key| (key.name, variable(key.name)));
            let meant = meant
                .into_iter()
                .find(|(_, variable)| variable.replace("__", "_") == *name);
            if let Some((key, variable)) = meant {
                let message = format!("has no effect; write {variable}, with two underscores");
                problems.add(&Place::Variable(name.clone()), key, message);
            }
            continue;
        };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let place = Place::Variable(name.clone());
        insert(&mut tree, &key, &key, value, &place, problems);
    }
    tree
}

/// `--listen x` → `server = { listen = x }`.
pub(super) fn flags(flags: &[Flag<'_>], problems: &mut Problems) -> Vec<RawEntry> {
    let mut tree = Vec::new();
    for (name, key, value) in flags {
        let place = Place::Flag((*name).to_owned());
        insert(&mut tree, key, key, value, &place, problems);
    }
    tree
}

/// Adds `value` at the path `rest` of the tree; `key` is the full path, for messages.
fn insert(
    tree: &mut Vec<RawEntry>,
    key: &str,
    rest: &str,
    value: &str,
    place: &Place,
    problems: &mut Problems,
) {
    let (name, inner) = match rest.split_once('.') {
        Some((name, inner)) => (name, Some(inner)),
        None => (rest, None),
    };
    let Some(entry) = tree.iter_mut().find(|entry| entry.name == name) else {
        let kind = match inner {
            Some(_) => RawKind::Table(Vec::new()),
            None => RawKind::Untyped(value.to_owned()),
        };
        tree.push(RawEntry {
            name: name.to_owned(),
            place: place.clone(),
            value: RawValue {
                kind,
                place: place.clone(),
            },
        });
        if inner.is_some() {
            insert(tree, key, rest, value, place, problems);
        }
        return;
    };
    if let (Some(inner), RawKind::Table(entries)) = (inner, &mut entry.value.kind) {
        return insert(entries, key, inner, value, place, problems);
    }
    // The same key twice, or a table as a whole together with an entry of it: the order of
    // precedence would be undefined.
    let message = format!("already given by {}; keep one of the two", entry.place);
    problems.add(place, key, message);
}
