//! Views: which fields of a call a client wants, and how the rest is taken away.
//!
//! A query asks with up to three options (their names are settings):
//!
//! | option | meaning |
//! |---|---|
//! | `strip=a.b,**.c` | everything but these |
//! | `fields=id,partner(id,name)` | only these |
//! | `view=light` | what the configured view `light` says |
//!
//! [`read_query`] takes them out of a query and answers the [`View`] they mean; [`prune()`]
//! takes away what that view does not show. Where fields are both kept and stripped, what is
//! kept is chosen first and the strips apply to that.
//!
//! - Paths pass through arrays: `invoices.id` is the `id` of every invoice. Only members of
//!   objects go, never an element of an array; emptied containers stay as `{}`.
//! - To keep `partner.id` is to keep `partner`, and of an object there only `id`. A `partner`
//!   that is `null`, or any other value without members, stays as it is.
//! - A name that no document has is no fault.
//!
//! ```
//! use bytes::Bytes;
//! use stuut_cache::config::Views;
//! use stuut_cache::view::{self, Options, Pruned};
//!
//! let options = Options::new(&Views::default()).expect("the defaults are valid");
//! let asked = view::read_query(Some("page=2&strip=partner(name)"), &options)?;
//! assert_eq!(asked.remaining.as_deref(), Some("page=2"));
//!
//! let view = asked.view.expect("strip asks for a view");
//! let body = Bytes::from(r#"{"id":"c1","partner":{"id":7,"name":"Foo"}}"#);
//! let Pruned::Part(part) = view::prune(&body, &view) else {
//!     panic!("there is a name to take away");
//! };
//! assert_eq!(part, r#"{"id":"c1","partner":{"id":7}}"#);
//! # Ok::<(), view::ViewFault>(())
//! ```

mod canonical;
mod fault;
mod grammar;
mod options;
mod prune;
mod query;
mod steps;

pub use canonical::View;
pub use fault::{
    MAX_NAME, MAX_PATHS, MAX_SEGMENTS, MAX_TEXT, MAX_TOGETHER, ViewFault, ViewFaultKind,
};
pub use options::{Options, OptionsFault};
pub use prune::{Pruned, prune};
pub use query::{QueryView, read_query};
