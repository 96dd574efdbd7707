//! The paths of a view as a tree, and which of its nodes a place in a document has reached.
//!
//! Reached nodes lie in one stack of node numbers that grows and shrinks with the nesting; what
//! a container needs to know of its part of the stack is summed up in [`Reached`], so that a
//! name that no path mentions costs one comparison.

use super::View;
use super::grammar::{Path, Segment};

/// The number of a node. 64 paths of 32 segments in each list leave room.
type Id = u16;

/// Both lists of a view; each has a root of its own.
pub(super) struct Tree<'v> {
    nodes: Vec<Node<'v>>,
    /// There is no list of fields to keep: everything is.
    all: bool,
}

const FIELDS: Id = 0;
const STRIP: Id = 1;

#[derive(Default)]
struct Node<'v> {
    /// What follows by name.
    names: Vec<(&'v [u8], Id)>,
    /// What follows by `*`.
    any: Option<Id>,
    /// The `**` behind this node. It is reached together with it, as it may stand for nothing.
    deep: Option<Id>,
    /// The [`mark`]s of `names`.
    marks: u64,
    /// A path ends here.
    end: bool,
    /// The node belongs to what is stripped.
    strip: bool,
    /// The node is a `**`: once reached, it stays so.
    stays: bool,
}

/// What a container has reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    /// Everything below is kept, but for what is stripped.
    all: bool,
    /// One of the nodes is followed by `*`.
    any: bool,
    /// One of the nodes is a `**`.
    stays: bool,
    /// The marks of all nodes together.
    marks: u64,
    /// Its part of the stack.
    start: u32,
    end: u32,
}

/// What becomes of a member's value.
pub(super) enum Step {
    /// It goes, and the member with it.
    Remove,
    /// It stays as it is.
    Keep,
    /// It stays; where it is a container, this is what it has reached.
    Into(Reached),
}

/// The nodes that the open containers have reached.
#[derive(Default)]
pub(super) struct Stack(Vec<Id>);

/// One of 64 bits for a name, to tell most names apart without comparing them.
#[inline]
pub(super) fn mark(name: &[u8]) -> u64 {
    let first = name.first().copied().unwrap_or(0);
    let last = name.last().copied().unwrap_or(0);
    1 << ((name.len() * 5 + usize::from(first) + usize::from(last) * 3) % 64)
}

// === impl Tree ===

impl<'v> Tree<'v> {
    pub(super) fn new(view: &'v View) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            all: view.fields().is_empty(),
        };
        tree.push(false);
        tree.push(true);
        tree.add(view.fields(), FIELDS);
        tree.add(view.strip(), STRIP);
        tree
    }

    fn add(&mut self, paths: &'v [Path], root: Id) {
        for path in paths {
            let mut at = root;
            for segment in path {
                let node = &self.nodes[usize::from(at)];
                let found = match segment {
                    Segment::Any => node.any,
                    Segment::Deep => node.deep,
                    Segment::Name(name) => node.named(name.as_bytes()),
                };
                at = found.unwrap_or_else(|| {
                    let next = self.push(root == STRIP);
                    let node = &mut self.nodes[usize::from(at)];
                    match segment {
                        Segment::Any => node.any = Some(next),
                        Segment::Deep => node.deep = Some(next),
                        Segment::Name(name) => {
                            node.names.push((name.as_bytes(), next));
                            node.marks |= mark(name.as_bytes());
                        }
                    }
                    self.nodes[usize::from(next)].stays = *segment == Segment::Deep;
                    next
                });
            }
            self.nodes[usize::from(at)].end = true;
        }
    }

    fn push(&mut self, strip: bool) -> Id {
        let id = Id::try_from(self.nodes.len()).expect("the limits of a view leave room");
        self.nodes.push(Node {
            strip,
            ..Node::default()
        });
        id
    }

    /// What the outermost container has reached.
    pub(super) fn root(&self, stack: &mut Stack) -> Reached {
        if !self.all {
            self.reach(FIELDS, 0, stack);
        }
        self.reach(STRIP, 0, stack);
        self.sum_up(0, self.all, stack)
    }

    /// What becomes of a member that no path mentions, by name or by `*`.
    #[inline]
    pub(super) fn other(&self, from: Reached, container: bool, stack: &mut Stack) -> Step {
        if !from.all {
            Step::Remove
        } else if from.stays && container {
            self.step(from, None, stack)
        } else {
            Step::Keep
        }
    }

    /// What becomes of a member.
    pub(super) fn step(&self, from: Reached, name: Option<&[u8]>, stack: &mut Stack) -> Step {
        let start = stack.0.len();
        let mut shown = from.all;
        let mut all = from.all;
        for place in from.start..from.end {
            let id = stack.0[place as usize];
            let node = &self.nodes[usize::from(id)];
            if node.stays {
                stack.push_once(id, start);
            }
            let named = name.and_then(|name| node.named(name));
            for next in [named, node.any].into_iter().flatten() {
                let Node { end, strip, .. } = self.nodes[usize::from(next)];
                if strip && end {
                    stack.0.truncate(start);
                    return Step::Remove;
                }
                shown |= !strip;
                all |= end;
                if !end {
                    self.reach(next, start, stack);
                }
            }
        }
        if !shown {
            stack.0.truncate(start);
            return Step::Remove;
        }
        if all && !from.all {
            stack.retain_from(start, |id| self.nodes[usize::from(id)].strip);
        }
        if all && stack.0.len() == start {
            return Step::Keep;
        }
        Step::Into(self.sum_up(start, all, stack))
    }

    fn reach(&self, id: Id, start: usize, stack: &mut Stack) {
        stack.0.push(id);
        if let Some(deep) = self.nodes[usize::from(id)].deep {
            stack.push_once(deep, start);
        }
    }

    fn sum_up(&self, start: usize, all: bool, stack: &Stack) -> Reached {
        let place = |at: usize| u32::try_from(at).expect("1,024 levels of 4,098 nodes fit");
        let mut reached = Reached {
            all,
            start: place(start),
            end: place(stack.0.len()),
            ..Reached::default()
        };
        for &id in &stack.0[start..] {
            let node = &self.nodes[usize::from(id)];
            reached.any |= node.any.is_some();
            reached.stays |= node.stays;
            reached.marks |= node.marks;
        }
        reached
    }
}

// === impl Node ===

impl Node<'_> {
    fn named(&self, name: &[u8]) -> Option<Id> {
        let found = self.names.iter().find(|(known, _)| *known == name)?;
        Some(found.1)
    }
}

// === impl Reached ===

impl Reached {
    /// Whether a path may mention a name with this mark, or any name.
    #[inline]
    pub(super) fn mentions(self, mark: u64) -> bool {
        self.any || self.marks & mark != 0
    }
}

// === impl Stack ===

impl Stack {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what was reached behind a length it had before.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn push_once(&mut self, id: Id, start: usize) {
        if !self.0[start..].contains(&id) {
            self.0.push(id);
        }
    }

    fn retain_from(&mut self, start: usize, keep: impl Fn(Id) -> bool) {
        let mut kept = start;
        for place in start..self.0.len() {
            let id = self.0[place];
            if keep(id) {
                self.0[kept] = id;
                kept += 1;
            }
        }
        self.0.truncate(kept);
    }
}
