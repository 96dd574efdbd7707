//! The sizes of the fields of a JSON body, by path. Paths pass through arrays, as those of views do.

use crate::json::{self, JsonFault, RawString, Visit};

/// Maximum names in a path.
const MAX_NAMES: usize = 4;

/// Maximum bytes of a name.
const MAX_NAME: usize = 48;

/// Maximum paths of a body.
const MAX_PATHS: usize = 2_048;

/// A path, and its bytes: those of its names, values and the punctuation, without whitespace.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) bytes: usize,
    /// The length of its last name.
    name: usize,
    /// The number of names.
    names: usize,
    /// The place in the list of the field that contains it.
    parent: Option<usize>,
    /// The places of the fields in it.
    children: Vec<usize>,
}

/// The fields of a body, each after the one that contains it.
#[derive(Debug, Default)]
struct Fields {
    found: Vec<Field>,
    /// The places of the fields in no other one.
    outermost: Vec<usize>,
    /// The open containers inside the outermost one.
    open: Vec<Place>,
}

/// Where members of a container belong.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// To this field; none: to the body.
    Of(Option<usize>),
    /// To a field that is not listed, inside this one.
    Inside(Option<usize>),
}

/// The fields of a body, unless it is not a JSON object.
///
/// Only short words are paths: the keys of an object that is a map (of telephone numbers, say) are content.
pub(super) fn sizes(body: &[u8]) -> Result<Vec<Field>, JsonFault> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(JsonFault::NotJson);
    }
    let mut fields = Fields::default();
    json::visit(body, &mut fields)?;
    Ok(fields.found)
}

impl Visit for Fields {
    fn value(&mut self, name: Option<RawString<'_>>, value: &[u8], _depth: usize) {
        let container = self.open.last().copied().unwrap_or(Place::Of(None));
        let place = match (name, container) {
            (Some(name), Place::Of(parent)) => self.member(parent, name),
            (Some(_), Place::Inside(field)) => Place::Inside(field),
            (None, place) => place,
        };
        let (Place::Of(mut field) | Place::Inside(mut field)) = place;
        // Quotes, a colon and a comma; the brackets of a container.
        let named = name.map_or(1, |name| name.bytes.len() + 4);
        let bytes = named + if value.is_empty() { 2 } else { value.len() };
        while let Some(place) = field {
            self.found[place].bytes += bytes;
            field = self.found[place].parent;
        }
        if value.is_empty() {
            self.open.push(place);
        }
    }

    fn end(&mut self, _depth: usize) {
        self.open.pop();
    }
}

impl Fields {
    /// The place of a member of this field.
    fn member(&mut self, parent: Option<usize>, name: RawString<'_>) -> Place {
        let name = name.unescaped();
        let container = parent.map(|parent| &self.found[parent]);
        let siblings = container.map_or(&self.outermost, |field| &field.children);
        let is_same = |place: &&usize| self.found[**place].name().as_bytes() == &*name;
        if let Some(known) = siblings.iter().find(is_same) {
            return Place::Of(Some(*known));
        }
        let names = 1 + container.map_or(0, |field| field.names);
        if !is_word(&name) || names > MAX_NAMES || self.found.len() == MAX_PATHS {
            return Place::Inside(parent);
        }
        let path = container.map_or_else(String::new, |field| format!("{}.", field.path));
        let place = self.found.len();
        self.found.push(Field {
            path: path + &String::from_utf8_lossy(&name),
            bytes: 0,
            name: name.len(),
            names,
            parent,
            children: Vec::new(),
        });
        match parent {
            Some(parent) => self.found[parent].children.push(place),
            None => self.outermost.push(place),
        }
        Place::Of(Some(place))
    }
}

impl Field {
    fn name(&self) -> &str {
        &self.path[self.path.len() - self.name..]
    }
}

/// Whether a name looks like a word of a schema.
fn is_word(name: &[u8]) -> bool {
    let starts = |c: &u8| c.is_ascii_alphabetic() || *c == b'_';
    let continues = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    name.first().is_some_and(starts) && name.len() <= MAX_NAME && name.iter().all(continues)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Vec<(String, usize)> {
        let fields = sizes(body.as_bytes()).expect("an object");
        let fields = fields.into_iter().map(|field| (field.path, field.bytes));
        fields.collect()
    }

    #[test]
    fn fields_are_listed_by_path_with_their_sizes() {
        let cases: [(&str, &[(&str, usize)]); 6] = [
            ("{}", &[]),
            (r#" { "a" : 1 }"#, &[("a", 6)]),
            (
                r#"{"a":[1,2],"b":{"a":{}}}"#,
                &[("a", 11), ("b", 14), ("b.a", 7)],
            ),
            // Paths pass through arrays, also through arrays of arrays.
            (
                r#"{"a":[{"b":"xy"},[{"b":1,"c":2}]]}"#,
                &[("a", 37), ("a.b", 15), ("a.c", 6)],
            ),
            // The members of a map count for the field that has it.
            (r#"{"a":{"+49":{"b":1}}}"#, &[("a", 22)]),
            (
                r#"{"a":{"b":{"c":{"d":{"e":1}}}}}"#,
                &[("a", 34), ("a.b", 27), ("a.b.c", 20), ("a.b.c.d", 13)],
            ),
        ];
        for (body, expected) in cases {
            let expected = expected
                .iter()
                .map(|(path, bytes)| ((*path).into(), *bytes));
            assert_eq!(read(body), expected.collect::<Vec<_>>(), "{body}");
        }
        for body in ["", "[]", "null", "{", r#"{"a":1,}"#] {
            assert!(sizes(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn names_that_may_be_content_and_paths_beyond_the_limit_are_not_listed() {
        let long = "n".repeat(MAX_NAME + 1);
        let body = format!(r#"{{"+4930123456":1,"a b":2,"{long}":3,"":4}}"#);
        assert_eq!(read(&body), []);
        let many: Vec<_> = (0..10 * MAX_PATHS)
            .map(|n| format!(r#""n{n}":1"#))
            .collect();
        assert_eq!(read(&format!("{{{}}}", many.join(","))).len(), MAX_PATHS);
    }
}
