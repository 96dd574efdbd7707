//! The grammar of a list of fields, parsed to paths with groups expanded.
//!
//! ```text
//! list    = item *("," item)
//! item    = path ["(" list ")"]
//! path    = segment *("." segment)
//! segment = "*" / "**" / "\e" / name
//! ```
//!
//! Whitespace (space, tab, CR, LF) around items means nothing. A backslash escapes it, and
//! `. , ( ) * \ $ / [`; `\e` is the empty name. A path is neither a JSON Pointer nor a JSON Path: an
//! unescaped `$` as its first segment, a `/` before it, or an index such as `[0]` after a name is a
//! fault.
//! `**` matches any number of levels, none included; it is allowed only in `strip`, before a name,
//! which may be in a group: `**(a,b)`.

use std::borrow::Cow;
use std::mem;

use super::fault::{
    MAX_NAME, MAX_PATHS, MAX_SEGMENTS, MAX_TEXT, MAX_TOTAL_SEGMENTS, ViewFaultKind,
};

/// One segment of a path. A name borrows from the parsed text, unless it has escapes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment<'t> {
    /// `*`: a member with any name.
    Any,
    /// `**`: any number of levels.
    Deep,
    /// A member with this name.
    Name(Cow<'t, str>),
}

/// The segments from the root to a member; arrays in between have none.
pub(super) type Path<'t> = Vec<Segment<'t>>;

/// Which of the two lists is parsed: `**` is allowed only in `strip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Fields,
    Strip,
}

/// The paths of one list so far. The limits apply to all its texts together.
#[derive(Debug, Default)]
pub(super) struct Paths<'t> {
    pub(super) list: Vec<Path<'t>>,
    /// Bytes of the texts so far.
    bytes: usize,
    /// Bytes of the paths with groups expanded, and a comma after each.
    pub(super) written: usize,
    /// Segments of the paths with groups expanded.
    segments: usize,
}

/// A fault and its position in a text.
pub(super) type FaultAt = (usize, ViewFaultKind);

/// Whether a character has a meaning in the grammar, and must be escaped in a name.
fn is_special(byte: u8) -> bool {
    matches!(
        byte,
        b'.' | b',' | b'(' | b')' | b'*' | b'\\' | b' ' | b'\t' | b'\r' | b'\n'
    )
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// The bytes before the first special character. It is ASCII, so this is a character boundary.
fn plain(text: &str) -> usize {
    text.bytes().position(is_special).unwrap_or(text.len())
}

/// Whether a character of a name would make the path a JSON Pointer or a JSON Path, unless escaped: a
/// `$` that is the `first` segment, a `/` before it, the bracket of an index.
fn is_foreign(name: &str, at: usize, first: bool) -> bool {
    match name.as_bytes().get(at) {
        Some(b'$') => first && name == "$",
        Some(b'/') => first && at == 0,
        Some(b'[') => name[at + 1..]
            .strip_suffix(']')
            .is_some_and(|index| !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit())),
        _ => false,
    }
}

/// A JSON Pointer or a JSON Path as a path of ours.
fn spelled(item: &str) -> String {
    let is_pointer = item.starts_with('/');
    let separator = if is_pointer { '/' } else { '.' };
    let segments = item.trim_matches(BLANKS).split(separator).map(|segment| {
        let indexed = segment.strip_suffix(']').and_then(|it| it.rsplit_once('['));
        indexed.map_or(segment, |(name, _)| name)
    });
    let is_index = |name: &str| is_pointer && name.bytes().all(|b| b.is_ascii_digit());
    let segments: Vec<_> = segments
        .filter(|name| !["", "$"].contains(name) && !is_index(name))
        .collect();
    segments.join(".")
}

/// The parser of a text. Positions are counted in bytes here.
struct Reader<'a> {
    rest: &'a str,
    at: usize,
    list: List,
    /// The path being parsed, the prefix of its group included.
    path: Path<'a>,
    /// Bytes of `path` as written.
    written: usize,
    /// The start of the last segment of `path`.
    last: usize,
    /// The open groups.
    groups: Vec<Group>,
}

#[derive(Clone, Copy)]
struct Group {
    /// The position of its parenthesis.
    open: usize,
    /// The number of segments of its prefix, and of bytes.
    prefix: usize,
    written: usize,
    /// The start of the last of these segments.
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
    /// Parses a text of a list and adds its paths.
    ///
    /// # Errors
    ///
    /// The fault and its position, in characters from 1.
    pub(super) fn read(&mut self, text: &'t str, list: List) -> Result<(), FaultAt> {
        let character = |at: usize| text[..at].chars().count() + 1;
        let left = MAX_TEXT - self.bytes;
        if text.len() > left {
            return Err((
                character(text.floor_char_boundary(left)),
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

    /// Adds a path of this many bytes.
    fn add(&mut self, path: Path<'t>, written: usize) -> Result<(), ViewFaultKind> {
        if self.list.len() == MAX_PATHS {
            return Err(ViewFaultKind::TooManyPaths);
        }
        self.segments += path.len();
        if self.segments > MAX_TOTAL_SEGMENTS {
            return Err(ViewFaultKind::TooManyInTotal);
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
    fn list(mut self, paths: &mut Paths<'a>) -> Result<(), FaultAt> {
        loop {
            self.blanks();
            let begin = self.at;
            self.path()?;
            self.blanks();
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
            if !self.after_path()? {
                return Ok(());
            }
        }
    }

    /// Parses segments up to one of `, ( )` or the end.
    fn path(&mut self) -> Result<(), FaultAt> {
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
            // The canonical form of a segment is no longer than the parsed one; a dot separates two.
            self.written += self.at - begin + usize::from(!self.path.is_empty());
            self.path.push(segment);
            self.last = begin;
            if !self.take(".") {
                return Ok(());
            }
        }
    }

    /// Closes the groups that end here. Returns whether another item follows.
    fn after_path(&mut self) -> Result<bool, FaultAt> {
        loop {
            self.blanks();
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
                // A path ends at one of the characters above, so this follows a group.
                return Err((at, ViewFaultKind::AfterGroup));
            } else if let Some(group) = group {
                return Err((group.open, ViewFaultKind::Unclosed));
            } else {
                return Ok(false);
            }
        }
    }

    fn segment(&mut self) -> Result<Segment<'a>, FaultAt> {
        let begin = self.at;
        let (segment, fault) = if self.take("**") {
            (Segment::Deep, ViewFaultKind::Star)
        } else if self.take("*") {
            (Segment::Any, ViewFaultKind::Star)
        } else if self.take(r"\e") {
            (Segment::Name(Cow::Borrowed("")), ViewFaultKind::Escape)
        } else {
            return self.name();
        };
        if self.rest.starts_with('.') || self.ends_item() {
            Ok(segment)
        } else {
            Err((begin, fault))
        }
    }

    fn name(&mut self) -> Result<Segment<'a>, FaultAt> {
        let (begin, written) = (self.at, self.rest);
        let (mut name, mut escaped) = (Cow::Borrowed(""), None);
        loop {
            // Without a backslash, which is rare, the name borrows from the text.
            let plain = plain(self.rest);
            name += &self.rest[..plain];
            self.advance(plain);
            match *self.rest.as_bytes() {
                [] | [b'.' | b',' | b'(' | b')', ..] => break,
                [b'*', ..] => return Err((self.at, ViewFaultKind::Star)),
                [b'\\', special, ..] if is_special(special) || b"$/[".contains(&special) => {
                    escaped = Some(name.len());
                    name.to_mut().push(char::from(special));
                    self.advance(2);
                }
                [b'\\', ..] => return Err((self.at, ViewFaultKind::Escape)),
                _ if self.ends_item() => break,
                _ => return Err((self.at, ViewFaultKind::Blank)),
            }
        }
        let is_escaped = |at| escaped == Some(at) || at == 0 && written.starts_with('\\');
        let mut candidates = [0, name.rfind('[').unwrap_or(0)].into_iter();
        let foreign =
            candidates.find(|&at| is_foreign(&name, at, self.path.is_empty()) && !is_escaped(at));
        if let Some(at) = foreign {
            let item = &written[..written.find([',', '(', ')']).unwrap_or(written.len())];
            let kind = ViewFaultKind::Foreign(char::from(name.as_bytes()[at]), spelled(item));
            return Err((begin, kind));
        }
        match name.len() {
            0 => Err((begin, ViewFaultKind::MissingName)),
            1..=MAX_NAME => Ok(Segment::Name(name)),
            _ => Err((begin, ViewFaultKind::NameTooLong)),
        }
    }

    /// Whether only whitespace is left of the path.
    fn ends_item(&self) -> bool {
        let rest = self.rest.trim_start_matches(BLANKS);
        rest.is_empty() || rest.starts_with([',', '(', ')'])
    }

    fn blanks(&mut self) {
        let rest = self.rest.trim_start_matches(BLANKS);
        self.advance(self.rest.len() - rest.len());
    }

    /// Consumes `token` if it is next.
    fn take(&mut self, token: &str) -> bool {
        let is_next = self.rest.starts_with(token);
        if is_next {
            self.advance(token.len());
        }
        is_next
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
        self.at += bytes;
    }
}

// === impl Segment ===

impl Segment<'_> {
    /// Writes the segment in the grammar, special characters escaped; `first`: it begins a path.
    pub(super) fn write(&self, first: bool, text: &mut String) {
        match self {
            Self::Any => text.push('*'),
            Self::Deep => text.push_str("**"),
            Self::Name(name) if name.is_empty() => text.push_str(r"\e"),
            Self::Name(name) => {
                for (at, character) in name.char_indices() {
                    let is_special = u8::try_from(character).is_ok_and(is_special);
                    if is_special || is_foreign(name, at, first) {
                        text.push('\\');
                    }
                    text.push(character);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
