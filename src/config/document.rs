//! TOML text → nodes with line and column. What the names mean is not known here.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Entry, Node, Written};
use super::{Place, Problems};

/// Reads a file's text.
///
/// `None` where it is not TOML: what could still be made out of it might be the
/// opposite of what was meant. A name given twice is a problem, and reading goes on.
pub(super) fn parse(text: &str, name: &Arc<str>, problems: &mut Problems) -> Option<Vec<Entry>> {
    let places = Places::Lines {
        name,
        text,
        starts: line_starts(text),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let (twice, broken): (Vec<_>, Vec<_>) = errors.into_iter().partition(is_duplicate);
    for error in twice {
        let span = error.span().unwrap_or(0..0);
        let key = text.get(span.clone()).unwrap_or_default();
        problems.add(&places.at(&span), key, "given twice; keep one of the two");
    }
    // The first fault in the grammar; those after it are mostly its echo.
    if let Some(error) = broken.first() {
        let span = error.span().unwrap_or(text.len()..text.len());
        let message = format!("not TOML: {}", one_line(error.message()));
        problems.add(&places.at(&span), "", message);
        return None;
    }
    Some(entries(table.get_ref(), &places))
}

/// Reads one value, such as a list, from a variable or a flag.
pub(super) fn value(text: &str, place: &Place) -> Result<Node, String> {
    let value = DeValue::parse(text.trim())
        .map_err(|error| format!("not a TOML value: {}", one_line(error.message())))?;
    Ok(node(&value, &Places::Fixed(place)))
}

/// `toml` has no code for this error, only its sentence; a test keeps watch over it.
fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message() == "duplicate key"
}

fn one_line(message: &str) -> String {
    message.replace('\n', " ")
}

fn entries(table: &DeTable<'_>, places: &Places<'_>) -> Vec<Entry> {
    table
        .iter()
        .map(|(name, value)| Entry {
            name: name.get_ref().to_string(),
            place: places.at(&name.span()),
            node: node(value, places),
        })
        .collect()
}

fn node(value: &Spanned<DeValue<'_>>, places: &Places<'_>) -> Node {
    let written = match value.get_ref() {
        DeValue::String(text) => Written::Text(text.to_string()),
        DeValue::Integer(number) => Written::Integer(
            number.to_string(),
            u64::from_str_radix(number.as_str(), number.radix()).ok(),
        ),
        DeValue::Boolean(value) => Written::Boolean(*value),
        DeValue::Array(items) => {
            Written::List(items.iter().map(|item| node(item, places)).collect())
        }
        DeValue::Table(table) => Written::Table(entries(table, places)),
        DeValue::Float(number) => Written::Other(format!("float {number}")),
        DeValue::Datetime(date) => Written::Other(format!("date {date}")),
    };
    Node {
        value: written,
        place: places.at(&value.span()),
    }
}

/// What a byte offset is called.
enum Places<'a> {
    /// In a file: line and column.
    Lines {
        name: &'a Arc<str>,
        text: &'a str,
        starts: Vec<usize>,
    },
    /// In a variable or a flag: its name says enough.
    Fixed(&'a Place),
}

impl Places<'_> {
    fn at(&self, span: &Range<usize>) -> Place {
        match self {
            Self::Fixed(place) => (*place).clone(),
            Self::Lines { name, text, starts } => {
                let line = starts.partition_point(|start| *start <= span.start);
                let start = starts[line - 1];
                let before = text.get(start..span.start).unwrap_or_default();
                Place::File {
                    name: Arc::clone(name),
                    at: Some((line, before.chars().count() + 1)),
                }
            }
        }
    }
}

/// Never empty: the first line begins at 0.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0)
        .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1))
        .collect()
}
