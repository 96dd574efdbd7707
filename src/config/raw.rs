//! Values as they were written, with line and column, before a key gives them a meaning.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::{Place, Problems};
use super::wording::{bare_or_quoted, quoted, unknown};

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) struct RawValue {
    pub(super) kind: RawKind,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum RawKind {
    Text(String),
    /// As written, and its value where it is a number the settings can hold.
    Integer(String, Option<u64>),
    Boolean(bool),
    List(Vec<RawValue>),
    Table(Vec<RawEntry>),
    /// A kind that no setting has: "float 1.5", "date 2024-01-01".
    Other(String),
    /// From a variable or a flag, which are untyped: the key's type decides.
    Untyped(String),
}

/// One `name = value` of a table.
#[derive(Clone, Debug)]
pub(super) struct RawEntry {
    pub(super) name: String,
    /// The place of the name; the value has its own.
    pub(super) place: Place,
    pub(super) value: RawValue,
}

/// Parses a file's text.
///
/// `None` if it is not TOML: the readable part may mean the opposite of the whole. A duplicate name
/// is a problem, but does not stop the parser.
pub(super) fn parse(text: &str, name: &Arc<str>, problems: &mut Problems) -> Option<Vec<RawEntry>> {
    // Never empty: the first line begins at 0.
    let starts: Vec<_> = std::iter::once(0)
        .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1))
        .collect();
    let place_of = |span: &Range<usize>| {
        let line = starts.partition_point(|start| *start <= span.start);
        let before = text.get(starts[line - 1]..span.start).unwrap_or_default();
        Place::File {
            name: Arc::clone(name),
            at: Some((line, before.chars().count() + 1)),
        }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let (twice, broken): (Vec<_>, Vec<_>) = errors.into_iter().partition(is_duplicate);
    for error in twice {
        let span = error.span().unwrap_or(0..0);
        let key = text.get(span.clone()).unwrap_or_default();
        problems.add(&place_of(&span), key, "given twice; keep one of the two");
    }
    // The first syntax error only: those after it are mostly its consequences.
    if let Some(error) = broken.first() {
        let span = error.span().unwrap_or(text.len()..text.len());
        let message = format!("not TOML: {}", one_line(error.message()));
        problems.add(&place_of(&span), "", message);
        return None;
    }
    Some(entries(table.get_ref(), &place_of))
}

/// Parses one value, such as a list in a variable or a flag.
pub(super) fn value(text: &str, place: &Place) -> Result<RawValue, String> {
    let value = DeValue::parse(text.trim())
        .map_err(|error| format!("not a TOML value: {}", one_line(error.message())))?;
    Ok(raw(&value, &|_| place.clone()))
}

impl RawValue {
    /// The text of a string, or untyped text; `None` for any other kind.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            RawKind::Text(text) | RawKind::Untyped(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; untyped text is a list in TOML's brackets, or comma-separated.
    pub(super) fn list(&self, expected: &str) -> Result<Cow<'_, [Self]>, String> {
        match &self.kind {
            RawKind::List(items) => Ok(Cow::Borrowed(items)),
            RawKind::Untyped(text) if text.trim_start().starts_with('[') => {
                let list = value(text, &self.place)?;
                list.list(expected)
                    .map(|items| Cow::Owned(items.into_owned()))
            }
            RawKind::Untyped(text) => Ok(Cow::Owned(
                text.split(',')
                    .map(str::trim)
                    .filter(|word| !word.is_empty())
                    .map(|word| Self {
                        kind: RawKind::Untyped(word.to_owned()),
                        place: self.place.clone(),
                    })
                    .collect(),
            )),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The entries of a table; untyped text is a table in TOML's braces.
    pub(super) fn table(&self, expected: &str) -> Result<Cow<'_, [RawEntry]>, String> {
        match &self.kind {
            RawKind::Table(entries) => Ok(Cow::Borrowed(entries)),
            RawKind::Untyped(text) if text.trim_start().starts_with('{') => {
                let table = value(text, &self.place)?;
                table
                    .table(expected)
                    .map(|entries| Cow::Owned(entries.into_owned()))
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The values of a table that may have only these names, each with its full name.
    pub(super) fn fields<const N: usize>(
        &self,
        names: [&str; N],
        key: &str,
        expected: &str,
        problems: &mut Problems,
    ) -> Option<[Option<(String, Self)>; N]> {
        let entries = problems.ok_or_add(&self.place, key, self.table(expected))?;
        let mut fields = [const { None }; N];
        for entry in entries.into_owned() {
            let key = format!("{key}.{}", bare_or_quoted(&entry.name));
            match names.iter().position(|name| *name == entry.name) {
                Some(field) => fields[field] = Some((key, entry.value)),
                None => problems.add(&entry.place, &key, unknown(&entry.name, &names)),
            }
        }
        Some(fields)
    }

    /// The message about a value of the wrong kind.
    pub(super) fn unexpected(&self, expected: &str) -> String {
        let found = match &self.kind {
            RawKind::Text(text) => format!("string {}", quoted(&shortened(text))),
            RawKind::Untyped(text) => quoted(&shortened(text)),
            RawKind::Integer(written, _) => format!("integer {written}"),
            RawKind::Boolean(value) => format!("boolean {value}"),
            RawKind::List(_) => "a list".to_owned(),
            RawKind::Table(_) => "a table".to_owned(),
            RawKind::Other(found) => found.clone(),
        };
        format!("expected {expected}, found {found}")
    }
}

/// The beginning of a long value, so that a message stays one line.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

// === TOML ===

/// Returns the place of a range of bytes.
type PlaceOf<'a> = &'a dyn Fn(&Range<usize>) -> Place;

/// `toml` has no code for this error, only its message; a test checks it.
fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message() == "duplicate key"
}

fn one_line(message: &str) -> String {
    message.replace('\n', " ")
}

fn entries(table: &DeTable<'_>, place_of: PlaceOf<'_>) -> Vec<RawEntry> {
    table
        .iter()
        .map(|(name, value)| RawEntry {
            name: name.get_ref().to_string(),
            place: place_of(&name.span()),
            value: raw(value, place_of),
        })
        .collect()
}

fn raw(value: &Spanned<DeValue<'_>>, place_of: PlaceOf<'_>) -> RawValue {
    let kind = match value.get_ref() {
        DeValue::String(text) => RawKind::Text(text.to_string()),
        DeValue::Integer(number) => RawKind::Integer(
            number.to_string(),
            u64::from_str_radix(number.as_str(), number.radix()).ok(),
        ),
        DeValue::Boolean(value) => RawKind::Boolean(*value),
        DeValue::Array(items) => {
            RawKind::List(items.iter().map(|item| raw(item, place_of)).collect())
        }
        DeValue::Table(table) => RawKind::Table(entries(table, place_of)),
        DeValue::Float(number) => RawKind::Other(format!("float {number}")),
        DeValue::Datetime(date) => RawKind::Other(format!("date {date}")),
    };
    RawValue {
        kind,
        place: place_of(&value.span()),
    }
}
