//! The grammar of a list of fields: text in, paths with groups written out.
//!
//! ```text
//! list    = item *("," item)
//! item    = path ["(" list ")"]
//! path    = segment *("." segment)
//! segment = "*" / "**" / "\e" / name
//! ```
//!
//! A backslash takes the meaning from `. , ( ) * \` and blanks (space, tab, CR, LF); `\e` is
//! the empty name. `**` stands for any number of levels, none included; it is for lists that
//! strip, and a name follows it. A group may give it that name: `**(a,b)`.

use std::borrow::Cow;
use std::mem;

use super::fault::{MAX_NAME, MAX_PATHS, MAX_SEGMENTS, MAX_TEXT, MAX_TOGETHER, ViewFaultKind};

/// One step of a path. A name is a piece of the text it was read from, unless it had escapes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment<'t> {
    /// `*`: a member of any name.
    Any,
    /// `**`: any number of levels.
    Deep,
    /// A member of this name.
    Name(Cow<'t, str>),
}

/// From the root to a member; arrays on the way are not mentioned.
pub(super) type Path<'t> = Vec<Segment<'t>>;

/// Which of the two lists is read: only one of them knows `**`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Fields,
    Strip,
}

/// The paths of one list so far. Its limits hold over all texts that are read into it.
#[derive(Debug, Default)]
pub(super) struct Paths<'t> {
    pub(super) list: Vec<Path<'t>>,
    /// Bytes of the texts.
    bytes: usize,
    /// Bytes of the paths with groups written out, with a comma behind each.
    pub(super) written: usize,
    /// Segments of the paths with groups written out.
    segments: usize,
}

/// A place in a text, and what is wrong there.
pub(super) type Wrong = (usize, ViewFaultKind);

/// Whether a character means something and needs a backslash in a name.
fn is_mark(byte: u8) -> bool {
    matches!(
        byte,
        b'.' | b',' | b'(' | b')' | b'*' | b'\\' | b' ' | b'\t' | b'\r' | b'\n'
    )
}

/// How much of a text comes before the first mark. Marks are ASCII, so this is between
/// characters.
fn plain(text: &str) -> usize {
    text.bytes().position(is_mark).unwrap_or(text.len())
}

/// The unread rest of a text. Positions are counted in bytes here.
struct Reader<'a> {
    rest: &'a str,
    at: usize,
    list: List,
    /// The path being read, the prefix of its group included.
    path: Path<'a>,
    /// Bytes of `path`, written out.
    written: usize,
    /// Where the last segment of `path` begins.
    last: usize,
    /// The open groups.
    groups: Vec<Group>,
}

#[derive(Clone, Copy)]
struct Group {
    /// Where its parenthesis stands.
    open: usize,
    /// How many segments its prefix has, and how many bytes.
    prefix: usize,
    written: usize,
    /// Where the last of them begins.
    last: usize,
}

impl List {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fields => "fields",
            Self::Strip => "strip",
        }
    }
}

// === impl Paths ===

impl<'t> Paths<'t> {
    /// Reads one text of a list and adds its paths.
    ///
    /// # Errors
    ///
    /// The fault and its character, counted from 1.
    pub(super) fn read(&mut self, text: &'t str, list: List) -> Result<(), Wrong> {
        let character = |at: usize| text[..at].chars().count() + 1;
        let room = MAX_TEXT - self.bytes;
        if text.len() > room {
            return Err((
                character(text.floor_char_boundary(room)),
                ViewFaultKind::TooLong,
            ));
        }
        self.bytes += text.len();
        Reader {
            rest: text,
            at: 0,
            list,
            path: Path::new(),
            written: 0,
            last: 0,
            groups: Vec::new(),
        }
        .list(self)
        .map_err(|(at, kind)| (character(at), kind))
    }

    /// Adds a path that has this many bytes when it is written out.
    fn add(&mut self, path: Path<'t>, written: usize) -> Result<(), ViewFaultKind> {
        if self.list.len() == MAX_PATHS {
            return Err(ViewFaultKind::TooManyPaths);
        }
        self.segments += path.len();
        if self.segments > MAX_TOGETHER {
            return Err(ViewFaultKind::TooManyTogether);
        }
        self.written += written;
        if self.written > MAX_TEXT {
            return Err(ViewFaultKind::TooLong);
        }
        self.written += 1;
        self.list.push(path);
        Ok(())
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn list(mut self, paths: &mut Paths<'a>) -> Result<(), Wrong> {
        loop {
            let begin = self.at;
            self.path()?;
            let open = self.at;
            if self.take("(") {
                self.groups.push(Group {
                    open,
                    prefix: self.path.len(),
                    written: self.written,
                    last: self.last,
                });
                continue;
            }
            if self.path.last() == Some(&Segment::Deep) {
                return Err((self.last, ViewFaultKind::DeepWithoutName));
            }
            let path = if self.groups.is_empty() {
                mem::take(&mut self.path)
            } else {
                self.path.clone()
            };
            paths
                .add(path, self.written)
                .map_err(|kind| (begin, kind))?;
            if !self.behind_path()? {
                return Ok(());
            }
        }
    }

    /// Segments up to one of `, ( )` or the end.
    fn path(&mut self) -> Result<(), Wrong> {
        loop {
            let begin = self.at;
            let segment = self.segment()?;
            if segment == Segment::Deep && self.list == List::Fields {
                return Err((begin, ViewFaultKind::DeepInFields));
            }
            if self.path.last() == Some(&Segment::Deep) && !matches!(segment, Segment::Name(_)) {
                return Err((self.last, ViewFaultKind::DeepWithoutName));
            }
            if self.path.len() == MAX_SEGMENTS {
                return Err((begin, ViewFaultKind::TooManySegments));
            }
            // A segment is written as it was read, and behind another one with a dot.
            self.written += self.at - begin + usize::from(!self.path.is_empty());
            self.path.push(segment);
            self.last = begin;
            if !self.take(".") {
                return Ok(());
            }
        }
    }

    /// Closes the groups that end here; answers whether another item follows.
    fn behind_path(&mut self) -> Result<bool, Wrong> {
        loop {
            let at = self.at;
            let group = self.groups.last().copied();
            if self.take(")") {
                self.groups.pop().ok_or((at, ViewFaultKind::Unopened))?;
            } else if self.take(",") {
                self.path.truncate(group.map_or(0, |group| group.prefix));
                self.written = group.map_or(0, |group| group.written);
                self.last = group.map_or(0, |group| group.last);
                return Ok(true);
            } else if !self.rest.is_empty() {
                // A path runs up to one of the marks above, so this stands behind a group.
                return Err((at, ViewFaultKind::BehindGroup));
            } else if let Some(group) = group {
                return Err((group.open, ViewFaultKind::Unclosed));
            } else {
                return Ok(false);
            }
        }
    }

    fn segment(&mut self) -> Result<Segment<'a>, Wrong> {
        let begin = self.at;
        let (segment, otherwise) = if self.take("**") {
            (Segment::Deep, ViewFaultKind::Star)
        } else if self.take("*") {
            (Segment::Any, ViewFaultKind::Star)
        } else if self.take(r"\e") {
            (Segment::Name(Cow::Borrowed("")), ViewFaultKind::Escape)
        } else {
            return self.name();
        };
        if self.rest.is_empty() || self.rest.starts_with(['.', ',', '(', ')']) {
            Ok(segment)
        } else {
            Err((begin, otherwise))
        }
    }

    fn name(&mut self) -> Result<Segment<'a>, Wrong> {
        let begin = self.at;
        let mut name = Cow::Borrowed("");
        loop {
            // Without a backslash, which is rare, the name is a piece of the text.
            let plain = plain(self.rest);
            name += &self.rest[..plain];
            self.advance(plain);
            match *self.rest.as_bytes() {
                [] | [b'.' | b',' | b'(' | b')', ..] => break,
                [b'*', ..] => return Err((self.at, ViewFaultKind::Star)),
                [b'\\', mark, ..] if is_mark(mark) => {
                    name.to_mut().push(char::from(mark));
                    self.advance(2);
                }
                [b'\\', ..] => return Err((self.at, ViewFaultKind::Escape)),
                _ => return Err((self.at, ViewFaultKind::Blank)),
            }
        }
        match name.len() {
            0 => Err((begin, ViewFaultKind::MissingName)),
            1..=MAX_NAME => Ok(Segment::Name(name)),
            _ => Err((begin, ViewFaultKind::NameTooLong)),
        }
    }

    /// Steps over `mark` if it stands here.
    fn take(&mut self, mark: &str) -> bool {
        let here = self.rest.starts_with(mark);
        if here {
            self.advance(mark.len());
        }
        here
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
        self.at += bytes;
    }
}

// === impl Segment ===

impl Segment<'_> {
    /// Writes the segment as it can be read again.
    pub(super) fn write(&self, text: &mut String) {
        match self {
            Self::Any => text.push('*'),
            Self::Deep => text.push_str("**"),
            Self::Name(name) if name.is_empty() => text.push_str(r"\e"),
            Self::Name(name) => {
                let mut rest = &**name;
                loop {
                    let (before, marked) = rest.split_at(plain(rest));
                    text.push_str(before);
                    if marked.is_empty() {
                        return;
                    }
                    text.push('\\');
                    text.push_str(&marked[..1]);
                    rest = &marked[1..];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
