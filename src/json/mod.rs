//! JSON scanning: finds where values begin and end, without building them.
//!
//! The functions take the rest of a text, validate what they read (RFC 8259) and return the rest
//! after it. Nothing recurses: nesting is counted, up to [`MAX_DEPTH`], with
//! one bit for each open container.
//!
//! More lenient than `serde_json`: a number may have any size, a `\u` escape may be an unpaired
//! surrogate (only the grammar is checked, not the value), and nesting may have 1,024 levels, not 128.
//!
//! ```
//! use stuut_cache::json;
//!
//! let body = br#"{"id": "c1", "tags": [1, 2]} "#;
//! assert_eq!(json::skip_value(body, 0), Ok(&b" "[..]));
//! assert_eq!(json::check(body), Ok(()));
//! assert_eq!(json::check(b"[1,]"), Err(json::JsonFault::NotJson));
//! ```

mod scan;
mod skip;
mod text;

pub(crate) use scan::{end, first, member_name, skip_whitespace};
pub(crate) use skip::{Visit, visit};
pub use skip::{check, skip_value};
pub(crate) use text::text;
pub use text::{RawString, unescape};

/// Maximum containers that may be open at once; deeper nesting is an error.
pub const MAX_DEPTH: usize = 1_024;

/// Why a text is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The text breaks the grammar of RFC 8259, is cut short, or is not UTF-8.
    #[error("not valid JSON")]
    NotJson,
    /// More than [`MAX_DEPTH`] containers are open at once.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}
