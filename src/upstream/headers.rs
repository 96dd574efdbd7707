//! Which fields go on, in which direction (RFC 9110 §7.6).

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONNECTION, CONTENT_ENCODING,
    CONTENT_LENGTH, COOKIE, Entry, HOST, IF_MATCH, MAX_FORWARDS, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, response};

use crate::policy;

/// Fields between neighbours, whatever `Connection` says (RFC 9110 §7.6.1).
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

/// Request fields that go on with a cacheable request. Whatever could change the answer
/// without being part of the key stays behind: forward what was keyed.
const ALLOWED: [HeaderName; 8] = [
    AUTHORIZATION,
    ACCEPT,
    ACCEPT_LANGUAGE,
    USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("x-request-id"),
];

/// The request fields of a fetch: the allow-list and `more`, and the coding that we can undo.
#[must_use]
pub fn of_fetch(client: &HeaderMap, version: Version, more: &[HeaderName]) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(8);
    let nominated = nominated(client);
    for (name, value) in client {
        let allowed = ALLOWED.contains(name) || more.contains(name);
        if allowed && (*name == AUTHORIZATION || !nominated.contains(name)) {
            fields.append(name, value.clone());
        }
    }
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    join_cookies(&mut fields, version);
    // A departure from RFC 9110 §7.6.3: the fetch is for all clients of the key, and begins here. An
    // origin may vary its response by the proxies that a request has passed.
    add_via(&mut fields, version);
    fields
}

/// Asks for the bytes as they are: the origin forbids to undo their coding.
pub fn refuse_coding(fetch: &mut HeaderMap) {
    fetch.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// The head of a response whose coding is undone on its way in.
pub(super) fn decoded(head: &mut response::Parts) {
    let fields = &mut head.headers;
    for name in [CONTENT_ENCODING, CONTENT_LENGTH] {
        fields.remove(name);
    }
    policy::strip_digests(fields);
    // A 304 is about what is stored already, and its tag is compared with that.
    if head.status != StatusCode::NOT_MODIFIED {
        policy::mark_decoded(fields);
    }
}

/// The request fields of a forwarded request: all but those of the client's own connection.
pub fn of_forward(fields: &mut HeaderMap, version: Version) {
    remove_hop_by_hop(fields);
    fields.remove(HOST);
    join_cookies(fields, version);
    if let Some(left) = crate::request::max_forwards(fields) {
        fields.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    if let Entry::Occupied(mut lines) = fields.entry(IF_MATCH) {
        // The origin does not know the tags that we have made for codings.
        for line in lines.iter_mut() {
            *line = policy::origin_tags(line);
        }
    }
    add_via(fields, version);
}

/// The response fields as they go on to the client.
pub fn of_response(fields: &mut HeaderMap, version: Version) {
    if fields.contains_key(TRANSFER_ENCODING) {
        // The chunks were the body, whatever the length says (RFC 9112 §6.3); sent on, hyper
        // would believe the length and cut the body there.
        fields.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(fields);
    add_via(fields, version);
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    for name in nominated(fields) {
        // `Connection: authorization` would turn a request with a credential into one without: the
        // response would be another client's.
        if name != AUTHORIZATION {
            fields.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
}

/// Puts together what HTTP/2 may cut into crumbs; HTTP/1.1 knows one line (RFC 9113 §8.2.3).
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

/// The fields that `Connection` names.
fn nominated(fields: &HeaderMap) -> Vec<HeaderName> {
    fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// Adds to `Via` the protocol that a message was received with, and the proxy's name.
pub fn add_via(fields: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_2 => "2 stuut-cache",
        Version::HTTP_10 => "1.0 stuut-cache",
        _ => "1.1 stuut-cache",
    };
    fields.append(VIA, HeaderValue::from_static(via));
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
    fn a_fetch_carries_what_was_keyed_and_nothing_else() {
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
        let sent = of_fetch(
            &client,
            Version::HTTP_11,
            &[HeaderName::from_static("x-tenant")],
        );
        let expected = [
            "authorization: Bearer a",
            "accept: application/json",
            "x-tenant: t1",
            "accept-encoding: gzip",
            "via: 1.1 stuut-cache",
        ];
        assert_eq!(lines(&sent), expected);
    }

    #[test]
    fn hop_by_hop_fields_stay_and_the_credential_goes_on() {
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
        of_forward(&mut sent, Version::HTTP_2);
        let expected = [
            "authorization: Bearer a",
            "cookie: c=1",
            "if-match: \"1\", W/\"2\"",
            "max-forwards: 2",
            "via: 1.1 before",
            "via: 2 stuut-cache",
        ];
        let mut got = lines(&sent);
        got.sort();
        assert_eq!(got, expected);
    }
}
