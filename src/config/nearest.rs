//! The nearest known name to one that is not known.

/// The candidate that `written` most likely meant, where one is near enough to say so.
pub(super) fn nearest<'a>(
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
        // A third of the letters may be wrong; beyond that it is guesswork.
        .filter(|(distance, longer, _)| *distance <= longer.div_ceil(3))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

/// Case and the choice between `-` and `_` are no letters.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_the_name_and_another_word_does_not() {
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
