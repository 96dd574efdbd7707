//! Compression: content codings (RFC 9110 §8.4) and their negotiation.
//!
//! Responses are stored uncompressed. Gzip from the origin is decoded as it arrives; a body is
//! compressed once for each coding that clients accept, and stored with the uncompressed one.

mod accept;
mod encode;
mod gunzip;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use crate::label::{Label as _, labels};

pub use accept::{preferred, weight};
pub use encode::encode;
pub use gunzip::{Gunzip, InvalidGzip, Step};

/// The smallest body, in bytes, that is compressed: a smaller one fits in a packet as it is.
const MIN_BODY: usize = 1 << 10;

/// Media types of text that are recognised by their whole name.
const TEXT_TYPES: &[&[u8]] = &[
    b"application/json",
    b"application/openmetrics-text",
    b"application/xml",
];

labels! {
    /// A content coding for responses to clients, with its registered name.
    pub enum Coding {
        /// RFC 8878.
        Zstd => "zstd",
        /// RFC 7932.
        Brotli => "br",
        /// RFC 1952.
        Gzip => "gzip",
    }
}

impl Coding {
    /// The coding with this name.
    fn named(name: &[u8]) -> Option<Self> {
        // §8.4.1.3: `x-gzip` is equivalent to `gzip`.
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        let mut all = Self::ALL.iter().copied();
        all.find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }

    /// The value of `Content-Encoding`.
    pub fn to_header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }
}

/// Whether a response with these fields and a body of this size should be compressed: text that is
/// large enough, has no content coding yet, and may be transformed.
pub fn is_worth(fields: &HeaderMap, size: usize) -> bool {
    size >= MIN_BODY
        && is_text(fields)
        && !fields.contains_key(CONTENT_ENCODING)
        && !forbids_transforming(fields)
}

/// Removes a `Content-Encoding` that lists nothing but `identity`: the body has no coding
/// (RFC 9110 §8.4.1).
pub fn drop_identity(fields: &mut HeaderMap) {
    let mut lines = fields.get_all(CONTENT_ENCODING).iter();
    let is_none = lines.all(|line| {
        let mut names = line
            .as_bytes()
            .split(|&b| b == b',')
            .map(<[u8]>::trim_ascii);
        names.all(|name| name.is_empty() || name.eq_ignore_ascii_case(b"identity"))
    });
    if is_none {
        fields.remove(CONTENT_ENCODING);
    }
}

/// Whether gzip is the only content coding of a body.
pub fn is_gzip(fields: &HeaderMap) -> bool {
    let mut lines = fields.get_all(CONTENT_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Coding::named(line.as_bytes().trim_ascii()) == Some(Coding::Gzip),
        _ => false,
    }
}

/// Whether `no-transform` is set, which forbids a proxy to change the content (RFC 9110 §7.7).
pub fn forbids_transforming(fields: &HeaderMap) -> bool {
    fields
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .any(|directive| {
            let name = directive.trim_ascii();
            name.eq_ignore_ascii_case(b"no-transform")
        })
}

/// The media type of a body, without its parameters, as sent; empty if none is declared.
pub fn media_type(fields: &HeaderMap) -> &[u8] {
    let declared = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let declared = declared.unwrap_or_default().split(|&b| b == b';').next();
    declared.unwrap_or_default().trim_ascii()
}

/// Whether a body is declared as `application/json` or a `+json` type (RFC 6839).
pub fn is_json(fields: &HeaderMap) -> bool {
    let media_type = media_type(fields);
    media_type.eq_ignore_ascii_case(b"application/json") || ends_with(media_type, b"+json")
}

fn is_text(fields: &HeaderMap) -> bool {
    let media_type = media_type(fields);
    let begin = media_type.first_chunk::<5>();
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(b"text/"))
        || TEXT_TYPES
            .iter()
            .any(|text| media_type.eq_ignore_ascii_case(text))
        || ends_with(media_type, b"+json")
        || ends_with(media_type, b"+xml")
}

fn ends_with<const N: usize>(media_type: &[u8], suffix: &[u8; N]) -> bool {
    let end = media_type.last_chunk::<N>();
    end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn only_large_uncoded_text_is_worth_compressing() {
        let json = ("content-type", "Application/Problem+JSON; charset=utf-8");
        assert!(is_worth(&fields(&[json]), MIN_BODY));
        assert!(!is_worth(&fields(&[json]), MIN_BODY - 1));
        assert!(!is_worth(&fields(&[]), MIN_BODY));
        assert!(!is_worth(
            &fields(&[("content-type", "audio/wav")]),
            MIN_BODY
        ));
        assert!(!is_worth(
            &fields(&[json, ("content-encoding", "br")]),
            MIN_BODY
        ));
        let no_transform = ("cache-control", "max-age=5, No-Transform");
        assert!(!is_worth(&fields(&[json, no_transform]), MIN_BODY));
    }

    #[test]
    fn gzip_is_recognised_by_both_names_but_only_alone() {
        for (line, expected) in [
            ("gzip", true),
            ("X-GZip", true),
            ("gzip, br", false),
            ("br", false),
        ] {
            assert_eq!(
                is_gzip(&fields(&[("content-encoding", line)])),
                expected,
                "{line}"
            );
        }
        let twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")];
        assert!(!is_gzip(&fields(&twice)));
        assert!(!is_gzip(&fields(&[])));
    }
}
