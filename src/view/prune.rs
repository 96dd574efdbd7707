//! Pruning: one pass over the bytes, which checks them and copies what a view shows.

use bytes::Bytes;

use crate::json::{self, JsonFault, MAX_DEPTH, Raw, blanks, byte, member_name, skip_value};

use super::canonical::View;
use super::fault::MAX_TOGETHER;
use super::grammar::Segment;
use super::steps::{Fate, Reached, Steps};

/// The result of a view on a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pruned {
    /// Nothing went. The same bytes, not a copy.
    Whole(Bytes),
    /// The remaining bytes.
    Part(Bytes),
    /// The body cannot be read, and must be served whole.
    Skipped(JsonFault),
}

/// Removes from a JSON body all that `view` does not show.
///
/// The whole body is checked, the parts that go as well. What remains is exactly as sent. A
/// member that goes takes with it the blanks before its name, and one comma: the one behind it,
/// or, where no member stays behind it, the one before it with the blanks before that. Blanks
/// before a closing brace stay. So what is left depends only on which members are left, not
/// on the order in which the others went.
///
/// Names are compared with their escapes resolved; one with half of a surrogate pair is matched
/// by `*` alone.
#[must_use]
pub fn prune(body: &Bytes, view: &View) -> Pruned {
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
        // A cut ends behind the brace before it.
        Ok(()) if part.copied == 0 => Pruned::Whole(body.clone()),
        Ok(()) => Pruned::Part(part.finish()),
        Err(fault) => Pruned::Skipped(fault),
    }
}

/// The bytes copied so far.
struct Part<'a> {
    text: &'a [u8],
    out: Vec<u8>,
    /// The place in the text up to which all that stays is in `out`.
    copied: usize,
}

/// An open container that paths lead into.
struct Open<const N: usize> {
    object: bool,
    reached: Reached<N>,
    /// The fate of a member that no path mentions by name.
    other: Fate<N>,
    /// The end of the last value that stays; at first the place behind the brace.
    kept: usize,
    /// Where members that go have begun, behind a comma or the brace.
    gap: Option<usize>,
    /// The end of the last value that goes.
    gone: usize,
}

/// Words for the steps of both lists.
const MOST: usize = 2 * MAX_TOGETHER / 64;

fn read_for(view: &View, part: &mut Part<'_>) -> Result<(), JsonFault> {
    let at = blanks(part.text, 0);
    if !matches!(byte(part.text, at), b'{' | b'[') {
        return json::end(part.text, skip_value(part.text, at, 0)?);
    }
    let (fields, strip) = (view.fields(), view.strip());
    let segments = fields.iter().chain(&strip).flatten();
    if segments
        .filter(|segment| **segment != Segment::Deep)
        .count()
        <= 64
    {
        read(&Steps::<1>::new(fields, strip), part, at)
    } else {
        read(&Steps::<MOST>::new(fields, strip), part, at)
    }
}

/// Reads the outermost container, at `at`: each turn reads one member or element, or closes a
/// container.
fn read<const N: usize>(
    steps: &Steps<'_, N>,
    part: &mut Part<'_>,
    mut at: usize,
) -> Result<(), JsonFault> {
    let text = part.text;
    let (mut outer, mut first) = (Vec::<Open<N>>::new(), true);
    let mut open = Open::new(text, at, steps.root(), steps);
    at += 1;
    loop {
        let mut begin = at;
        at = blanks(text, at);
        match byte(text, at) {
            b',' if !first => {
                begin = at + 1;
                at = blanks(text, begin);
            }
            b'}' | b']' if byte(text, at) == open.closing() => {
                part.close(&open);
                at += 1;
                let Some(around) = outer.pop() else {
                    return json::end(text, at);
                };
                open = around;
                open.kept = at;
                first = false;
                continue;
            }
            _ if !first => return Err(JsonFault::NotJson),
            _ => first = false,
        }
        let fate = if open.object {
            let (name, value) = member_name(text, at)?;
            at = value;
            let fate = open.fate(name, steps);
            if matches!(fate, Fate::Remove) {
                at = skip_value(text, at, outer.len() + 1)?;
                open.remove(begin, at);
                continue;
            }
            part.keep(&mut open, begin);
            fate
        } else {
            Fate::Into(open.reached)
        };
        if let (b'{' | b'[', Fate::Into(reached)) = (byte(text, at), fate) {
            outer.push(open);
            if outer.len() == MAX_DEPTH {
                return Err(JsonFault::TooDeep);
            }
            open = Open::new(text, at, reached, steps);
            at += 1;
            first = true;
        } else {
            at = skip_value(text, at, outer.len() + 1)?;
            open.kept = at;
        }
    }
}

// === impl Part ===

impl Part<'_> {
    /// Leaves out the text from one place to another, and copies what lies before.
    fn cut(&mut self, from: usize, to: usize) {
        if self.copied == 0 {
            self.out.reserve_exact(self.text.len() - (to - from));
        }
        self.out.extend_from_slice(&self.text[self.copied..from]);
        self.copied = to;
    }

    /// Leaves out the members that go before one that stays and begins here.
    #[inline]
    fn keep<const N: usize>(&mut self, open: &mut Open<N>, begin: usize) {
        if let Some(gap) = open.gap.take() {
            self.cut(gap, begin);
        }
    }

    /// Leaves out the members that go at the end of a container.
    #[inline]
    fn close<const N: usize>(&mut self, open: &Open<N>) {
        if open.gap.is_some() {
            self.cut(open.kept, open.gone);
        }
    }

    fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(&self.text[self.copied..]);
        // A stored part weighs what it shows.
        self.out.shrink_to_fit();
        Bytes::from(self.out)
    }
}

// === impl Open ===

impl<const N: usize> Open<N> {
    fn new(text: &[u8], at: usize, reached: Reached<N>, steps: &Steps<'_, N>) -> Self {
        Self {
            object: byte(text, at) == b'{',
            other: steps.other(&reached),
            reached,
            kept: at + 1,
            gap: None,
            gone: 0,
        }
    }

    /// A member goes, from here to there.
    #[inline]
    fn remove(&mut self, begin: usize, end: usize) {
        self.gap.get_or_insert(begin);
        self.gone = end;
    }

    #[inline]
    fn closing(&self) -> u8 {
        if self.object { b'}' } else { b']' }
    }

    /// The fate of a member of this name.
    #[inline]
    fn fate(&self, name: Raw<'_>, steps: &Steps<'_, N>) -> Fate<N> {
        if name.escaped {
            steps.member(&self.reached, &name.unescaped())
        } else if steps.mention(name.bytes) {
            steps.member(&self.reached, name.bytes)
        } else {
            self.other
        }
    }
}

#[cfg(test)]
mod tests;
