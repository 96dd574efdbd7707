//! The first checks of a request head: method, host, target, size, transfer coding.

use std::net::Ipv6Addr;

use http::header::{MAX_FORWARDS, TRANSFER_ENCODING, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::fields::{FieldLines, HeadFields};
use super::framing::fits_a_request_line;
use super::refusal::Refusal;
use super::via;
use crate::config::Limits;
use crate::policy::ascii_table;

/// Refuses heads that are ambiguous, unsupported or too large.
///
/// # Errors
///
/// The first rule that the head violates.
pub(super) fn check(head: &Parts, fields: &HeadFields<'_>, limits: &Limits) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if head.method == Method::TRACE {
        return Err(Refusal::Trace);
    }
    // For HTTP/1.1, `framing` has checked the request line.
    if head.version == Version::HTTP_2 && !fits_a_request_line(head) {
        return Err(Refusal::RequestLine);
    }
    check_size(head, fields, limits)?;
    check_host(head, fields)?;
    match fields.transfer_encoding {
        FieldLines::Absent => {}
        FieldLines::One(coding) if is_chunked(coding.as_bytes()) => {}
        FieldLines::One(_) | FieldLines::Several => return Err(Refusal::TransferCoding),
    }
    if fields.via && via::is_loop(head.headers.get_all(VIA).iter()) {
        return Err(Refusal::Loop);
    }
    match fields.max_forwards.text() {
        Some("0") if head.method == Method::OPTIONS => Err(Refusal::LastHop),
        _ => Ok(()),
    }
}

/// Checks the sizes of target, head and declared body. A body without a declared length is counted
/// while it streams.
fn check_size(head: &Parts, fields: &HeadFields<'_>, limits: &Limits) -> Result<(), Refusal> {
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limits.uri.as_usize() {
        return Err(Refusal::UriTooLong);
    }
    // For HTTP/1.1, `framing` has counted the bytes.
    let is_too_large = head.version == Version::HTTP_2
        && size_in_http1(head, target) > limits.header_bytes.as_usize();
    if head.headers.len() > limits.headers || is_too_large {
        return Err(Refusal::HeadTooLarge);
    }
    // HTTP/2 does not frame by Content-Length, but the origin may.
    if matches!(fields.content_length, FieldLines::Several) {
        return Err(Refusal::ContentLength);
    }
    match fields
        .content_length
        .text()
        .and_then(|length| length.parse().ok())
    {
        Some(length) if limits.request_body.0 < length => Err(Refusal::BodyTooLarge),
        _ => Ok(()),
    }
}

/// The bytes that an HTTP/2 head would have in HTTP/1.1, about: one limit for both.
fn size_in_http1(head: &Parts, target: usize) -> usize {
    let lines = head.headers.iter();
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    target + lines.map(line).sum::<usize>()
}

/// Checks for one valid `Host`, equal to the authority of an absolute target (RFC 9112 §3.2).
fn check_host(head: &Parts, fields: &HeadFields<'_>) -> Result<(), Refusal> {
    let authority = head.uri.authority();
    let host = match fields.host {
        FieldLines::Several => return Err(Refusal::HostRepeated),
        FieldLines::One(host) => host.to_str().map_err(|_| Refusal::HostInvalid)?,
        // HTTP/2 has `:authority`; in HTTP/1.0 the host is optional. HTTP/1.1 requires the field,
        // even with an absolute-form target.
        FieldLines::Absent if head.version == Version::HTTP_10 => return Ok(()),
        FieldLines::Absent if head.version == Version::HTTP_2 => {
            authority.ok_or(Refusal::HostMissing)?.as_str()
        }
        FieldLines::Absent => return Err(Refusal::HostMissing),
    };
    if !is_host_and_port(host) {
        return Err(Refusal::HostInvalid);
    }
    if authority.is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
        return Err(Refusal::HostContradicts);
    }
    Ok(())
}

/// Whether a text is `uri-host [ ":" port ]` (RFC 3986 §3.2.2), with a port that fits 16 bits.
fn is_host_and_port(text: &str) -> bool {
    let (is_host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        // Not `find`: for a name this short, its setup costs more than the search.
        let colon = text.bytes().position(|b| b == b':');
        let (name, port) = text.split_at(colon.unwrap_or(text.len()));
        (is_name(name), port)
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => {
            digits.is_empty()
                || digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    };
    is_host && is_port
}

/// Whether a text is a non-empty `reg-name`, which includes IPv4 addresses.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| IS_NAME[usize::from(b)])
}

/// The bytes of a `reg-name`, as a lookup table: every request has one.
const IS_NAME: [bool; 256] = ascii_table(b"-._~%!&'()*+,;=");

/// A request target, byte for byte as received.
pub(super) fn of(path: &str, query: Option<&str>) -> PathAndQuery {
    let target = match query {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    target.expect("the parts of a valid target make a valid target")
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// Parses `Max-Forwards` (RFC 9110 §7.6.2); `None` if absent or not a number.
#[must_use]
pub fn max_forwards(headers: &HeaderMap) -> Option<u32> {
    headers.get(MAX_FORWARDS)?.to_str().ok()?.parse().ok()
}

/// Whether a response has no transfer coding except `chunked`: we request no other.
#[must_use]
pub fn is_chunked_or_uncoded(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    first.is_none_or(|coding| is_chunked(coding.as_bytes())) && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::HOST;

    use super::*;
    use crate::config::Config;

    fn refusal(request: http::request::Builder) -> Option<Refusal> {
        let (head, ()) = request.body(()).expect("a request").into_parts();
        check(
            &head,
            &HeadFields::read(&head.headers),
            &Config::default().limits,
        )
        .err()
    }

    #[test]
    fn a_request_must_have_one_valid_host() {
        let get = || Request::get("/v1/calls/c1");
        let cases = [
            (get().header(HOST, "localhost:8080"), None),
            (get().header(HOST, "[::1]:8080"), None),
            (get(), Some(Refusal::HostMissing)),
            (get().version(Version::HTTP_10), None),
            (Request::get("http://a/x"), Some(Refusal::HostMissing)),
            (Request::get("http://a/x").version(Version::HTTP_2), None),
            (
                Request::get("http://b@a/x").version(Version::HTTP_2),
                Some(Refusal::HostInvalid),
            ),
            (
                get().header(HOST, "a").header(HOST, "a"),
                Some(Refusal::HostRepeated),
            ),
            (get().header(HOST, ""), Some(Refusal::HostInvalid)),
            (get().header(HOST, "a b"), Some(Refusal::HostInvalid)),
            (get().header(HOST, "user@a"), Some(Refusal::HostInvalid)),
            (get().header(HOST, "a/b"), Some(Refusal::HostInvalid)),
            (get().header(HOST, "a:port"), Some(Refusal::HostInvalid)),
            (get().header(HOST, "a:65536"), Some(Refusal::HostInvalid)),
            (get().header(HOST, "a:"), None),
            (Request::get("http://a/x").header(HOST, "A"), None),
            (
                Request::get("http://a/x").header(HOST, "b"),
                Some(Refusal::HostContradicts),
            ),
        ];
        for (request, expected) in cases {
            let shown = format!("{request:?}");
            assert_eq!(refusal(request), expected, "{shown}");
        }
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        let post = || Request::post("/").header(HOST, "a");
        let cases = [
            (post(), None),
            (post().header(TRANSFER_ENCODING, "Chunked"), None),
            (
                post().header(TRANSFER_ENCODING, "gzip, chunked"),
                Some(Refusal::TransferCoding),
            ),
            (
                post()
                    .header(TRANSFER_ENCODING, "chunked")
                    .header(TRANSFER_ENCODING, "chunked"),
                Some(Refusal::TransferCoding),
            ),
        ];
        for (request, expected) in cases {
            let shown = format!("{request:?}");
            assert_eq!(refusal(request), expected, "{shown}");
        }
    }

    #[test]
    fn connect_trace_and_max_forwards_0_are_refused() {
        let options = || Request::options("*").header(HOST, "a");
        let cases = [
            (
                Request::connect("a:443").header(HOST, "a:443"),
                Some(Refusal::Connect),
            ),
            (Request::trace("/").header(HOST, "a"), Some(Refusal::Trace)),
            (options().header(MAX_FORWARDS, "0"), Some(Refusal::LastHop)),
            (options().header(MAX_FORWARDS, "1"), None),
            (options().header(MAX_FORWARDS, "many"), None),
        ];
        for (request, expected) in cases {
            let shown = format!("{request:?}");
            assert_eq!(refusal(request), expected, "{shown}");
        }
    }

    #[test]
    fn a_long_target_or_too_many_fields_are_refused() {
        let long = format!("/{}", "a".repeat(8 << 10));
        assert_eq!(
            refusal(Request::get(long).header(HOST, "a")),
            Some(Refusal::UriTooLong)
        );
        let many = (0..100).fold(Request::get("/").header(HOST, "a"), |r, n| {
            r.header(format!("x-{n}"), "")
        });
        assert_eq!(refusal(many), Some(Refusal::HeadTooLarge));
    }
}
