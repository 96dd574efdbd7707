//! The checks of a request head that come before its meaning: host, target, method, size, framing.

use http::header::{HOST, MAX_FORWARDS, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Version};

use super::Refusal;
use crate::config::Limits;

/// Refuses what two readers could understand differently, and what is too large.
///
/// # Errors
///
/// The first rule that the head breaks.
pub(super) fn check(head: &Parts, limits: &Limits) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if head.method == Method::TRACE {
        return Err(Refusal::Trace);
    }
    check_size(head, limits)?;
    check_host(head)?;
    if !is_plainly_coded(&head.headers) {
        return Err(Refusal::TransferCoding);
    }
    match max_forwards(&head.headers) {
        Some(0) if head.method == Method::OPTIONS => Err(Refusal::LastHop),
        _ => Ok(()),
    }
}

fn check_size(head: &Parts, limits: &Limits) -> Result<(), Refusal> {
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limits.uri {
        return Err(Refusal::UriTooLong);
    }
    if head.headers.len() > limits.headers {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(())
}

/// RFC 9112 §3.2: one `Host`, valid, and equal to an absolute-form target's authority.
fn check_host(head: &Parts) -> Result<(), Refusal> {
    let mut lines = head.headers.get_all(HOST).iter();
    let named = head.uri.authority();
    let host = match (lines.next(), lines.next()) {
        (Some(_), Some(_)) => return Err(Refusal::HostRepeated),
        (Some(host), None) => host,
        // HTTP/2 names the host in `:authority`; HTTP/1.0 need not name it at all.
        (None, _) if named.is_some() || head.version == Version::HTTP_10 => return Ok(()),
        (None, _) => return Err(Refusal::HostMissing),
    };
    let host: Authority = host
        .to_str()
        .ok()
        .and_then(|host| host.parse().ok())
        .filter(is_host_and_port)
        .ok_or(Refusal::HostInvalid)?;
    if named.is_some_and(|named| !named.as_str().eq_ignore_ascii_case(host.as_str())) {
        return Err(Refusal::HostContradicts);
    }
    Ok(())
}

/// `http` takes user names, and any text for a port.
fn is_host_and_port(host: &Authority) -> bool {
    let port = host.as_str().strip_prefix(host.host());
    port.is_some_and(|port| matches!(port, "" | ":") || host.port_u16().is_some())
}

/// `Max-Forwards` (RFC 9110 §7.6.2); a value that is not a number is not one.
#[must_use]
pub fn max_forwards(headers: &HeaderMap) -> Option<u32> {
    headers.get(MAX_FORWARDS)?.to_str().ok()?.parse().ok()
}

/// Whether a body comes in no other transfer coding than chunks: nobody asked for one.
#[must_use]
pub fn is_plainly_coded(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    first.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::config::Config;

    fn refusal(request: http::request::Builder) -> Option<Refusal> {
        let (head, ()) = request.body(()).expect("a request").into_parts();
        check(&head, &Config::default().limits).err()
    }

    #[test]
    fn a_request_has_one_valid_host() {
        let get = || Request::get("/v1/calls/c1");
        let cases = [
            (get().header(HOST, "localhost:8080"), None),
            (get().header(HOST, "[::1]:8080"), None),
            (get(), Some(Refusal::HostMissing)),
            (get().version(Version::HTTP_10), None),
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
