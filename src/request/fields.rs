//! The fields of a request head that decide where the request goes, found in one pass over it.
//!
//! A dozen look-ups by name would cost a hit more than everything that is then done with them.

use http::{HeaderMap, HeaderValue};

/// The fields that are read.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each question")]
pub(super) struct HeadFields<'a> {
    pub(super) host: FieldLines<'a>,
    pub(super) authorization: FieldLines<'a>,
    pub(super) content_length: FieldLines<'a>,
    pub(super) transfer_encoding: FieldLines<'a>,
    pub(super) max_forwards: FieldLines<'a>,
    pub(super) accept_encoding: FieldLines<'a>,
    /// `Range`.
    pub(super) ranged: bool,
    /// `Upgrade`.
    pub(super) upgrading: bool,
    /// `If-Match` or `If-Unmodified-Since`: for the origin to judge (RFC 9111 §4.3.2).
    pub(super) for_the_origin: bool,
    /// `If-None-Match` or `If-Modified-Since`: for us to judge.
    pub(super) conditional: bool,
    /// `Cache-Control` or `Pragma`.
    pub(super) directed: bool,
}

/// A field that should stand at most once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum FieldLines<'a> {
    #[default]
    Absent,
    One(&'a HeaderValue),
    Several,
}

impl<'a> HeadFields<'a> {
    pub(super) fn read(head: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in head {
            match name.as_str() {
                "host" => fields.host.add(value),
                "authorization" => fields.authorization.add(value),
                "content-length" => fields.content_length.add(value),
                "transfer-encoding" => fields.transfer_encoding.add(value),
                "accept-encoding" => fields.accept_encoding.add(value),
                "max-forwards" => fields.max_forwards.add(value),
                "range" => fields.ranged = true,
                "upgrade" => fields.upgrading = true,
                "if-match" | "if-unmodified-since" => fields.for_the_origin = true,
                "if-none-match" | "if-modified-since" => fields.conditional = true,
                "cache-control" | "pragma" => fields.directed = true,
                _ => {}
            }
        }
        fields
    }
}

impl<'a> FieldLines<'a> {
    fn add(&mut self, value: &'a HeaderValue) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    /// The text of the one line, if it is text.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::One(value) => value.to_str().ok(),
            Self::Absent | Self::Several => None,
        }
    }
}
