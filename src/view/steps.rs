//! The paths of a view as a nondeterministic automaton on bit sets.
//!
//! Every segment of a path except `**` is a step; the steps of all paths are numbered in sequence.
//! The state of a container is the set of steps that its members may match. A member matches the
//! steps of its name and those of `*`, all at once; each is followed by the next step of its path, and
//! a step after `**` also stays. So the cost of a member does not depend on the number of active
//! paths, and a view of up to 64 steps fits in one word.

use std::borrow::Cow;

use super::covered::mark;
use super::grammar::{Path, Segment};

/// A set of steps, one bit each, in `N` words.
pub(super) type Set<const N: usize> = [u64; N];

/// The steps of both lists of a view, those of `fields` first.
pub(super) struct Steps<'v, const N: usize> {
    /// The names in the paths, shorter ones first, with the steps that such a member matches: its own
    /// and those of `*`.
    names: Vec<(Cow<'v, [u8]>, Set<N>)>,
    /// The [`mark`]s of all names.
    marks: u64,
    /// The steps of `*`: those that a member matches whose name is in no path.
    any: Set<N>,
    /// The steps after a `**`.
    stay: Set<N>,
    /// The last steps of the paths.
    last: Set<N>,
    /// The steps of `fields`; the others are of `strip`.
    keep: Set<N>,
    /// The state of the outermost container.
    pub(super) root: Reached<N>,
}

/// The state of a container: the steps that its members may match.
#[derive(Clone, Copy)]
pub(super) struct Reached<const N: usize> {
    /// Everything below is kept, except what is stripped.
    all: bool,
    next: Set<N>,
}

/// The decision about a member, and the last steps that it matches: the paths that end at it.
pub(super) type Matched<const N: usize> = (Decision<N>, Set<N>);

/// The decision about a member.
#[derive(Clone, Copy)]
pub(super) enum Decision<const N: usize> {
    /// Remove it.
    Remove,
    /// Keep it whole.
    Keep,
    /// Keep it; if its value is a container, this is the container's state.
    Into(Reached<N>),
}

fn insert<const N: usize>(set: &mut Set<N>, step: usize) {
    set[step / 64] |= 1 << (step % 64);
}

// === impl Steps ===

impl<'v, const N: usize> Steps<'v, N> {
    /// Numbers the steps of the paths; they must fit in `N` words.
    pub(super) fn new(fields: Vec<Path<'v>>, strip: Vec<Path<'v>>) -> Self {
        let mut steps = Self {
            names: Vec::new(),
            marks: 0,
            any: [0; N],
            stay: [0; N],
            last: [0; N],
            keep: [0; N],
            root: Reached {
                all: fields.is_empty(),
                next: [0; N],
            },
        };
        let mut named: Vec<(Cow<'v, [u8]>, usize)> = Vec::new();
        let mut step = 0;
        let kept = fields.len();
        for (index, path) in fields.into_iter().chain(strip).enumerate() {
            insert(&mut steps.root.next, step);
            for segment in path {
                match segment {
                    Segment::Deep => {
                        insert(&mut steps.stay, step);
                        continue;
                    }
                    Segment::Any => insert(&mut steps.any, step),
                    Segment::Name(Cow::Borrowed(name)) => {
                        named.push((Cow::Borrowed(name.as_bytes()), step));
                    }
                    Segment::Name(Cow::Owned(name)) => {
                        named.push((Cow::Owned(name.into_bytes()), step));
                    }
                }
                if index < kept {
                    insert(&mut steps.keep, step);
                }
                step += 1;
            }
            insert(&mut steps.last, step - 1);
        }
        named.sort_unstable_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        for (name, step) in named {
            if steps.names.last().is_none_or(|(last, _)| *last != name) {
                steps.marks |= mark(&name);
                steps.names.push((name, steps.any));
            }
            if let Some((_, matched)) = steps.names.last_mut() {
                insert(matched, step);
            }
        }
        steps
    }

    /// The indices of the paths that none of these last steps ends.
    pub(super) fn unmatched(&self, ends: &Set<N>) -> Vec<usize> {
        let is_in = |set: &Set<N>, step: usize| set[step / 64] >> (step % 64) & 1 == 1;
        let last_steps = (0..64 * N).filter(|step| is_in(&self.last, *step));
        let unmatched = last_steps
            .enumerate()
            .filter(|(_, step)| !is_in(ends, *step));
        unmatched.map(|(path, _)| path).collect()
    }

    /// Whether this name may be in a path.
    #[inline]
    pub(super) fn may_name(&self, name: &[u8]) -> bool {
        self.marks & mark(name) != 0
    }

    /// The decision about a member with this name.
    pub(super) fn member(&self, from: &Reached<N>, name: &[u8]) -> Matched<N> {
        let index = self
            .names
            .binary_search_by(|(known, _)| (known.len(), &**known).cmp(&(name.len(), name)));
        self.advance(from, index.map_or(&self.any, |index| &self.names[index].1))
    }

    /// The decision about a member whose name is in no path.
    #[inline]
    pub(super) fn other(&self, from: &Reached<N>) -> Matched<N> {
        self.advance(from, &self.any)
    }

    #[inline]
    fn advance(&self, from: &Reached<N>, steps: &Set<N>) -> Matched<N> {
        let (mut next, mut ends) = ([0; N], [0; N]);
        let (mut kept, mut kept_whole, mut stripped) = (0, 0, 0);
        let mut carry = 0;
        for n in 0..N {
            let matched = from.next[n] & steps[n];
            let ended = matched & self.last[n];
            kept |= matched & self.keep[n];
            kept_whole |= ended & self.keep[n];
            stripped |= ended & !self.keep[n];
            ends[n] = ended;
            let continued = matched ^ ended;
            next[n] = continued << 1 | carry | from.next[n] & self.stay[n];
            carry = continued >> 63;
        }
        if stripped != 0 || !from.all && kept == 0 {
            return (Decision::Remove, ends);
        }
        let all = from.all || kept_whole != 0;
        if all {
            for (next, keep) in next.iter_mut().zip(&self.keep) {
                *next &= !keep;
            }
            if next == [0; N] {
                return (Decision::Keep, ends);
            }
        }
        (Decision::Into(Reached { all, next }), ends)
    }
}
