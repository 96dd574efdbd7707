//! JSON as bytes: finding where values begin and end without building them.
//!
//! Everything here takes the whole text and a position in it and answers the position behind
//! what it read, having checked it on the way (RFC 8259). Nothing recurses: nesting is counted,
//! up to [`MAX_DEPTH`], and containers are remembered one bit each.
//!
//! Where this is more lenient or stricter than `serde_json`: a number may be of any size, a
//! `\u` escape may be half of a surrogate pair (both are grammar, not values, and neither is
//! looked into), and nesting may go to 1,024 instead of 128.
//!
//! ```
//! use stuut_cache::json;
//!
//! let body = br#" {"id": "c1", "tags": [1, 2]} "#;
//! assert_eq!(json::skip_value(body, 1, 0), Ok(body.len() - 1));
//! assert_eq!(json::check(body), Ok(()));
//! assert_eq!(json::check(b"[1,]"), Err(json::JsonFault::NotJson));
//! ```

mod members;
mod scan;
mod skip;
mod text;

pub use members::members;
pub(crate) use scan::{blanks, byte, end, member_name};
pub(crate) use skip::{Visit, visit};
pub use skip::{check, skip_value};
pub(crate) use text::text;
pub use text::{Raw, unescape};

/// Containers that may be open at once; a body that nests deeper is not read.
pub const MAX_DEPTH: usize = 1_024;

/// Why a text was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The text breaks the grammar of RFC 8259, is cut short, or is not UTF-8.
    #[error("not valid JSON")]
    NotJson,
    /// More than [`MAX_DEPTH`] containers are open at once.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}
