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
mod steps;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use fault::{Fault, FaultKind};
pub use options::{Options, OptionsFault};
pub use prune::{Pruned, Skipped, prune};
pub use query::{Asked, read_query};

use grammar::{List, Path, Paths, Segment, Wrong};

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

/// What a client wants to see, in canonical form: two lists that are written differently and
/// mean the same are the same view.
///
/// Groups are written out, paths that another one covers are gone, the rest is sorted. Cheap to
/// clone. It is kept as text, which the lookup of a part needs; its paths are read again where
/// a body is pruned.
#[derive(Clone)]
pub struct View {
    text: Arc<str>,
    /// Where the list of fields to keep ends; 0 where there is none.
    fields: usize,
    /// Where the list of fields to strip begins.
    strip: usize,
}

/// What comes before the lists in the text of a view.
const FIELDS: &str = "fields=";
const STRIP: &str = "strip=";

/// The lists of one request or one configured view, while they are read.
#[derive(Default)]
struct Draft<'t> {
    fields: Paths<'t>,
    strip: Paths<'t>,
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
        &self.text
    }

    /// What is kept; empty means everything.
    fn fields(&self) -> Vec<Path<'_>> {
        let list = self.text[..self.fields].strip_prefix(FIELDS);
        read_again(list.unwrap_or_default(), List::Fields)
    }

    /// What is taken away.
    fn strip(&self) -> Vec<Path<'_>> {
        read_again(&self.text[self.strip..], List::Strip)
    }
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || self.as_str() == other.as_str()
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

impl<'t> Draft<'t> {
    fn read(&mut self, text: &'t str, list: List) -> Result<(), Wrong> {
        match list {
            List::Fields => self.fields.read(text, list),
            List::Strip => self.strip.read(text, list),
        }
    }

    fn finish(self) -> Option<View> {
        let mut fields = canonical::normalise(self.fields.list);
        let strip = canonical::normalise(self.strip.list);
        // `*` covers every other path, so it stands alone here.
        if fields == [[Segment::Any]] {
            fields.clear();
        }
        let mut text = String::with_capacity(self.fields.written + self.strip.written + 16);
        if !fields.is_empty() {
            text.push_str(FIELDS);
            canonical::write_list(&fields, &mut text);
        }
        let behind_fields = text.len();
        if !strip.is_empty() {
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(STRIP);
        }
        let before_strip = text.len();
        canonical::write_list(&strip, &mut text);
        if text.is_empty() {
            return None;
        }
        Some(View {
            text: text.into(),
            fields: behind_fields,
            strip: before_strip,
        })
    }
}

/// The paths of a canonical list, which is empty where there are none.
fn read_again(text: &str, list: List) -> Vec<Path<'_>> {
    let mut read = Paths::default();
    if !text.is_empty() {
        read.read(text, list)
            .expect("a list that was read is within the limits when it is written out");
    }
    read.list
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
