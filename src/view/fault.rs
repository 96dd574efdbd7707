//! The limits of a view option, and its faults in words.

use std::fmt;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewFaultKind {
    /// A missing name: `a..b`, `a,`, `()`, or an empty value.
    MissingName,
    /// A blank without a backslash.
    Blank,
    /// A star beside other characters.
    Star,
    /// `**` in a list of fields to keep.
    DeepInFields,
    /// `**` with no name behind it.
    DeepWithoutName,
    /// A backslash before something that needs none, or at the end.
    Escape,
    /// A parenthesis that is never closed.
    Unclosed,
    /// A parenthesis that closes nothing.
    Unopened,
    /// Something else than a comma or a parenthesis behind a group.
    BehindGroup,
    /// The lists of one option have more than [`MAX_TEXT`] bytes, as sent or with groups
    /// written out.
    TooLong,
    /// The lists of one option have more than [`MAX_PATHS`] paths, groups written out.
    TooManyPaths,
    /// A path has more than [`MAX_SEGMENTS`] segments.
    TooManySegments,
    /// The paths of one option have more than [`MAX_TOGETHER`] segments together, groups
    /// written out.
    TooManyTogether,
    /// A name has more than [`MAX_NAME`] bytes.
    NameTooLong,
    /// `%` without two hexadecimal digits.
    Percent,
    /// The decoded value is not UTF-8.
    NotUtf8,
    /// No configured view has this name.
    UnknownView {
        /// The names that are configured.
        known: Vec<String>,
    },
}

// === impl ViewFault ===

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

impl fmt::Display for ViewFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            option,
            position,
            kind,
        } = self;
        write!(f, "{option}: character {position}: {kind}")
    }
}

impl std::error::Error for ViewFault {}

// === impl ViewFaultKind ===

impl fmt::Display for ViewFaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingName => f.write_str(
                r"a field name is expected here; write the name, or \e where the name is empty",
            ),
            Self::Blank => f.write_str(
                "a blank cannot stand here; leave it out, or put a backslash before it where it is part of a name",
            ),
            Self::Star => f.write_str(
                r"a star stands alone between dots; write \* where it is part of a name",
            ),
            Self::DeepInFields => {
                f.write_str("** can only be stripped; write the path of the field to keep")
            }
            Self::DeepWithoutName => {
                f.write_str("** needs a field name behind it, as in **.name")
            }
            Self::Escape => f.write_str(
                r"a backslash stands before one of . , ( ) * \ or a blank, or is \e for the empty name",
            ),
            Self::Unclosed => f.write_str("this parenthesis is not closed"),
            Self::Unopened => f.write_str("this parenthesis closes nothing"),
            Self::BehindGroup => {
                f.write_str("a group ends its item; a comma or a closing parenthesis follows it")
            }
            Self::TooLong => write!(
                f,
                "the list goes on behind its {MAX_TEXT} bytes, groups written out"
            ),
            Self::TooManyPaths => write!(
                f,
                "this is one path more than {MAX_PATHS}, groups written out"
            ),
            Self::TooManySegments => write!(
                f,
                "this is one segment more than a path may have, {MAX_SEGMENTS}"
            ),
            Self::TooManyTogether => write!(
                f,
                "with this path the list has more than {MAX_TOGETHER} segments, groups written out; ask for fewer or shorter paths"
            ),
            Self::NameTooLong => {
                write!(f, "this field name is longer than {MAX_NAME} bytes")
            }
            Self::Percent => {
                f.write_str("% is followed by two hexadecimal digits; write %25 for a percent sign")
            }
            Self::NotUtf8 => f.write_str("this is not UTF-8"),
            Self::UnknownView { known } if known.is_empty() => {
                f.write_str("no view has this name, and none is configured")
            }
            Self::UnknownView { known } => {
                write!(f, "no view has this name; known: {}", known.join(", "))
            }
        }
    }
}
