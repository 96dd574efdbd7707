//! The steps of a view's paths as bits, and which of them are next at a place in a document.
//!
//! Every segment of a path but `**` is a step, and the steps of all paths lie in one row. What
//! a container has reached is a set of them: the steps its members may take. A member takes
//! those of its name and those of `*`, all at once; each leads to the one behind it, and a
//! step with `**` before it stays. So a member costs the same however many paths are under
//! way, and a view of up to 64 steps fits in one word.

use std::borrow::Cow;

use super::canonical::mark;
use super::grammar::{Path, Segment};

/// A set of steps, one bit each, in `N` words.
type Set<const N: usize> = [u64; N];

/// Both lists of a view; those to keep come first in the row.
pub(super) struct Steps<'v, const N: usize> {
    /// The names that paths mention, shorter ones first, and the steps that such a member
    /// takes: its own and those of `*`.
    names: Vec<(Cow<'v, [u8]>, Set<N>)>,
    /// The [`mark`]s of all names.
    marks: u64,
    /// The steps of `*`: what a member takes whose name no path mentions.
    any: Set<N>,
    /// The steps with `**` before them.
    stay: Set<N>,
    /// The last steps of the paths.
    last: Set<N>,
    /// The steps of what is kept; the others are of what is stripped.
    keep: Set<N>,
    /// The steps reached by the outermost container.
    root: Reached<N>,
}

/// The steps that a container has reached.
#[derive(Clone, Copy)]
pub(super) struct Reached<const N: usize> {
    /// Everything below is kept, but for what is stripped.
    all: bool,
    next: Set<N>,
}

/// The fate of a member's value.
#[derive(Clone, Copy)]
pub(super) enum Fate<const N: usize> {
    /// It goes, and the member with it.
    Remove,
    /// It stays as it is.
    Keep,
    /// It stays; where it is a container, this is what it has reached.
    Into(Reached<N>),
}

fn insert<const N: usize>(set: &mut Set<N>, step: usize) {
    set[step / 64] |= 1 << (step % 64);
}

// === impl Steps ===

impl<'v, const N: usize> Steps<'v, N> {
    /// Lays out the paths to keep and those to strip; their steps must fit in `N` words.
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
        for (place, path) in fields.into_iter().chain(strip).enumerate() {
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
                if place < kept {
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
            if let Some((_, taken)) = steps.names.last_mut() {
                insert(taken, step);
            }
        }
        steps
    }

    /// The steps reached by the outermost container.
    pub(super) fn root(&self) -> Reached<N> {
        self.root
    }

    /// Whether a path may mention this name.
    #[inline]
    pub(super) fn mention(&self, name: &[u8]) -> bool {
        self.marks & mark(name) != 0
    }

    /// The fate of a member of this name.
    pub(super) fn member(&self, from: &Reached<N>, name: &[u8]) -> Fate<N> {
        let found = self
            .names
            .binary_search_by(|(known, _)| (known.len(), &**known).cmp(&(name.len(), name)));
        self.take(from, found.map_or(&self.any, |place| &self.names[place].1))
    }

    /// The fate of a member that no path mentions by name.
    #[inline]
    pub(super) fn other(&self, from: &Reached<N>) -> Fate<N> {
        self.take(from, &self.any)
    }

    #[inline]
    fn take(&self, from: &Reached<N>, steps: &Set<N>) -> Fate<N> {
        let mut next = [0; N];
        let (mut kept, mut kept_whole, mut stripped) = (0, 0, 0);
        let mut carry = 0;
        for n in 0..N {
            let taken = from.next[n] & steps[n];
            let ended = taken & self.last[n];
            kept |= taken & self.keep[n];
            kept_whole |= ended & self.keep[n];
            stripped |= ended & !self.keep[n];
            let on = taken ^ ended;
            next[n] = on << 1 | carry | from.next[n] & self.stay[n];
            carry = on >> 63;
        }
        if stripped != 0 || !from.all && kept == 0 {
            return Fate::Remove;
        }
        let all = from.all || kept_whole != 0;
        if all {
            for (next, keep) in next.iter_mut().zip(&self.keep) {
                *next &= !keep;
            }
            if next == [0; N] {
                return Fate::Keep;
            }
        }
        Fate::Into(Reached { all, next })
    }
}
