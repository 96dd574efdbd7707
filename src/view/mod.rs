//! Views: which fields of a call a client wants, and the removal of the others.
//!
//! A query has up to three options (their names are configurable):
//!
//! | option | meaning |
//! |---|---|
//! | `strip=a.b,**.c` | everything except these |
//! | `fields=id,partner(id,name)` | only these |
//! | `view=light` | the lists of the configured view `light` |
//!
//! [`read_query`] removes the options from a query and returns the [`View`] they describe;
//! [`prune()`] removes from a body the fields that the view does not show. With both lists, `fields`
//! are selected first, and `strip` applies to the rest.
//!
//! - Paths pass through arrays: `invoices.id` is the `id` of every invoice. Only members of
//!   objects are removed, never array elements; an object without members left stays as `{}`.
//! - A path to keep, such as `partner.id`, keeps `partner`: of an object, only its `id`; `null`, or
//!   another value without members, as it is.
//! - A path that matches nothing in a document is not an error.
//!
//! ```
//! use bytes::Bytes;
//! use stuut_cache::config::Views;
//! use stuut_cache::view::{self, Options, Pruned};
//!
//! let options = Options::new(&Views::default()).expect("the defaults are valid");
//! let query = view::read_query(Some("page=2&strip=partner(name)"), &options)?;
//! assert_eq!(query.remaining.as_deref(), Some("page=2"));
//!
//! let view = query.view.expect("strip describes a view");
//! let body = Bytes::from(r#"{"id":"c1","partner":{"id":7,"name":"Foo"}}"#);
//! let Pruned::Part(part) = view::prune(&body, &view) else {
//!     panic!("there is a name to remove");
//! };
//! assert_eq!(part, r#"{"id":"c1","partner":{"id":7}}"#);
//! # Ok::<(), view::ViewFault>(())
//! ```

mod canonical;
mod covered;
mod fault;
mod grammar;
mod nearest;
mod options;
mod prune;
mod query;
mod steps;

pub use canonical::View;
pub use fault::{
    MAX_NAME, MAX_PATHS, MAX_SEGMENTS, MAX_TEXT, MAX_TOTAL_SEGMENTS, ViewFault, ViewFaultKind,
};
pub use nearest::{Misspelt, misspelt};
pub use options::{Options, OptionsFault, decode, option_value};
pub use prune::{Pruned, prune, prune_and_match};
pub use query::{QueryView, read_query};
