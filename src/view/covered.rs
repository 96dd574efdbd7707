//! Paths that another path of the same list covers.

use super::grammar::{Path, Segment};

/// A one-bit hash of a name (a Bloom filter): different bits mean different names.
#[inline]
pub(super) fn mark(name: &[u8]) -> u64 {
    let first = name.first().copied().unwrap_or(0);
    let last = name.last().copied().unwrap_or(0);
    1 << ((name.len() * 5 + usize::from(first) + usize::from(last) * 3) % 64)
}

// === impl View ===

/// A quick test that a path cannot cover another one.
struct Outline {
    /// The [`mark`]s of its names. It covers only paths that have all of them.
    marks: u64,
    /// Whether it has a `*` or `**`.
    wild: bool,
}

/// A path with its segments numbered: equal segments have equal numbers.
struct Numbered(Vec<usize>);

/// The numbers of `*` and `**`.
const ANY: usize = 0;
const DEEP: usize = 1;

/// Drops the paths that one with `*` or `**` covers; of two that cover each other, one.
pub(super) fn drop_covered(paths: &mut Vec<Path<'_>>) {
    let outlines: Vec<_> = paths.iter().map(|path| Outline::of(path)).collect();
    let may_cover = |outer: usize, inner: usize| {
        let (outer, inside) = (&outlines[outer], &outlines[inner]);
        outer.wild && outer.marks & !inside.marks == 0
    };
    let others = |index| (0..outlines.len()).filter(move |other| *other != index);
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
        let positions = numbered[inner].positions(names.len());
        covered[inner] = others(inner).any(|outer| {
            !covered[outer]
                && may_cover(outer, inner)
                && covers(&numbered[outer], &numbered[inner], &positions)
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

/// Whether every member that `inner` matches is at or below one that `outer` matches; `positions` are
/// those of `inner`.
///
/// Dynamic programming from the last segment of `outer` to the first: bit `j` of `row` is set if
/// `outer`, from the current segment on, covers `inner` from segment `j` on. Never wrongly true; it
/// may miss a path whose coverage depends on the document.
fn covers(outer: &Numbered, inner: &Numbered, positions: &[u64]) -> bool {
    let within = (1_u64 << inner.0.len()) - 1;
    // After its last segment, `outer` covers everything below.
    let mut row = u64::MAX;
    for &segment in outer.0.iter().rev() {
        let next = row >> 1;
        row = match segment {
            // Any number of levels, none included: all positions up to the last covered one.
            DEEP => match row & within {
                0 => 0,
                row => u64::MAX >> row.leading_zeros(),
            },
            // One level. A `**` in `inner` must be covered both with no level and with one or more;
            // with none, the level is that of the name after it.
            ANY => within & (next & !positions[DEEP] | row & next >> 1 & positions[DEEP]),
            name => next & positions[name],
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
    /// Numbers a path; `names` are all names, sorted.
    fn of(path: &Path<'_>, names: &[&str]) -> Self {
        let number = |segment: &Segment<'_>| match segment {
            Segment::Any => ANY,
            Segment::Deep => DEEP,
            Segment::Name(name) => {
                2 + names
                    .binary_search(&&**name)
                    .expect("`names` has all names")
            }
        };
        Self(path.iter().map(number).collect())
    }

    /// For each segment number, a bit mask of the positions of that segment.
    fn positions(&self, names: usize) -> Vec<u64> {
        let mut positions = vec![0; 2 + names];
        for (position, segment) in self.0.iter().enumerate() {
            positions[*segment] |= 1 << position;
        }
        positions
    }
}
