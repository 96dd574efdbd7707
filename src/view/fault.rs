//! The limits of a view option, and its faults in words.

use thiserror::Error;

/// Bytes that the lists of one option may have, percent-decoded: as sent, and with groups
/// written out.
pub const MAX_TEXT: usize = 2_048;
/// Paths that the lists of one option may have, groups written out.
pub const MAX_PATHS: usize = 64;
/// Segments of one path.
pub const MAX_SEGMENTS: usize = 32;
/// Segments that the paths of one option may have together, groups written out. What it costs
/// to read a query and to prune a body grows with them, however they are arranged.
pub const MAX_TOGETHER: usize = 256;
/// Bytes of one field name.
pub const MAX_NAME: usize = 256;

/// An option of the query that cannot be read. The request is answered 400.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{option}: character {position}: {kind}")]
pub struct ViewFault {
    /// The option's name, as configured.
    pub option: String,
    /// The character of the decoded value where reading stopped, counted from 1. Where the
    /// percent-encoding itself is broken, the character of the value as sent.
    pub position: usize,
    /// The fault at this position.
    pub kind: ViewFaultKind,
}

/// A fault of a list, or of the name of a view.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ViewFaultKind {
    /// A missing name: `a..b`, `a,`, `()`, or an empty value.
    #[error(r"a field name is expected here; write the name, or \e where the name is empty")]
    MissingName,
    /// A blank without a backslash.
    #[error(
        "a blank cannot stand here; leave it out, or put a backslash before it where it is part of a name"
    )]
    Blank,
    /// A star beside other characters.
    #[error(r"a star stands alone between dots; write \* where it is part of a name")]
    Star,
    /// `**` in a list of fields to keep.
    #[error("** can only be stripped; write the path of the field to keep")]
    DeepInFields,
    /// `**` with no name behind it.
    #[error("** needs a field name behind it, as in **.name")]
    DeepWithoutName,
    /// A backslash before something that needs none, or at the end.
    #[error(
        r"a backslash stands before one of . , ( ) * \ or a blank, or is \e for the empty name"
    )]
    Escape,
    /// A parenthesis that is never closed.
    #[error("this parenthesis is not closed")]
    Unclosed,
    /// A parenthesis that closes nothing.
    #[error("this parenthesis closes nothing")]
    Unopened,
    /// Something else than a comma or a parenthesis behind a group.
    #[error("a group ends its item; a comma or a closing parenthesis follows it")]
    BehindGroup,
    /// The lists of one option have more than [`MAX_TEXT`] bytes, as sent or with groups
    /// written out.
    #[error("the list goes on behind its {MAX_TEXT} bytes, groups written out")]
    TooLong,
    /// The lists of one option have more than [`MAX_PATHS`] paths, groups written out.
    #[error("this is one path more than {MAX_PATHS}, groups written out")]
    TooManyPaths,
    /// A path has more than [`MAX_SEGMENTS`] segments.
    #[error("this is one segment more than a path may have, {MAX_SEGMENTS}")]
    TooManySegments,
    /// The paths of one option have more than [`MAX_TOGETHER`] segments together, groups
    /// written out.
    #[error(
        "with this path the list has more than {MAX_TOGETHER} segments, groups written out; ask for fewer or shorter paths"
    )]
    TooManyTogether,
    /// A name has more than [`MAX_NAME`] bytes.
    #[error("this field name is longer than {MAX_NAME} bytes")]
    NameTooLong,
    /// `%` without two hexadecimal digits.
    #[error("% is followed by two hexadecimal digits; write %25 for a percent sign")]
    Percent,
    /// The decoded value is not UTF-8.
    #[error("this is not UTF-8")]
    NotUtf8,
    /// No configured view has this name; the names that are configured.
    #[error("no view has this name{}", known_names(.0))]
    UnknownView(Vec<String>),
}

impl ViewFault {
    /// The same fault, said of an option.
    pub(super) fn of(option: &str, (position, kind): (usize, ViewFaultKind)) -> Self {
        Self {
            option: option.to_owned(),
            position,
            kind,
        }
    }
}

fn known_names(known: &[String]) -> String {
    match known {
        [] => ", and none is configured".to_owned(),
        known => format!("; known: {}", known.join(", ")),
    }
}
