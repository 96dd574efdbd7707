//! What was written, with its place, before it means anything.

use std::borrow::Cow;

use super::{Place, document, render};

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Written,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Written {
    Text(String),
    /// As written, and its value where it is a number the settings can hold.
    Integer(String, Option<u64>),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// A kind that no setting has: "float 1.5", "date 2024-01-01".
    Other(String),
    /// From a variable or a flag, which have no kinds: the setting says what it reads.
    Bare(String),
}

/// One `name = value` of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Where the name stands; the value has its own place.
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// A string.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Written::Text(text) | Written::Bare(text) => Some(text),
            _ => None,
        }
    }

    /// A list; bare text is one in TOML's brackets, or words between commas.
    pub(super) fn list(&self, expected: &str) -> Result<Cow<'_, [Self]>, String> {
        match &self.value {
            Written::List(items) => Ok(Cow::Borrowed(items)),
            Written::Bare(text) if text.trim_start().starts_with('[') => {
                document::value(text, &self.place)?
                    .list(expected)
                    .map(|items| Cow::Owned(items.into_owned()))
            }
            Written::Bare(text) => Ok(Cow::Owned(
                text.split(',')
                    .map(str::trim)
                    .filter(|word| !word.is_empty())
                    .map(|word| Self {
                        value: Written::Bare(word.to_owned()),
                        place: self.place.clone(),
                    })
                    .collect(),
            )),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A table; bare text is one in TOML's braces.
    pub(super) fn table(&self, expected: &str) -> Result<Cow<'_, [Entry]>, String> {
        match &self.value {
            Written::Table(entries) => Ok(Cow::Borrowed(entries)),
            Written::Bare(text) if text.trim_start().starts_with('{') => {
                document::value(text, &self.place)?
                    .table(expected)
                    .map(|entries| Cow::Owned(entries.into_owned()))
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The sentence for a value of the wrong kind.
    pub(super) fn unexpected(&self, expected: &str) -> String {
        format!("expected {expected}, found {}", self.found())
    }

    fn found(&self) -> String {
        match &self.value {
            Written::Text(text) => format!("string {}", render::quoted(&shortened(text))),
            Written::Bare(text) => render::quoted(&shortened(text)),
            Written::Integer(written, _) => format!("integer {written}"),
            Written::Boolean(value) => format!("boolean {value}"),
            Written::List(_) => "a list".to_owned(),
            Written::Table(_) => "a table".to_owned(),
            Written::Other(found) => found.clone(),
        }
    }
}

/// A message is one line, whatever somebody pasted into the file.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
