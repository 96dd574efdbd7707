//! Pruning: one pass that validates a body and copies what a view shows.

use bytes::Bytes;

use crate::json::{
    self, JsonFault, MAX_DEPTH, RawString, first, member_name, skip_value, skip_whitespace,
};

use super::canonical::View;
use super::fault::MAX_TOTAL_SEGMENTS;
use super::grammar::Segment;
use super::steps::{Decision, Matched, Reached, Steps};

/// The result of pruning a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pruned {
    /// Nothing was removed: the same bytes, not a copy.
    Whole(Bytes),
    /// The remaining bytes.
    Part(Bytes),
    /// The body is not valid JSON, or too deep, and must be served whole.
    Skipped(JsonFault),
}

/// Removes from a JSON body everything that `view` does not show.
///
/// The whole body is validated, removed parts included. The rest is exactly as sent. With a member,
/// the whitespace before its name and one comma are removed: the comma after it, or, if no later
/// member is kept, the comma before it with the whitespace before that. Whitespace before a closing
/// brace is kept. So the result depends only on which members are kept, not on the order in which
/// others were removed.
///
/// Names are compared with escapes resolved; one with an unpaired surrogate is matched only by `*`.
pub fn prune(body: &Bytes, view: &View) -> Pruned {
    prune_and_match(body, view).0
}

/// The same, and the paths of the view that match no member, except within removed ones.
pub fn prune_and_match(body: &Bytes, view: &View) -> (Pruned, Vec<String>) {
    let mut part = Part {
        text: body,
        out: Vec::new(),
        copied: 0,
    };
    let read = match std::str::from_utf8(body) {
        Ok(_) => read_for(view, &mut part),
        Err(_) => Err(JsonFault::NotJson),
    };
    match read {
        // A cut never ends at 0: it follows a brace.
        Ok(unmatched) if part.copied == 0 => (Pruned::Whole(body.clone()), unmatched),
        Ok(unmatched) => (Pruned::Part(part.finish()), unmatched),
        Err(fault) => (Pruned::Skipped(fault), Vec::new()),
    }
}

/// The bytes copied so far.
struct Part<'a> {
    text: &'a [u8],
    out: Vec<u8>,
    /// The position in `text` up to which the kept bytes are in `out`.
    copied: usize,
}

/// An open container that paths lead into.
struct Open<const N: usize> {
    object: bool,
    reached: Reached<N>,
    /// The decision about a member whose name is in no path.
    other: Matched<N>,
    /// The end of the last kept value; initially the position after the brace.
    kept: usize,
    /// The start of the current run of removed members, after a comma or the brace.
    gap: Option<usize>,
    /// The end of the last removed value.
    removed: usize,
}

/// The words needed for the steps of both lists, at their limits.
const MAX_WORDS: usize = 2 * MAX_TOTAL_SEGMENTS / 64;

fn read_for(view: &View, part: &mut Part<'_>) -> Result<Vec<String>, JsonFault> {
    let value = skip_whitespace(part.text);
    let (fields, strip) = (view.fields(), view.strip());
    let segments = fields.iter().chain(&strip).flatten();
    let steps = segments.filter(|segment| **segment != Segment::Deep);
    let unmatched = if !matches!(first(value), b'{' | b'[') {
        json::end(skip_value(value, 0)?)?;
        (0..fields.len() + strip.len()).collect()
    } else if steps.count() <= 64 {
        read(&Steps::<1>::new(fields, strip), part, value)?
    } else {
        read(&Steps::<MAX_WORDS>::new(fields, strip), part, value)?
    };
    let paths = if unmatched.is_empty() {
        Vec::new()
    } else {
        view.paths()
    };
    Ok(unmatched
        .into_iter()
        .map(|path| paths[path].clone())
        .collect())
}

/// Prunes the outermost container, at the start of `rest`: each iteration reads one member or element,
/// or closes a container. Returns the indices of the paths that match nothing.
fn read<'t, const N: usize>(
    steps: &Steps<'_, N>,
    part: &mut Part<'t>,
    mut rest: &'t [u8],
) -> Result<Vec<usize>, JsonFault> {
    let length = part.text.len();
    let at = |rest: &[u8]| length - rest.len();
    let (mut outer, mut is_first, mut ends) = (Vec::<Open<N>>::new(), true, [0; N]);
    let mut open = Open::new(rest, at(rest), steps.root, steps);
    rest = &rest[1..];
    loop {
        let mut begin = at(rest);
        rest = skip_whitespace(rest);
        match rest {
            [b',', after @ ..] if !is_first => {
                begin = at(after);
                rest = skip_whitespace(after);
            }
            [bracket @ (b'}' | b']'), after @ ..] if *bracket == open.closing() => {
                part.close(&open);
                rest = after;
                let Some(parent) = outer.pop() else {
                    return json::end(rest).map(|()| steps.unmatched(&ends));
                };
                open = parent;
                open.kept = at(rest);
                is_first = false;
                continue;
            }
            _ if !is_first => return Err(JsonFault::NotJson),
            _ => is_first = false,
        }
        let decision = if open.object {
            let (name, value) = member_name(rest)?;
            rest = skip_whitespace(value);
            let (decision, ended) = open.decide(name, steps);
            for (ends, ended) in ends.iter_mut().zip(ended) {
                *ends |= ended;
            }
            if matches!(decision, Decision::Remove) {
                rest = skip_value(rest, outer.len() + 1)?;
                open.remove(begin, at(rest));
                continue;
            }
            part.keep(&mut open, begin);
            decision
        } else {
            Decision::Into(open.reached)
        };
        if let (b'{' | b'[', Decision::Into(reached)) = (first(rest), decision) {
            outer.push(open);
            if outer.len() == MAX_DEPTH {
                return Err(JsonFault::TooDeep);
            }
            open = Open::new(rest, at(rest), reached, steps);
            rest = &rest[1..];
            is_first = true;
        } else {
            rest = skip_value(rest, outer.len() + 1)?;
            open.kept = at(rest);
        }
    }
}

// === impl Part ===

impl Part<'_> {
    /// Leaves out the text from `from` to `to`, and copies the text before it.
    fn cut(&mut self, from: usize, to: usize) {
        if self.copied == 0 {
            self.out.reserve_exact(self.text.len() - (to - from));
        }
        self.out.extend_from_slice(&self.text[self.copied..from]);
        self.copied = to;
    }

    /// Leaves out the removed members before a kept one, which begins at `begin`.
    #[inline]
    fn keep<const N: usize>(&mut self, open: &mut Open<N>, begin: usize) {
        if let Some(gap) = open.gap.take() {
            self.cut(gap, begin);
        }
    }

    /// Leaves out the removed members at the end of a container.
    #[inline]
    fn close<const N: usize>(&mut self, open: &Open<N>) {
        if open.gap.is_some() {
            self.cut(open.kept, open.removed);
        }
    }

    fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(&self.text[self.copied..]);
        // A stored view must not have spare capacity.
        self.out.shrink_to_fit();
        Bytes::from(self.out)
    }
}

// === impl Open ===

impl<const N: usize> Open<N> {
    fn new(rest: &[u8], at: usize, reached: Reached<N>, steps: &Steps<'_, N>) -> Self {
        Self {
            object: first(rest) == b'{',
            other: steps.other(&reached),
            reached,
            kept: at + 1,
            gap: None,
            removed: 0,
        }
    }

    #[inline]
    fn remove(&mut self, begin: usize, end: usize) {
        self.gap.get_or_insert(begin);
        self.removed = end;
    }

    #[inline]
    fn closing(&self) -> u8 {
        if self.object { b'}' } else { b']' }
    }

    #[inline]
    fn decide(&self, name: RawString<'_>, steps: &Steps<'_, N>) -> Matched<N> {
        if name.escaped {
            steps.member(&self.reached, &name.unescaped())
        } else if steps.may_name(name.bytes) {
            steps.member(&self.reached, name.bytes)
        } else {
            self.other
        }
    }
}

#[cfg(test)]
mod tests;
