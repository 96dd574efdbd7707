//! One spelling for lists that mean the same: covered paths dropped, the rest sorted.

use super::grammar::{Path, Segment};

/// Drops every path that another one covers, and sorts what remains.
pub(super) fn normalise(mut paths: Vec<Path>) -> Vec<Path> {
    paths.sort_unstable();
    paths.dedup();
    let mut kept = 0;
    // Dropping one at a time: of two that cover each other, one stays.
    for next in 0..paths.len() {
        let covered = paths[..kept]
            .iter()
            .chain(&paths[next + 1..])
            .any(|other| covers(other, &paths[next]));
        if !covered {
            paths.swap(kept, next);
            kept += 1;
        }
    }
    paths.truncate(kept);
    paths
}

/// The list in the grammar it was read from.
pub(super) fn write_list(paths: &[Path], text: &mut String) {
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

/// Whether all that `inner` reaches lies at or below something that `outer` reaches.
///
/// Answers from the back: bit `j` of a row says that `outer` from its segment `i` on covers
/// `inner` from its segment `j` on. Never true where it is not so; what it misses would take a
/// different branch for different documents.
fn covers(outer: &[Segment], inner: &[Segment]) -> bool {
    if let ([Segment::Name(a), ..], [Segment::Name(b), ..]) = (outer, inner)
        && a != b
    {
        return false;
    }
    let ends = inner.len();
    // Behind its last segment, `outer` covers whatever follows.
    let mut below = u64::MAX;
    for segment in outer.iter().rev() {
        let mut row = 0_u64;
        for j in (0..ends).rev() {
            let here_next = row >> (j + 1) & 1;
            let below_here = below >> j & 1;
            let below_next = below >> (j + 1) & 1;
            let bit = match (segment, &inner[j]) {
                // None of the levels, or one of them.
                (Segment::Deep, _) => below_here | here_next,
                // Without any level, and with at least one.
                (Segment::Any, Segment::Deep) => below_here & here_next,
                (Segment::Any, _) => below_next,
                (Segment::Name(a), Segment::Name(b)) if a == b => below_next,
                (Segment::Name(_), _) => 0,
            };
            row |= bit << j;
        }
        below = row;
    }
    below & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::super::grammar::{List, Paths};
    use super::*;

    fn normal(text: &str) -> String {
        let mut read = Paths::default();
        read.read(text, List::Strip)
            .expect("the rows of this table are lists");
        let mut out = String::new();
        write_list(&normalise(read.paths), &mut out);
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
