//! The checks of a request head that come before its meaning: host, target, method, size, framing.

use std::net::Ipv6Addr;

use http::header::{MAX_FORWARDS, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use super::fields::{FieldLines, HeadFields};
use super::framing::has_a_request_line;
use super::refusal::Refusal;
use crate::config::Limits;
use crate::policy::ascii_table;

/// Refuses what two readers could understand differently, and what is too large.
///
/// # Errors
///
/// The first rule that the head breaks.
pub(super) fn check(head: &Parts, fields: &HeadFields<'_>, limits: &Limits) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if head.method == Method::TRACE {
        return Err(Refusal::Trace);
    }
    // In HTTP/1.1 it has come through the framing.
    if head.version == Version::HTTP_2 && !has_a_request_line(head) {
        return Err(Refusal::RequestLine);
    }
    check_size(head, fields, limits)?;
    check_host(head, fields)?;
    match fields.transfer_encoding {
        FieldLines::Absent => {}
        FieldLines::One(coding) if is_chunked(coding.as_bytes()) => {}
        FieldLines::One(_) | FieldLines::Several => return Err(Refusal::TransferCoding),
    }
    match fields.max_forwards.text() {
        Some("0") if head.method == Method::OPTIONS => Err(Refusal::LastHop),
        _ => Ok(()),
    }
}

/// A declared length over the limit is refused before anything is forwarded; an undeclared one
/// is counted while it streams.
fn check_size(head: &Parts, fields: &HeadFields<'_>, limits: &Limits) -> Result<(), Refusal> {
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limits.uri.as_usize() {
        return Err(Refusal::UriTooLong);
    }
    if head.headers.len() > limits.headers {
        return Err(Refusal::HeadTooLarge);
    }
    // In HTTP/2, where it frames nothing, the origin may still read it.
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

/// RFC 9112 §3.2: one `Host`, valid, and equal to an absolute-form target's authority.
fn check_host(head: &Parts, fields: &HeadFields<'_>) -> Result<(), Refusal> {
    let named = head.uri.authority();
    let host = match fields.host {
        FieldLines::Several => return Err(Refusal::HostRepeated),
        FieldLines::One(host) => host.to_str().map_err(|_| Refusal::HostInvalid)?,
        // HTTP/2 names the host in `:authority`; HTTP/1.0 need not name it at all. HTTP/1.1 names
        // it in the field, whatever the target says.
        FieldLines::Absent if head.version == Version::HTTP_10 => return Ok(()),
        FieldLines::Absent if head.version == Version::HTTP_2 => {
            named.ok_or(Refusal::HostMissing)?.as_str()
        }
        FieldLines::Absent => return Err(Refusal::HostMissing),
    };
    if !is_host_and_port(host) {
        return Err(Refusal::HostInvalid);
    }
    if named.is_some_and(|named| !named.as_str().eq_ignore_ascii_case(host)) {
        return Err(Refusal::HostContradicts);
    }
    Ok(())
}

/// `uri-host [ ":" port ]` (RFC 3986 §3.2.2): an address in brackets or a name, and a port that
/// is one.
fn is_host_and_port(text: &str) -> bool {
    let (is_host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
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

/// `reg-name`, which an IPv4 address is too; not an empty one.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| IS_NAME[usize::from(b)])
}

/// The bytes of a name, looked up rather than compared: every request brings one.
const IS_NAME: [bool; 256] = ascii_table(b"-._~%!&'()*+,;=");

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// `Max-Forwards` (RFC 9110 §7.6.2); a value that is not a number is not one.
#[must_use]
pub fn max_forwards(headers: &HeaderMap) -> Option<u32> {
    headers.get(MAX_FORWARDS)?.to_str().ok()?.parse().ok()
}

/// Whether a body has no other transfer coding than chunks, since none was requested.
#[must_use]
pub fn is_plainly_coded(fields: &HeaderMap) -> bool {
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
    fn a_request_has_one_valid_host() {
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
    fn a_body_comes_plain_or_in_chunks() {
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
    fn connect_trace_and_the_last_hop_end_here() {
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
    fn a_long_target_and_many_fields_are_refused() {
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
