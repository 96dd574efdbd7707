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
//! # Ok::<(), view::Fault>(())
//! ```

mod canonical;
mod fault;
mod grammar;
mod options;
mod percent;
mod prune;
mod query;
mod tree;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use fault::{Fault, FaultKind};
pub use options::{Options, OptionsFault};
pub use prune::{Pruned, Skipped, prune};
pub use query::{Asked, read_query};

use grammar::{List, Path, Paths, Segment, Wrong};

/// Bytes that the lists of one option may have, percent-decoded.
pub const MAX_TEXT: usize = 2_048;
/// Paths that the lists of one option may have, groups written out.
pub const MAX_PATHS: usize = 64;
/// Segments of one path.
pub const MAX_SEGMENTS: usize = 32;
/// Bytes of one field name.
pub const MAX_NAME: usize = 256;

/// What a client wants to see, in canonical form: two lists that are written differently and
/// mean the same are the same view.
///
/// Groups are written out, paths that another one covers are gone, the rest is sorted. Cheap to
/// clone.
#[derive(Clone)]
pub struct View(Arc<Lists>);

struct Lists {
    /// The whole view as text; equal exactly where the lists are.
    text: Box<str>,
    /// What is kept; empty means everything.
    fields: Vec<Path>,
    /// What is taken away.
    strip: Vec<Path>,
}

/// The lists of one request or one configured view, while they are read.
#[derive(Default)]
struct Draft {
    fields: Paths,
    strip: Paths,
}

// === impl View ===

impl View {
    /// The view of a list of fields to keep and a list of fields to strip.
    ///
    /// `None` where neither is given, and where the one list given is `fields=*`: everything
    /// is shown.
    ///
    /// # Errors
    ///
    /// The first [`Fault`] of the lists, said of an option `fields` or `strip`.
    pub fn parse(fields: Option<&str>, strip: Option<&str>) -> Result<Option<Self>, Fault> {
        let mut draft = Draft::default();
        if let Some(text) = fields {
            draft
                .read(text, List::Fields)
                .map_err(|wrong| Fault::of("fields", wrong))?;
        }
        if let Some(text) = strip {
            draft
                .read(text, List::Strip)
                .map_err(|wrong| Fault::of("strip", wrong))?;
        }
        Ok(draft.finish())
    }

    /// The canonical form, as text: equal exactly for equal views.
    ///
    /// The two lists in the grammar of the options, with a blank between them, which cannot
    /// stand in a list: `fields=id,partner.id strip=**.token`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    fn fields(&self) -> &[Path] {
        &self.0.fields
    }

    fn strip(&self) -> &[Path] {
        &self.0.strip
    }
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }
}

impl Eq for View {}

impl Hash for View {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.as_str()).finish()
    }
}

// === impl Draft ===

impl Draft {
    fn read(&mut self, text: &str, list: List) -> Result<(), Wrong> {
        match list {
            List::Fields => self.fields.read(text, list),
            List::Strip => self.strip.read(text, list),
        }
    }

    fn finish(self) -> Option<View> {
        let mut fields = canonical::normalise(self.fields.paths);
        let strip = canonical::normalise(self.strip.paths);
        // `*` covers every other path, so it stands alone here.
        if fields == [[Segment::Any]] {
            fields.clear();
        }
        let mut text = String::new();
        for (name, paths) in [("fields=", &fields), ("strip=", &strip)] {
            if !paths.is_empty() {
                text.push_str(if text.is_empty() { "" } else { " " });
                text.push_str(name);
                canonical::write_list(paths, &mut text);
            }
        }
        if text.is_empty() {
            return None;
        }
        Some(View(Arc::new(Lists {
            text: text.into_boxed_str(),
            fields,
            strip,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: Option<&str>, strip: Option<&str>) -> Option<String> {
        View::parse(fields, strip)
            .expect("the rows of this table are lists")
            .map(|view| view.as_str().to_owned())
    }

    #[test]
    fn a_view_has_one_text() {
        assert_eq!(text(None, None), None);
        assert_eq!(
            text(Some("partner(name,id),id"), Some("b,**.a")).as_deref(),
            Some("fields=id,partner.id,partner.name strip=**.a,b")
        );
        assert_eq!(
            text(Some(r"a\ strip\(b\)"), None).as_deref(),
            Some(r"fields=a\ strip\(b\)"),
            "a name cannot pass for the other list"
        );
        assert_eq!(text(Some("*,a.b"), None), None, "everything is kept");
        assert_eq!(text(Some("*"), Some("a")).as_deref(), Some("strip=a"));
        assert_eq!(text(None, Some("*,a.b")).as_deref(), Some("strip=*"));
    }

    #[test]
    fn a_fault_reads_as_a_sentence() {
        let fault = View::parse(None, Some("a.b,*x")).expect_err("a star beside a letter");
        assert_eq!(
            fault.to_string(),
            r"strip: character 5: a star stands alone between dots; write \* where it is part of a name"
        );
        assert_eq!(fault.kind.as_str(), "star");
        let fault = View::parse(Some("a,**.b"), None).expect_err("** keeps nothing");
        assert_eq!(
            fault.to_string(),
            "fields: character 3: ** can only be stripped; write the path of the field to keep"
        );
    }
}
