//! Parts of messages: quoted text, lists of names, and the nearest known name.

use std::fmt::Write as _;

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Also for messages: a control character must not reach a terminal.
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A TOML key.
pub(super) fn bare_or_quoted(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Joins names as in `"a", "b" or "c"`.
pub(super) fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}

/// The message about an unknown name in a small table.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// The candidate that `written` most likely means, where one is near enough.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = plain(written);
    candidates
        .into_iter()
        .map(|candidate| {
            let plain = plain(candidate);
            let longer = written.chars().count().max(plain.chars().count());
            let distance = if written.len() >= 3 && plain.starts_with(&written) {
                1 // the beginning of a longer name: `token` for `token_file`
            } else {
                strsim::osa_distance(&written, &plain)
            };
            (distance, longer, candidate)
        })
        // At most a third of the letters may be wrong.
        .filter(|(distance, longer, _)| *distance <= longer.div_ceil(3))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

/// A name as compared: in lower case, with `_` for `-`.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_misspelling_finds_the_nearest_name() {
        let known = ["capacity", "max_entry", "routes"];
        for (written, expected) in [
            ("capcity", Some("capacity")),
            ("Capacity", Some("capacity")),
            ("max-entry", Some("max_entry")),
            ("maxentry", Some("max_entry")),
            ("ruotes", Some("routes")),
            ("max", Some("max_entry")),
            ("listen", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), expected, "{written:?}");
        }
    }
}
