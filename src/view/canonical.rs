//! One spelling for lists that mean the same: covered paths dropped, the rest sorted.

use super::grammar::{Path, Segment};
use super::steps::mark;

/// Drops every path that another one covers, and sorts what remains.
///
/// Paths of names alone are compared with their neighbours. One with a `*` or `**` is held
/// against every other path, a few operations for each of its segments: at most
/// [`MAX_PATHS`](super::MAX_PATHS) times [`MAX_TOGETHER`](super::MAX_TOGETHER) in all.
pub(super) fn normalise(mut paths: Vec<Path<'_>>) -> Vec<Path<'_>> {
    paths.sort_unstable();
    // What begins with another path stands right behind it.
    paths.dedup_by(|next, kept| next.starts_with(kept));
    if paths.len() > 1 {
        drop_covered(&mut paths);
    }
    paths
}

/// The list in the grammar it was read from.
pub(super) fn write_list(paths: &[Path<'_>], text: &mut String) {
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

/// What tells at a glance that a path covers nothing, or not another one.
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

    use super::super::grammar::{List, Paths};
    use super::*;

    /// What [`covers`] says, by recursion.
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
}
