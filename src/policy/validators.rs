//! Entity tags, and the conditions of a client's request (RFC 9110 §8.8, §13).

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::dates::DateField;
use super::list::{self, Quotes};
use crate::coding::Coding;
use crate::label::Label as _;

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

/// The result of a client's condition on a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// No condition, or the client has another version: send the response.
    Send,
    /// The client has it: send 304, with the tag that the client sent.
    NotModified(Option<&'a [u8]>),
}

/// Separates the origin's tag from the content coding in the tag of an encoded representation.
const SUFFIX: &str = "--stuut-";

/// Separates the origin's tag from the hash of the view in the tag of a view; the hash has
/// [`VIEW_HASH`] hex digits.
const VIEW: &str = "--stuut-view-";

/// Hex digits of the hash of a view in its tag.
pub const VIEW_HASH: usize = 16;

/// Stands for the coding in the tag of a representation that was decoded from gzip.
const DECODED: &str = "identity";

impl<'a> EntityTag<'a> {
    /// Parses `"x"` or `W/"x"`; `None` for anything else, unquoted tags included.
    pub fn parse(written: &'a [u8]) -> Option<Self> {
        let (weak, quoted) = match written {
            [b'W', b'/', quoted @ ..] => (true, quoted),
            quoted => (false, quoted),
        };
        let [b'"', opaque @ .., b'"'] = quoted else {
            return None;
        };
        let is_etagc = |&byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        opaque.iter().all(is_etagc).then_some(Self { weak, opaque })
    }

    /// The entity tag of a head; `None` if there are several, or it is invalid.
    pub fn of(head: &'a HeaderMap) -> Option<Self> {
        let mut lines = head.get_all(header::ETAG).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line.as_bytes()),
            _ => None,
        }
    }

    /// The tag without the suffix of [`coded_tag`].
    #[must_use]
    pub fn uncoded(self) -> Self {
        let suffix = self.coding().map_or(0, |name| SUFFIX.len() + name.len());
        let opaque = &self.opaque[..self.opaque.len() - suffix];
        Self { opaque, ..self }
    }

    /// The coding in the suffix of [`coded_tag`].
    fn coding(self) -> Option<&'a [u8]> {
        let codings = Coding::ALL.iter().map(|coding| coding.as_str());
        codings.chain([DECODED]).find_map(|name| {
            let before = self.opaque.strip_suffix(name.as_bytes())?;
            before
                .ends_with(SUFFIX.as_bytes())
                .then(|| &self.opaque[before.len()..])
        })
    }

    /// The origin's tag in a tag of ours: without the suffixes of [`coded_tag`] and [`view_tag`].
    fn origins(self) -> Self {
        // A weak tag gets no suffix for its coding.
        let uncoded = if self.weak { self } else { self.uncoded() };
        let split = uncoded.opaque.len().checked_sub(VIEW.len() + VIEW_HASH);
        let split = split.map(|at| uncoded.opaque.split_at(at));
        match split.and_then(|(tag, suffix)| Some((tag, suffix.strip_prefix(VIEW.as_bytes())?))) {
            Some((opaque, hash)) if hash.iter().all(u8::is_ascii_hexdigit) => {
                Self { opaque, ..self }
            }
            _ => uncoded,
        }
    }

    fn to_header(self) -> HeaderValue {
        let weak: &[u8] = if self.weak { b"W/" } else { b"" };
        let tag = [weak, b"\"", self.opaque, b"\""].concat();
        HeaderValue::from_bytes(&tag).expect("the parts of tags are valid values")
    }

    /// Whether the tag is weak.
    pub fn is_weak(self) -> bool {
        self.weak
    }

    /// The strong comparison of RFC 9110 §8.8.3.2.
    pub fn equals_strongly(self, other: Self) -> bool {
        !self.weak && self == other
    }

    /// The weak comparison of RFC 9110 §8.8.3.2.
    pub fn equals_weakly(self, other: Self) -> bool {
        self.opaque == other.opaque
    }
}

/// Evaluates the conditions of a GET or HEAD against a stored response
/// (RFC 9110 §13.2.2, RFC 9111 §4.3.2).
///
/// `etag` is the tag of the selected representation: its view, its coding. `stored` are the stored
/// fields, `received` is their time of arrival, which replaces a missing `Date`.
pub fn condition<'a>(
    request: &'a HeaderMap,
    status: StatusCode,
    etag: Option<&HeaderValue>,
    stored: &HeaderMap,
    received: SystemTime,
) -> Condition<'a> {
    // Conditions are ignored unless the response without them would be a 200 (§13.2.1).
    if status != StatusCode::OK {
        return Condition::Send;
    }
    // If-None-Match takes precedence over If-Modified-Since, even if all its tags are invalid.
    if request.contains_key(header::IF_NONE_MATCH) {
        if_none_match(request, etag)
    } else if is_unmodified(request, stored, received) {
        Condition::NotModified(None)
    } else {
        Condition::Send
    }
}

/// Evaluates `If-None-Match` (§13.1.2). `*` matches any representation, but only as sole member.
///
/// Tags that differ only in our coding suffix match: we select the representation that the client
/// has (§12.1).
fn if_none_match<'a>(request: &'a HeaderMap, etag: Option<&HeaderValue>) -> Condition<'a> {
    let mut members = list::elements(request, &header::IF_NONE_MATCH, Quotes::Plain).peekable();
    if members.next_if_eq(&&b"*"[..]).is_some() {
        return match members.next() {
            None => Condition::NotModified(None),
            Some(_) => Condition::Send,
        };
    }
    let Some(ours) = etag.and_then(|value| EntityTag::parse(value.as_bytes())) else {
        return Condition::Send;
    };
    members
        .find(|member| {
            EntityTag::parse(member)
                .is_some_and(|theirs| theirs.uncoded().equals_weakly(ours.uncoded()))
        })
        .map_or(Condition::Send, |known| Condition::NotModified(Some(known)))
}

/// Adds a content coding to a strong tag: representations with different bytes must not have the
/// same one (RFC 9110 §8.8.3.3). A weak tag stays as it is. [`origin_tags`] undoes it.
pub fn coded_tag(etag: &HeaderValue, coding: &str) -> HeaderValue {
    match EntityTag::parse(etag.as_bytes()) {
        Some(EntityTag {
            weak: false,
            opaque,
        }) => {
            let suffix = [SUFFIX.as_bytes(), coding.as_bytes()].concat();
            suffixed(false, opaque, &suffix)
        }
        _ => etag.clone(),
    }
}

/// The tag of a view with this hash: the origin's tag, marked, so that [`origin_tags`] restores it
/// for a write. `None` if the origin sent no tag.
pub fn view_tag(stored: &HeaderMap, hash: &str) -> Option<HeaderValue> {
    let EntityTag { weak, opaque } = EntityTag::of(stored)?;
    Some(suffixed(weak, opaque, &[VIEW, hash].concat().into_bytes()))
}

/// A tag with a suffix, which replaces that of a decoded body.
fn suffixed(weak: bool, opaque: &[u8], suffix: &[u8]) -> HeaderValue {
    let decoded = [SUFFIX.as_bytes(), DECODED.as_bytes()].concat();
    let opaque = opaque.strip_suffix(&decoded[..]).unwrap_or(opaque);
    let opaque = &[opaque, suffix].concat();
    EntityTag { weak, opaque }.to_header()
}

/// Replaces the tag with the one that the client sent, if they differ, as they may in the coding.
pub fn rename_tag(etag: &mut HeaderValue, known: &[u8]) {
    let ours = EntityTag::parse(etag.as_bytes());
    let theirs = EntityTag::parse(known);
    if let (Some(ours), Some(theirs)) = (ours, theirs)
        && !ours.equals_weakly(theirs)
        && let Ok(known) = HeaderValue::from_bytes(known)
    {
        *etag = known;
    }
}

/// Restores the origin's tags in a list; a list without a tag of ours is unchanged.
pub fn origin_tags(line: &HeaderValue) -> HeaderValue {
    if memchr::memmem::find(line.as_bytes(), SUFFIX.as_bytes()).is_none() {
        return line.clone();
    }
    let tags = list::split(line.as_bytes(), Quotes::Plain).map(|member| {
        let tag = EntityTag::parse(member);
        tag.map_or(member.to_vec(), |tag| {
            tag.origins().to_header().as_bytes().to_vec()
        })
    });
    let tags: Vec<_> = tags.collect();
    let mut known =
        HeaderValue::from_bytes(&tags.join(&b", "[..])).expect("joined field values are valid");
    known.set_sensitive(line.is_sensitive());
    known
}

/// The origin's tag of a stored response: without the suffix of its coding.
pub(super) fn origin_tag(etag: &HeaderValue) -> HeaderValue {
    match EntityTag::parse(etag.as_bytes()) {
        Some(tag @ EntityTag { weak: false, .. }) => tag.uncoded().to_header(),
        _ => etag.clone(),
    }
}

/// Marks the tag of a body that we decoded: the origin's strong tag belongs to the encoded bytes.
pub fn mark_decoded(fields: &mut HeaderMap) {
    if let Some(etag) = fields.get_mut(header::ETAG) {
        *etag = coded_tag(etag, DECODED);
    }
}

/// Whether the tag is marked by [`mark_decoded`].
pub(super) fn is_marked_decoded(fields: &HeaderMap) -> bool {
    EntityTag::of(fields).is_some_and(|tag| tag.coding() == Some(DECODED.as_bytes()))
}

/// Evaluates `If-Modified-Since` (§13.1.3), which must be one valid date. It is compared with
/// `Last-Modified`, else `Date`, else the time of arrival (RFC 9111 §4.3.2).
fn is_unmodified(request: &HeaderMap, stored: &HeaderMap, received: SystemTime) -> bool {
    let since = DateField::read(request, &header::IF_MODIFIED_SINCE, received);
    let changed = [header::LAST_MODIFIED, header::DATE]
        .iter()
        .find_map(|name| DateField::read(stored, name, received).valid())
        .unwrap_or(received);
    since.valid().is_some_and(|since| changed <= since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quoted_entity_tags_are_valid() {
        for text in [
            "\"\"",
            "\"a\"",
            "W/\"a\"",
            "\"a,b\"",
            "\"a\\\"",
            "\"\u{fc}\"",
        ] {
            assert!(EntityTag::parse(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "", "a", "\"", "w/\"a\"", "W/ \"a\"", "\"a", "a\"", "\"a b\"", "\"a\"b\"", "'a'",
        ] {
            assert!(EntityTag::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn tags_compare_as_in_the_table_of_rfc_9110_8_8_3_2() {
        let table = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ];
        for (one, two, strong, weak) in table {
            let parse = |text: &'static str| EntityTag::parse(text.as_bytes()).expect("a tag");
            assert_eq!(
                parse(one).equals_strongly(parse(two)),
                strong,
                "{one} {two}"
            );
            assert_eq!(parse(one).equals_weakly(parse(two)), weak, "{one} {two}");
        }
    }

    #[test]
    fn a_coded_tag_is_mapped_back_to_the_origins_tag() {
        let value = HeaderValue::from_static;
        let table = [
            ("\"1\"", "zstd", "\"1--stuut-zstd\""),
            ("\"\"", "identity", "\"--stuut-identity\""),
            // A suffix in the origin's own tag is kept.
            ("\"1--stuut-br\"", "gzip", "\"1--stuut-br--stuut-gzip\""),
            ("W/\"1\"", "zstd", "W/\"1\""),
            ("nothing", "zstd", "nothing"),
        ];
        for (origin, coding, ours) in table {
            assert_eq!(coded_tag(&value(origin), coding), ours);
            assert_eq!(origin_tag(&value(ours)), origin);
        }
        for (stored, ours) in [
            ("\"1\"", "\"1--stuut-view-0123456789abcdef\""),
            ("W/\"1\"", "W/\"1--stuut-view-0123456789abcdef\""),
            (
                "\"1--stuut-identity\"",
                "\"1--stuut-view-0123456789abcdef\"",
            ),
        ] {
            let fields = HeaderMap::from_iter([(header::ETAG, value(stored))]);
            let view = view_tag(&fields, "0123456789abcdef").expect("the origin sent a tag");
            assert_eq!(view, ours);
            let sent = format!(
                "\"x\", {ours}, {}",
                coded_tag(&view, "br").to_str().expect("text")
            );
            let origin = origin_tag(&value(stored));
            let origin = origin.to_str().expect("text");
            assert_eq!(
                origin_tags(&HeaderValue::try_from(sent).expect("a value")),
                format!("\"x\", {origin}, {origin}")
            );
        }
        assert_eq!(view_tag(&HeaderMap::new(), "0123456789abcdef"), None);
        for theirs in [
            "\"1-gzip\"",
            "\"1--stuut-\"",
            "\"1--stuut-deflate\"",
            "\"1--stuut-view-0123456789abcde\"",
            "\"1--stuut-view-0123456789abcdex\"",
            "W/\"1--stuut-gzip\"",
        ] {
            assert_eq!(origin_tag(&value(theirs)), theirs);
            assert_eq!(origin_tags(&value(theirs)), theirs);
        }
    }
}
