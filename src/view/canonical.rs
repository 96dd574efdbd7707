//! Views in canonical form: redundant paths dropped, the rest sorted.

use std::fmt;
use std::sync::Arc;

use super::covered::drop_covered;
use super::fault::ViewFault;
use super::grammar::{FaultAt, List, Path, Paths, Segment};

/// The fields that a client wants, in canonical form: equivalent lists make equal views.
///
/// Groups are expanded, paths covered by another one are dropped, the rest is sorted. Cheap to clone.
/// Stored as text, by which a stored view is looked up; the paths are parsed again to prune a body.
#[derive(Clone)]
pub struct View {
    text: Arc<str>,
    /// The end of the list of fields to keep; 0 without one.
    fields_end: usize,
    /// The start of the list of fields to strip.
    strip_start: usize,
}

/// The prefixes of the lists in the text of a view.
const FIELDS: &str = "fields=";
const STRIP: &str = "strip=";

/// The lists of one request or one configured view, while they are parsed.
#[derive(Default)]
pub(super) struct ViewBuilder<'t> {
    fields: Paths<'t>,
    strip: Paths<'t>,
}

impl View {
    /// Parses a list of fields to keep and a list of fields to strip.
    ///
    /// `None` if everything is shown: neither list is given, or only `fields=*`.
    ///
    /// # Errors
    ///
    /// The first [`ViewFault`], with the option `fields` or `strip`.
    pub fn parse(fields: Option<&str>, strip: Option<&str>) -> Result<Option<Self>, ViewFault> {
        let mut builder = ViewBuilder::default();
        let added = builder.add(fields, strip);
        added.map_err(|(list, fault)| ViewFault::of(list.name(), fault))?;
        Ok(builder.finish())
    }

    /// The canonical form as text: equal if and only if the views are equal.
    ///
    /// Both lists in the grammar of the options, separated by a space, which no list contains
    /// unescaped: `fields=id,partner.id strip=**.token`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A hash of the canonical form, in hex digits. Changed together with the way a body is pruned, it
    /// makes the entity tags of views new.
    pub fn hash_digits(&self) -> String {
        const PRUNER: &[u8] = b"1 ";
        let hash = blake3::hash(&[PRUNER, self.text.as_bytes()].concat());
        hash.to_hex().as_str().to_owned()
    }

    /// All paths as text, those to keep first.
    pub(super) fn paths(&self) -> Vec<String> {
        let paths = self.fields().into_iter().chain(self.strip());
        paths.map(|path| write_path(&path)).collect()
    }

    /// The paths to keep; if empty, everything is kept.
    pub(super) fn fields(&self) -> Vec<Path<'_>> {
        let list = self.text[..self.fields_end].strip_prefix(FIELDS);
        parse_canonical(list.unwrap_or_default(), List::Fields)
    }

    /// The paths to strip.
    pub(super) fn strip(&self) -> Vec<Path<'_>> {
        parse_canonical(&self.text[self.strip_start..], List::Strip)
    }
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || self.as_str() == other.as_str()
    }
}

impl Eq for View {}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.as_str()).finish()
    }
}

// === impl ViewBuilder ===

impl<'t> ViewBuilder<'t> {
    /// Adds both lists. A fault is returned with its list.
    pub(super) fn add(
        &mut self,
        fields: Option<&'t str>,
        strip: Option<&'t str>,
    ) -> Result<(), (List, FaultAt)> {
        for (list, text) in [(List::Fields, fields), (List::Strip, strip)] {
            let read = text.map_or(Ok(()), |text| self.read(text, list));
            read.map_err(|fault| (list, fault))?;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, text: &'t str, list: List) -> Result<(), FaultAt> {
        match list {
            List::Fields => self.fields.read(text, list),
            List::Strip => self.strip.read(text, list),
        }
    }

    pub(super) fn finish(self) -> Option<View> {
        let mut fields = normalise(self.fields.list);
        let strip = normalise(self.strip.list);
        // `*` covers every other path, so it is alone here.
        if fields == [[Segment::Any]] {
            fields.clear();
        }
        let mut text = String::with_capacity(self.fields.written + self.strip.written + 16);
        if !fields.is_empty() {
            text.push_str(FIELDS);
            write_list(&fields, &mut text);
        }
        let fields_end = text.len();
        if !strip.is_empty() {
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(STRIP);
        }
        let strip_start = text.len();
        write_list(&strip, &mut text);
        if text.is_empty() {
            return None;
        }
        Some(View {
            text: text.into(),
            fields_end,
            strip_start,
        })
    }
}

/// The paths of a canonical list, which may be empty.
pub(super) fn parse_canonical(text: &str, list: List) -> Vec<Path<'_>> {
    let mut paths = Paths::default();
    if !text.is_empty() {
        paths
            .read(text, list)
            .expect("the canonical form of a valid list is valid");
    }
    paths.list
}

/// Drops every path that another one covers, and sorts the rest.
///
/// A path of names only is compared with its neighbours. A path with `*` or `**` is compared with
/// every other, in a few operations per segment: at most [`MAX_PATHS`](super::MAX_PATHS) times
/// [`MAX_TOTAL_SEGMENTS`](super::MAX_TOTAL_SEGMENTS) in total.
fn normalise(mut paths: Vec<Path<'_>>) -> Vec<Path<'_>> {
    paths.sort_unstable();
    // Sorted, a path follows the paths that are prefixes of it.
    paths.dedup_by(|next, kept| next.starts_with(kept));
    if paths.len() > 1 {
        drop_covered(&mut paths);
    }
    paths
}

/// Writes a list in the grammar of the options.
fn write_list(paths: &[Path<'_>], text: &mut String) {
    for (n, path) in paths.iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        text.push_str(&write_path(path));
    }
}

pub(super) fn write_path(path: &Path<'_>) -> String {
    let mut text = String::new();
    for (n, segment) in path.iter().enumerate() {
        if n > 0 {
            text.push('.');
        }
        segment.write(n == 0, &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fault::ViewFaultKind;
    use super::*;

    /// A recursive model of what a path covers.
    fn covers_model(outer: &[Segment<'_>], inner: &[Segment<'_>]) -> bool {
        let ([at, rest @ ..], [place, below @ ..]) = (outer, inner) else {
            return outer.is_empty();
        };
        match (at, place) {
            (Segment::Deep, _) => covers_model(rest, inner) || covers_model(outer, below),
            (Segment::Any, Segment::Deep) => {
                covers_model(rest, inner) && covers_model(outer, below)
            }
            (Segment::Any, _) => covers_model(rest, below),
            (Segment::Name(_), _) => at == place && covers_model(rest, below),
        }
    }

    proptest! {
        #[test]
        fn the_paths_that_no_other_path_covers_remain(
            list in r"((a|b|\*|\*\*\.a|\*\*\.b)\.){0,5}[ab](,((a|b|\*|\*\*\.a)\.){0,5}(a|b|\*)){1,12}",
        ) {
            let mut read = Paths::default();
            read.read(&list, List::Strip).expect("the expression generates valid lists");
            let mut uncovered = read.list.clone();
            uncovered.sort_unstable();
            uncovered.dedup();
            let all = uncovered.clone();
            uncovered.retain(|path| {
                !all.iter().any(|other| other != path && covers_model(other, path))
            });
            prop_assert_eq!(normalise(read.list), uncovered);
        }
    }

    fn normal(text: &str) -> String {
        let mut read = Paths::default();
        read.read(text, List::Strip)
            .expect("the rows are valid lists");
        let mut out = String::new();
        write_list(&normalise(read.list), &mut out);
        out
    }

    #[test]
    fn equivalent_lists_have_one_canonical_form() {
        for (spellings, canonical) in [
            (&["b,a", "a,b", "a,b,a", "a,b,b.c"][..], "a,b"),
            (
                &["p(id,name)", "p.name,p.id", "p(name),p(id)"],
                "p.id,p.name",
            ),
            (&["a,a.b", "a(b,c),a", "a.b.c,a"], "a"),
            (&["*,a.b,c", "c.*,*"], "*"),
            (&["a.*,a.b,a.c.d"], "a.*"),
            (&["a.*.c,a.b.c"], "a.*.c"),
            (&["**.c,c,a.c,a.b.c.d,*.c"], "**.c"),
            (&["**.c,**.a.c,**.c.**.d"], "**.c"),
            (&["a.**.c,a.c,a.b.*.c"], "a.**.c"),
            (&["*,**.a"], "*"),
            (&["**.a.*,**.a.**.b"], "**.a.*"),
            (&["*.**.c,*.c,a.b.c"], "*.**.c"),
            (&["**.c,*.**.c"], "**.c"),
            (&["*.**.c,c"], "*.**.c,c"),
            (&["a.b,a.c", "a(b,c)"], "a.b,a.c"),
            (&["a.*.c,a.b"], "a.*.c,a.b"),
            (&[r"\e,\*,*.x"], r"*.x,\e,\*"),
        ] {
            for spelling in spellings {
                assert_eq!(normal(spelling), canonical, "{spelling}");
            }
        }
    }

    fn text(fields: Option<&str>, strip: Option<&str>) -> Option<String> {
        View::parse(fields, strip)
            .expect("the rows are valid lists")
            .map(|view| view.as_str().to_owned())
    }

    #[test]
    fn the_canonical_text_has_both_lists() {
        assert_eq!(text(None, None), None);
        assert_eq!(
            text(Some("partner(name,id),id"), Some("b,**.a")).as_deref(),
            Some("fields=id,partner.id,partner.name strip=**.a,b")
        );
        assert_eq!(
            text(Some(r"a\ strip\(b\)"), None).as_deref(),
            Some(r"fields=a\ strip\(b\)"),
            "an escaped name is not parsed as the other list"
        );
        assert_eq!(text(Some("*,a.b"), None), None, "everything is kept");
        assert_eq!(text(Some("*"), Some("a")).as_deref(), Some("strip=a"));
        assert_eq!(text(None, Some("*,a.b")).as_deref(), Some("strip=*"));
    }

    #[test]
    fn a_fault_reads_as_a_sentence() {
        let fault = View::parse(None, Some("a.b,*x")).expect_err("a star next to a letter");
        assert_eq!(
            fault.to_string(),
            r"strip: character 5: a star must be alone between dots; write \* if it is part of a name"
        );
        assert_eq!(fault.kind, ViewFaultKind::Star);
        let fault = View::parse(Some("a,**.b"), None).expect_err("** in a list of fields to keep");
        assert_eq!(
            fault.to_string(),
            "fields: character 3: ** can only be stripped; write the path of the field to keep"
        );
    }
}
