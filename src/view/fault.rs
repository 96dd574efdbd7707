//! The limits of view options, and their faults in words.

use thiserror::Error;

/// Maximum bytes in the lists of one option, percent-decoded: as sent, and with groups expanded.
pub const MAX_TEXT: usize = 2_048;
/// Maximum paths of one option, groups expanded.
pub const MAX_PATHS: usize = 64;
/// Maximum segments of one path.
pub const MAX_SEGMENTS: usize = 32;
/// Maximum segments of all paths of one option, groups expanded. The cost of parsing a query and
/// pruning a body grows with them.
pub const MAX_TOTAL_SEGMENTS: usize = 256;
/// Maximum bytes of one field name.
pub const MAX_NAME: usize = 256;

/// An invalid view option in a query. The response is a 400.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{option}: character {position}: {kind}")]
pub struct ViewFault {
    /// The option's name, as configured.
    pub option: String,
    /// The position of the fault in the decoded value, in characters from 1; in the value as sent, if
    /// the percent-encoding is invalid.
    pub position: usize,
    /// The fault at this position.
    pub kind: ViewFaultKind,
}

/// The kind of a fault in a list or a view name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ViewFaultKind {
    /// A missing name: `a..b`, `a,`, `()`, or an empty value.
    #[error(r"a field name is expected here; write the name, or \e where the name is empty")]
    MissingName,
    #[error(
        "whitespace is not allowed here; remove it, or put a backslash before it if it is part of a name"
    )]
    Blank,
    #[error(r"a star must be alone between dots; write \* if it is part of a name")]
    Star,
    #[error("** can only be stripped; write the path of the field to keep")]
    DeepInFields,
    #[error("** needs a field name after it, as in **.name")]
    DeepWithoutName,
    /// A backslash before a character that needs none, or at the end.
    #[error(
        r"a backslash must be before one of . , ( ) * \ $ / [ or a space, or \e for the empty name"
    )]
    Escape,
    /// A segment of a JSON Pointer or a JSON Path; contains the character, and the path to write.
    #[error(r"a path has no {0} here{path}; write \{0} if it is part of a name", path = instead(.1))]
    Foreign(char, String),
    #[error("this parenthesis is not closed")]
    Unclosed,
    #[error("this parenthesis closes nothing")]
    Unopened,
    #[error("only a comma or a closing parenthesis may follow a group")]
    AfterGroup,
    /// The lists of one option have more than [`MAX_TEXT`] bytes, as sent or with groups expanded.
    #[error("the list is longer than {MAX_TEXT} bytes, with groups expanded")]
    TooLong,
    /// The lists of one option have more than [`MAX_PATHS`] paths, groups expanded.
    #[error("the list has more than {MAX_PATHS} paths, with groups expanded")]
    TooManyPaths,
    /// A path has more than [`MAX_SEGMENTS`] segments.
    #[error("this path has more than {MAX_SEGMENTS} segments")]
    TooManySegments,
    /// The paths of one option have more than [`MAX_TOTAL_SEGMENTS`] segments, groups expanded.
    #[error(
        "the list has more than {MAX_TOTAL_SEGMENTS} segments, with groups expanded; use fewer or shorter paths"
    )]
    TooManyInTotal,
    /// A name has more than [`MAX_NAME`] bytes.
    #[error("this field name is longer than {MAX_NAME} bytes")]
    NameTooLong,
    #[error("% is followed by two hexadecimal digits; write %25 for a percent sign")]
    Percent,
    #[error("this is not UTF-8")]
    NotUtf8,
    /// No configured view has this name; contains the configured names.
    #[error("no view has this name{}", known_names(.0))]
    UnknownView(Vec<String>),
}

impl ViewFault {
    /// The fault of an option.
    pub(super) fn of(option: &str, (position, kind): (usize, ViewFaultKind)) -> Self {
        Self {
            option: option.to_owned(),
            position,
            kind,
        }
    }
}

fn instead(path: &str) -> String {
    match path {
        "" => String::new(),
        path => format!(", and goes through arrays by itself; write {path}"),
    }
}

fn known_names(known: &[String]) -> String {
    match known {
        [] => ", and none is configured".to_owned(),
        known => format!("; known: {}", known.join(", ")),
    }
}
