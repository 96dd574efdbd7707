//! Entity tags and the conditions of a client's request (RFC 9110 §8.8, §13).

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::dates::DateField;
use super::list::{self, Quotes};

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

/// What a condition makes of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is none, or it holds: send the response.
    Send,
    /// The client has it already: send 304.
    NotModified,
}

impl<'a> EntityTag<'a> {
    /// Reads `"x"` or `W/"x"`; `None` for anything else, unquoted tags included.
    #[must_use]
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

    /// The one entity tag of a head; several are none.
    #[must_use]
    pub fn of(head: &'a HeaderMap) -> Option<Self> {
        let mut lines = head.get_all(header::ETAG).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line.as_bytes()),
            _ => None,
        }
    }

    /// Whether it is a weak one.
    #[must_use]
    pub fn is_weak(self) -> bool {
        self.weak
    }

    /// The strong comparison of RFC 9110 §8.8.3.2.
    #[must_use]
    pub fn equals_strongly(self, other: Self) -> bool {
        !self.weak && self == other
    }

    /// The weak comparison of RFC 9110 §8.8.3.2.
    #[must_use]
    pub fn equals_weakly(self, other: Self) -> bool {
        self.opaque == other.opaque
    }
}

/// Evaluates the conditions of a GET or HEAD against a stored response
/// (RFC 9110 §13.2.2, RFC 9111 §4.3.2).
///
/// `etag` is that of the representation the client would get: its view, its coding. `stored`
/// are the stored fields and `received` the date they came, which stands in for a `Date`.
#[must_use]
pub fn condition(
    request: &HeaderMap,
    status: StatusCode,
    etag: Option<&HeaderValue>,
    stored: &HeaderMap,
    received: SystemTime,
) -> Condition {
    // Without the condition the answer would not be a 200, so it is ignored (§13.2.1).
    if status != StatusCode::OK {
        return Condition::Send;
    }
    // If-None-Match stands before If-Modified-Since, even when none of its tags can be read.
    let has_it = if request.contains_key(header::IF_NONE_MATCH) {
        is_among(request, etag)
    } else {
        is_unmodified(request, stored, received)
    };
    if has_it {
        Condition::NotModified
    } else {
        Condition::Send
    }
}

/// §13.1.2: the weak comparison; `*` is any representation, but only when it stands alone.
fn is_among(request: &HeaderMap, etag: Option<&HeaderValue>) -> bool {
    let mut members = list::elements(request, &header::IF_NONE_MATCH, Quotes::Plain).peekable();
    if members.next_if_eq(&&b"*"[..]).is_some() {
        return members.next().is_none();
    }
    let Some(ours) = etag.and_then(|value| EntityTag::parse(value.as_bytes())) else {
        return false;
    };
    members
        .filter_map(EntityTag::parse)
        .any(|theirs| theirs.equals_weakly(ours))
}

/// §13.1.3: ignored unless it is one valid date. Compared with `Last-Modified`, else `Date`,
/// else the time of arrival (RFC 9111 §4.3.2).
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
    fn entity_tags_are_quoted() {
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
    fn tags_compare_as_the_table_of_rfc_9110_8_8_3_2_has_it() {
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
}
