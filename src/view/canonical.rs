//! Views in canonical form: covered paths dropped, the rest sorted.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::fault::ViewFault;
use super::grammar::{List, Path, Paths, Segment, Wrong};

/// The fields a client wants, in canonical form: two lists that are written differently and
/// mean the same are the same view.
///
/// Groups are written out, paths that another one covers are gone, the rest is sorted. Cheap to
/// clone. It is kept as text, which the lookup of a part needs; its paths are read again where
/// a body is pruned.
#[derive(Clone)]
pub struct View {
    text: Arc<str>,
    /// The end of the list of fields to keep; 0 without one.
    fields: usize,
    /// Where the list of fields to strip begins.
    strip: usize,
}

/// The prefixes of the lists in the text of a view.
const FIELDS: &str = "fields=";
const STRIP: &str = "strip=";

/// The lists of one request or one configured view, while they are read.
#[derive(Default)]
pub(super) struct ViewBuilder<'t> {
    fields: Paths<'t>,
    strip: Paths<'t>,
}

/// One of 64 bits for a name, to tell most names apart without comparing them.
#[inline]
pub(super) fn mark(name: &[u8]) -> u64 {
    let first = name.first().copied().unwrap_or(0);
    let last = name.last().copied().unwrap_or(0);
    1 << ((name.len() * 5 + usize::from(first) + usize::from(last) * 3) % 64)
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
    /// The first [`ViewFault`] of the lists, said of an option `fields` or `strip`.
    pub fn parse(fields: Option<&str>, strip: Option<&str>) -> Result<Option<Self>, ViewFault> {
        let mut builder = ViewBuilder::default();
        let added = builder.add(fields, strip);
        added.map_err(|(list, wrong)| ViewFault::of(list.name(), wrong))?;
        Ok(builder.finish())
    }

    /// The canonical form, as text: equal exactly for equal views.
    ///
    /// The two lists in the grammar of the options, with a blank between them, which cannot
    /// stand in a list: `fields=id,partner.id strip=**.token`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The paths to keep; empty means all.
    pub(super) fn fields(&self) -> Vec<Path<'_>> {
        let list = self.text[..self.fields].strip_prefix(FIELDS);
        read_again(list.unwrap_or_default(), List::Fields)
    }

    /// The paths to remove.
    pub(super) fn strip(&self) -> Vec<Path<'_>> {
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

// === impl ViewBuilder ===

impl<'t> ViewBuilder<'t> {
    /// Adds both lists; a fault comes with the list it is in.
    pub(super) fn add(
        &mut self,
        fields: Option<&'t str>,
        strip: Option<&'t str>,
    ) -> Result<(), (List, Wrong)> {
        for (list, text) in [(List::Fields, fields), (List::Strip, strip)] {
            let read = text.map_or(Ok(()), |text| self.read(text, list));
            read.map_err(|wrong| (list, wrong))?;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, text: &'t str, list: List) -> Result<(), Wrong> {
        match list {
            List::Fields => self.fields.read(text, list),
            List::Strip => self.strip.read(text, list),
        }
    }

    pub(super) fn finish(self) -> Option<View> {
        let mut fields = normalise(self.fields.list);
        let strip = normalise(self.strip.list);
        // `*` covers every other path, so it stands alone here.
        if fields == [[Segment::Any]] {
            fields.clear();
        }
        let mut text = String::with_capacity(self.fields.written + self.strip.written + 16);
        if !fields.is_empty() {
            text.push_str(FIELDS);
            write_list(&fields, &mut text);
        }
        let behind_fields = text.len();
        if !strip.is_empty() {
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(STRIP);
        }
        let before_strip = text.len();
        write_list(&strip, &mut text);
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

/// The paths of a canonical list, which may be empty.
fn read_again(text: &str, list: List) -> Vec<Path<'_>> {
    let mut read = Paths::default();
    if !text.is_empty() {
        read.read(text, list)
            .expect("a list that was read is within the limits when it is written out");
    }
    read.list
}

/// Drops every path that another one covers, and sorts what remains.
///
/// Paths of names alone are compared with their neighbours. One with a `*` or `**` is held
/// against every other path, a few operations for each of its segments: at most
/// [`MAX_PATHS`](super::MAX_PATHS) times [`MAX_TOGETHER`](super::MAX_TOGETHER) in all.
fn normalise(mut paths: Vec<Path<'_>>) -> Vec<Path<'_>> {
    paths.sort_unstable();
    // A path that begins with another one is next to it.
    paths.dedup_by(|next, kept| next.starts_with(kept));
    if paths.len() > 1 {
        drop_covered(&mut paths);
    }
    paths
}

/// The list in the grammar it was read from.
fn write_list(paths: &[Path<'_>], text: &mut String) {
    for (n, path) in paths.iter().enumerate() {
        for (m, segment) in path.iter().enumerate() {
            match (n, m) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('.'),
            }
            segment.write(text);
        }
    }
}

/// A quick proof that a path covers nothing, or not another one.
struct Outline {
    /// The [`mark`]s of its names: where one is missing in another path, so is the name.
    marks: u64,
    /// It has a `*` or `**`.
    wild: bool,
}

/// A path with numbers for its segments, equal where the segments are.
struct Numbered(Vec<usize>);

const ANY: usize = 0;
const DEEP: usize = 1;

/// Drops the paths that one with a `*` or `**` covers; of two that cover each other, one.
fn drop_covered(paths: &mut Vec<Path<'_>>) {
    let outlines: Vec<_> = paths.iter().map(|path| Outline::of(path)).collect();
    let may_cover = |outer: usize, inner: usize| {
        let (outer, inside) = (&outlines[outer], &outlines[inner]);
        outer.wild && outer.marks & !inside.marks == 0
    };
    let others = |place| (0..outlines.len()).filter(move |other| *other != place);
    let inners: Vec<_> = (0..outlines.len())
        .filter(|inner| others(*inner).any(|outer| may_cover(outer, *inner)))
        .collect();
    if inners.is_empty() {
        return;
    }
    let mut names: Vec<&str> = paths.iter().flatten().filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    let numbered: Vec<_> = paths
        .iter()
        .map(|path| Numbered::of(path, &names))
        .collect();
    let mut covered = vec![false; numbered.len()];
    for inner in inners {
        let places = numbered[inner].places(names.len());
        covered[inner] = others(inner).any(|outer| {
            !covered[outer]
                && may_cover(outer, inner)
                && covers(&numbered[outer], &numbered[inner], &places)
        });
    }
    let mut covered = covered.into_iter();
    paths.retain(|_| covered.next() == Some(false));
}

fn name<'p>(segment: &'p Segment<'_>) -> Option<&'p str> {
    match segment {
        Segment::Name(name) => Some(name),
        Segment::Any | Segment::Deep => None,
    }
}

/// Whether all that `inner` reaches lies at or below something that `outer` reaches; `places`
/// are those of `inner`.
///
/// Answers from the back: bit `j` of a row says that `outer` from one of its segments on covers
/// `inner` from its segment `j` on. Never true where it is not so; what it misses would take a
/// different branch for different documents.
fn covers(outer: &Numbered, inner: &Numbered, places: &[u64]) -> bool {
    let within = (1_u64 << inner.0.len()) - 1;
    // Behind its last segment, `outer` covers whatever follows.
    let mut row = u64::MAX;
    for &segment in outer.0.iter().rev() {
        let next = row >> 1;
        row = match segment {
            // None of the levels, or any number of them: from the last place that is covered
            // back to the first.
            DEEP => match row & within {
                0 => 0,
                row => u64::MAX >> row.leading_zeros(),
            },
            // One level. Where `inner` has `**`, both without any level and with one or more;
            // then the name behind it takes the place of the level.
            ANY => within & (next & !places[DEEP] | row & next >> 1 & places[DEEP]),
            name => next & places[name],
        };
        if row == 0 {
            return false;
        }
    }
    row & 1 == 1
}

// === impl Outline ===

impl Outline {
    fn of(path: &[Segment<'_>]) -> Self {
        let names = path.iter().filter_map(name);
        Self {
            marks: names.fold(0, |marks, name| marks | mark(name.as_bytes())),
            wild: path.iter().any(|segment| name(segment).is_none()),
        }
    }
}

// === impl Numbered ===

impl Numbered {
    /// `names` are all that there are, in order.
    fn of(path: &Path<'_>, names: &[&str]) -> Self {
        let number = |segment: &Segment<'_>| match segment {
            Segment::Any => ANY,
            Segment::Deep => DEEP,
            Segment::Name(name) => {
                2 + names
                    .binary_search(&&**name)
                    .expect("it is one of all names")
            }
        };
        Self(path.iter().map(number).collect())
    }

    /// For each number that a segment can have, a bit for each place where it stands.
    fn places(&self, names: usize) -> Vec<u64> {
        let mut places = vec![0; 2 + names];
        for (place, segment) in self.0.iter().enumerate() {
            places[*segment] |= 1 << place;
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fault::ViewFaultKind;
    use super::*;

    /// [`covers`] by recursion.
    fn covers_plainly(outer: &[Segment<'_>], inner: &[Segment<'_>]) -> bool {
        let ([at, rest @ ..], [place, below @ ..]) = (outer, inner) else {
            return outer.is_empty();
        };
        match (at, place) {
            (Segment::Deep, _) => covers_plainly(rest, inner) || covers_plainly(outer, below),
            (Segment::Any, Segment::Deep) => {
                covers_plainly(rest, inner) && covers_plainly(outer, below)
            }
            (Segment::Any, _) => covers_plainly(rest, below),
            (Segment::Name(_), _) => at == place && covers_plainly(rest, below),
        }
    }

    proptest! {
        #[test]
        fn what_remains_is_what_nothing_else_covers(
            list in r"((a|b|\*|\*\*\.a|\*\*\.b)\.){0,5}[ab](,((a|b|\*|\*\*\.a)\.){0,5}(a|b|\*)){1,12}",
        ) {
            let mut read = Paths::default();
            read.read(&list, List::Strip).expect("the expression makes lists");
            let mut left = read.list.clone();
            left.sort_unstable();
            left.dedup();
            let all = left.clone();
            left.retain(|path| {
                !all.iter().any(|other| other != path && covers_plainly(other, path))
            });
            prop_assert_eq!(normalise(read.list), left);
        }
    }

    fn normal(text: &str) -> String {
        let mut read = Paths::default();
        read.read(text, List::Strip)
            .expect("the rows of this table are lists");
        let mut out = String::new();
        write_list(&normalise(read.list), &mut out);
        out
    }

    #[test]
    fn spellings_of_one_list_become_one() {
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
        assert_eq!(fault.kind, ViewFaultKind::Star);
        let fault = View::parse(Some("a,**.b"), None).expect_err("** keeps nothing");
        assert_eq!(
            fault.to_string(),
            "fields: character 3: ** can only be stripped; write the path of the field to keep"
        );
    }
}
