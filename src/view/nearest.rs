//! What the unmatched paths of a view may mean: the nearest names in the body.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::canonical::{View, parse_canonical, write_path};
use super::grammar::{List, Segment};
use super::prune::prune_and_match;
use crate::config::nearest;
use crate::json::{self, RawString, Visit};

/// Maximum distinct names of a body that are compared.
const MAX_NAMES: usize = 1_024;

/// A path that matches nothing in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// The path.
    pub path: String,
    /// The same with names of the body, if some are near enough.
    pub nearest: Option<String>,
}

struct Names(BTreeSet<String>);

impl Visit for Names {
    fn value(&mut self, name: Option<RawString<'_>>, _: &[u8], _: usize) {
        let Some(name) = name.filter(|_| self.0.len() < MAX_NAMES) else {
            return;
        };
        if let Ok(name) = String::from_utf8(name.unescaped().into_owned()) {
            self.0.insert(name);
        }
    }
}

/// The paths of a view that match no member of a body, except within removed ones.
pub fn misspelt(body: &Bytes, view: &View) -> Vec<Misspelt> {
    let (_, unmatched) = prune_and_match(body, view);
    let mut names = Names(BTreeSet::new());
    if unmatched.is_empty() || json::visit(body, &mut names).is_err() {
        return Vec::new();
    }
    let misspelt = unmatched.into_iter().map(|path| {
        let near: Option<Vec<_>> = parse_canonical(&path, List::Strip)[0]
            .iter()
            .map(|segment| near(segment, &names.0))
            .collect();
        let near = near.map(|near| write_path(&near));
        Misspelt {
            nearest: near.filter(|near| *near != path),
            path,
        }
    });
    misspelt.collect()
}

/// The segment with the nearest of these names, unless its own is one.
fn near<'t>(segment: &Segment<'t>, names: &BTreeSet<String>) -> Option<Segment<'t>> {
    match segment {
        Segment::Name(name) if !names.contains(&**name) => {
            let known = nearest(name, names.iter().map(String::as_str))?;
            Some(Segment::Name(Cow::Owned(known.to_owned())))
        }
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmatched_paths_are_reported_with_the_nearest_names() {
        let body = Bytes::from(r#"{"invoices":[{"id":1}],"partner":{"na.me":"x"}}"#);
        let view = View::parse(
            None,
            Some(r"Invoices,invoices.ID,partner.na\.mee,id,**.zzz"),
        );
        let view = view.expect("valid").expect("a view");
        let found = misspelt(&body, &view);
        let found = found.iter().map(|one| (&*one.path, one.nearest.as_deref()));
        let expected = [
            ("**.zzz", None),
            ("Invoices", Some("invoices")),
            // The name is there, at another place.
            ("id", None),
            ("invoices.ID", Some("invoices.id")),
            (r"partner.na\.mee", Some(r"partner.na\.me")),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
