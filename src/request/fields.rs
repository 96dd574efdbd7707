//! The fields of a request head that decide its handling, read in one pass.
//!
//! A dozen lookups by name would cost a hit more than all that is done with the fields.

use http::{HeaderMap, HeaderValue};

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is the presence of a field"
)]
pub(super) struct HeadFields<'a> {
    pub(super) host: FieldLines<'a>,
    pub(super) authorization: FieldLines<'a>,
    pub(super) content_length: FieldLines<'a>,
    pub(super) transfer_encoding: FieldLines<'a>,
    pub(super) max_forwards: FieldLines<'a>,
    pub(super) accept_encoding: FieldLines<'a>,
    pub(super) range: bool,
    /// `If-Match` or `If-Unmodified-Since`, which the origin evaluates (RFC 9111 §4.3.2).
    pub(super) origin_condition: bool,
    /// `If-None-Match` or `If-Modified-Since`, which we evaluate.
    pub(super) conditional: bool,
    /// Whether it prefers some responses, by `Accept` or `Accept-Language`, or names a version.
    pub(super) negotiates: bool,
    pub(super) via: bool,
    /// `Cache-Control` or `Pragma`.
    pub(super) directives: bool,
}

/// The lines of a field: none, one with its value, or several.
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
                "range" => fields.range = true,
                "accept" => fields.negotiates |= value != "*/*",
                "accept-language" => fields.negotiates |= value != "*",
                "api-version" | "x-api-version" | "accept-version" | "stuut-version" => {
                    fields.negotiates = true;
                }
                "via" => fields.via = true,
                "if-match" | "if-unmodified-since" => fields.origin_condition = true,
                "if-none-match" | "if-modified-since" => fields.conditional = true,
                "cache-control" | "pragma" => fields.directives = true,
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

    /// The value of a single line, if it is visible ASCII.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::One(value) => value.to_str().ok(),
            Self::Absent | Self::Several => None,
        }
    }
}
