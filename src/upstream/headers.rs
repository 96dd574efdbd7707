//! The header fields that are forwarded, in each direction (RFC 9110 §7.6).

use std::sync::LazyLock;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION,
    CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, Entry, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, MAX_FORWARDS, PRAGMA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, TE,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, response};

use crate::policy::{self, VERSIONS, nominated};
use crate::request::pseudonym;

/// Hop-by-hop fields, in addition to those that `Connection` nominates (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Request fields that a fetch forwards. A field that could change the response but is not part of
/// the cache key is not forwarded (cache poisoning), except `Via`, by which loops are detected.
/// The [`VERSIONS`] are forwarded as well.
pub const ALLOWED: [HeaderName; 9] = [
    AUTHORIZATION,
    ACCEPT,
    ACCEPT_LANGUAGE,
    USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("x-request-id"),
    VIA,
];

/// Request fields that a fetch leaves out because they concern the client's connection, its framing
/// or the cache itself, besides the hop-by-hop ones.
const OURS: [HeaderName; 10] = [
    HOST,
    ACCEPT_ENCODING,
    CACHE_CONTROL,
    PRAGMA,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    RANGE,
    CONTENT_LENGTH,
    MAX_FORWARDS,
    HeaderName::from_static("http2-settings"),
];

/// Whether a fetch forwards this request field, unless `Connection` nominates it.
pub fn is_allowed(name: &HeaderName, more: &[HeaderName]) -> bool {
    let lists = [&ALLOWED[..], &VERSIONS, more];
    lists.iter().any(|names| names.contains(name))
}

/// The request fields of a fetch: the allow-list and `more`, with gzip, which we can decode.
pub fn for_fetch(client: &HeaderMap, version: Version, more: &[HeaderName]) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(8);
    let nominated = nominated(client);
    for (name, value) in client {
        if is_allowed(name, more) && (*name == AUTHORIZATION || !nominated.contains(name)) {
            fields.append(name, value.clone());
        }
    }
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    join_cookies(&mut fields, version);
    add_via(&mut fields, version);
    fields
}

/// The fields of a client that are not in the request of a fetch and may matter to the origin.
pub fn left_out<'a>(
    client: &'a HeaderMap,
    sent: &'a HeaderMap,
) -> impl Iterator<Item = &'a HeaderName> {
    let is_ours = |name: &HeaderName| OURS.contains(name) || HOP_BY_HOP.contains(name);
    client
        .keys()
        .filter(move |name| !sent.contains_key(*name) && !is_ours(name))
}

/// Makes a fetch request the body without content coding: the origin forbids decoding it.
pub fn request_identity(fetch: &mut HeaderMap) {
    fetch.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Adapts the head of a response whose body is decoded on receipt.
pub(super) fn adapt_decoded(head: &mut response::Parts) {
    let fields = &mut head.headers;
    for name in [CONTENT_ENCODING, CONTENT_LENGTH] {
        fields.remove(name);
    }
    policy::strip_digests(fields);
    // The tag of a 304 names the stored response, and is compared with the stored tag.
    if head.status != StatusCode::NOT_MODIFIED {
        policy::mark_decoded(fields);
    }
}

/// Adapts the fields of a forwarded request: removes those of the client's connection.
pub fn adapt_request(fields: &mut HeaderMap, version: Version) {
    remove_hop_by_hop(fields);
    fields.remove(HOST);
    join_cookies(fields, version);
    if let Some(left) = crate::request::max_forwards(fields) {
        fields.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    if let Entry::Occupied(mut lines) = fields.entry(IF_MATCH) {
        // The tags that we make for compressed responses are not the origin's.
        for line in lines.iter_mut() {
            *line = policy::origin_tags(line);
        }
    }
    add_via(fields, version);
}

/// Declares the length of an HTTP/2 request without a body, where its method is for one (RFC 9110
/// §8.6): in HTTP/2 it need not be sent, and without it some servers answer 411.
pub fn declare_empty(method: &Method, fields: &mut HeaderMap) {
    if [Method::POST, Method::PUT, Method::PATCH].contains(method) {
        fields
            .entry(CONTENT_LENGTH)
            .or_insert(HeaderValue::from_static("0"));
    }
}

/// Adapts the response fields for the client.
pub fn adapt_response(fields: &mut HeaderMap, version: Version) {
    if fields.contains_key(TRANSFER_ENCODING) {
        // Transfer-Encoding overrides Content-Length (RFC 9112 §6.3). If the length were forwarded,
        // hyper would truncate the body to it.
        fields.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(fields);
    add_via(fields, version);
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    for name in nominated(fields) {
        // `Connection: authorization` would strip the token from the request: the response would be
        // that of an anonymous client.
        if name != AUTHORIZATION {
            fields.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
}

/// Joins the `Cookie` lines that HTTP/2 may split; HTTP/1.1 allows only one (RFC 9113 §8.2.3).
fn join_cookies(fields: &mut HeaderMap, version: Version) {
    let crumbs: Vec<_> = fields
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if version == Version::HTTP_2 && crumbs.len() > 1 {
        let mut line = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
            .expect("field values and \"; \" make a field value");
        line.set_sensitive(true);
        fields.insert(COOKIE, line);
    }
}

/// Adds the version of the received message, and the proxy's pseudonym, to `Via`.
pub fn add_via(fields: &mut HeaderMap, received: Version) {
    static VALUES: LazyLock<[HeaderValue; 3]> = LazyLock::new(|| {
        ["1.1", "1.0", "2"].map(|version| {
            let via = HeaderValue::try_from(format!("{version} {}", pseudonym()));
            via.expect("a version and a name are a field value")
        })
    });
    let [http11, http10, http2] = &*VALUES;
    let via = match received {
        Version::HTTP_2 => http2,
        Version::HTTP_10 => http10,
        _ => http11,
    };
    fields.append(VIA, via.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().expect("a name"),
                    value.parse().expect("a value"),
                )
            })
            .collect()
    }

    fn lines(fields: &HeaderMap) -> Vec<String> {
        fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect()
    }

    #[test]
    fn a_fetch_forwards_only_the_allowed_fields() {
        let client = fields(&[
            ("authorization", "Bearer a"),
            ("cookie", "c=1"),
            ("if-none-match", "\"x\""),
            ("x-forwarded-host", "evil"),
            ("via", "1.1 before"),
            ("accept", "application/json"),
            ("accept-encoding", "br"),
            ("x-tenant", "t1"),
            ("connection", "accept-language, authorization"),
            ("accept-language", "pl"),
        ]);
        let sent = for_fetch(
            &client,
            Version::HTTP_11,
            &[HeaderName::from_static("x-tenant")],
        );
        let expected = [
            "authorization: Bearer a",
            "via: 1.1 before",
            &format!("via: 1.1 {}", pseudonym()),
            "accept: application/json",
            "x-tenant: t1",
            "accept-encoding: gzip",
        ];
        assert_eq!(lines(&sent), expected);
    }

    #[test]
    fn hop_by_hop_fields_are_removed_and_the_credential_is_forwarded() {
        let mut sent = fields(&[
            ("host", "proxy.internal"),
            ("connection", "keep-alive, X-Hop, authorization"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer a"),
            ("cookie", "c=1"),
            ("max-forwards", "3"),
            ("if-match", "\"1--stuut-gzip\", W/\"2\""),
            ("via", "1.1 before"),
        ]);
        adapt_request(&mut sent, Version::HTTP_2);
        let expected = [
            "authorization: Bearer a",
            "cookie: c=1",
            "if-match: \"1\", W/\"2\"",
            "max-forwards: 2",
            "via: 1.1 before",
            &format!("via: 2 {}", pseudonym()),
        ];
        let mut forwarded = lines(&sent);
        forwarded.sort();
        assert_eq!(forwarded, expected);
    }
}
