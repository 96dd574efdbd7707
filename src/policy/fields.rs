//! The response fields that are stored (RFC 9111 §3.1).

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::CookieName;

/// The fields to store: all except those of one connection or one proxy.
///
/// Removed are `Connection`, the fields it names, the hop-by-hop fields of RFC 9110 §7.6.1, and
/// those of proxy authentication. A missing `Date` is added, as RFC 9110 §6.6.1 requires of a
/// recipient that stores a message.
pub fn storable(response: &HeaderMap, received: SystemTime) -> HeaderMap {
    let named = nominated(response);
    let mut kept = HeaderMap::with_capacity(response.len() + 1);
    for (name, value) in response {
        if !is_hop_by_hop(name) && !named.contains(name) {
            kept.append(name, value.clone());
        }
    }
    kept.entry(header::DATE).or_insert_with(|| date(received));
    compact(&mut kept);
    kept
}

/// The fields that `Connection` nominates, which are for the next hop only.
pub fn nominated(fields: &HeaderMap) -> Vec<HeaderName> {
    let lines = fields.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// Removes the `Set-Cookie` lines of a response if all of them set `ignored` cookies, and returns
/// them: they are for the client that fetched, and the rest of the response for any.
pub fn take_ignored_cookies(fields: &mut HeaderMap, ignored: &[CookieName]) -> Vec<HeaderValue> {
    let is_ignored =
        |line: &HeaderValue| ignored.iter().any(|name| name.is_set_by(line.as_bytes()));
    if fields.get_all(header::SET_COOKIE).iter().all(is_ignored)
        && let header::Entry::Occupied(lines) = fields.entry(header::SET_COOKIE)
    {
        return lines.remove_entry_mult().1.collect();
    }
    Vec::new()
}

/// Whether a field is valid only for the origin's exact bytes: a digest, or support for ranges.
pub(super) fn is_of_bytes(name: &HeaderName) -> bool {
    let name = name.as_str();
    [
        "content-digest",
        "repr-digest",
        "digest",
        "content-md5",
        "accept-ranges",
        "x-goog-hash",
    ]
    .contains(&name)
        || ["x-amz-checksum-", "x-checksum-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Removes digests and `Accept-Ranges` from the fields of a body with another coding than the
/// origin's.
pub fn strip_digests(fields: &mut HeaderMap) {
    remove_if(fields, is_of_bytes);
}

/// The same for a part of the body, with the fields that are valid for every coding of the whole.
pub fn strip_digests_of_whole(fields: &mut HeaderMap) {
    strip_digests(fields);
    for name in ["unencoded-digest", "signature", "signature-input"] {
        fields.remove(name);
    }
}

/// Removes the fields about the content from a 304, and `Last-Modified` beside an entity tag
/// (RFC 9110 §15.4.5).
pub fn strip_for_304(fields: &mut HeaderMap) {
    let has_tag = fields.contains_key(header::ETAG);
    let is_about_content = |name: &HeaderName| {
        [
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_RANGE,
        ]
        .contains(name)
    };
    strip_digests_of_whole(fields);
    remove_if(fields, |name| {
        is_about_content(name) || has_tag && *name == header::LAST_MODIFIED
    });
}

pub(super) fn remove_if(fields: &mut HeaderMap, condition: impl Fn(&HeaderName) -> bool) {
    let names = fields.keys().filter(|name| condition(name));
    for name in names.cloned().collect::<Vec<_>>() {
        fields.remove(name);
    }
}

/// Copies all values into one allocation of exactly their size.
///
/// hyper's values are slices of its read buffers: a stored value of ten bytes would keep a buffer of
/// up to 256 KiB alive.
pub(super) fn compact(fields: &mut HeaderMap) {
    let mut copy = Vec::with_capacity(fields.values().map(HeaderValue::len).sum());
    for value in fields.values() {
        copy.extend_from_slice(value.as_bytes());
    }
    let copy = Bytes::from(copy);
    let mut end = 0;
    for value in fields.values_mut() {
        let begin = end;
        end += value.len();
        let mut copied = HeaderValue::from_maybe_shared(copy.slice(begin..end))
            .expect("a copy of a field value is valid");
        copied.set_sensitive(value.is_sensitive());
        *value = copied;
    }
}

/// The value of a date field. `httpdate` cannot format a date before 1970: it becomes 1970.
pub(super) fn date(at: SystemTime) -> HeaderValue {
    let text = httpdate::fmt_http_date(at.max(SystemTime::UNIX_EPOCH));
    HeaderValue::from_str(&text).expect("a date is printable ASCII")
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
    ]
    .contains(name)
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "proxy-authentication-info"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_fields_are_not_stored() {
        let response: HeaderMap = [
            ("connection", "x-hop, \"y\", Keep-Alive"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("proxy-authenticate", "Basic"),
            ("x-kept", "1"),
        ]
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
        let kept = storable(&response, SystemTime::UNIX_EPOCH);
        assert_eq!(kept.len(), 2);
        assert_eq!(kept["x-kept"], "1");
        assert_eq!(kept[header::DATE], "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn stored_fields_do_not_keep_the_read_buffer_alive() {
        let buffer = Bytes::from(vec![b'x'; 64 << 10]);
        let field = |from: usize| {
            HeaderValue::from_maybe_shared(buffer.slice(from..from + 9)).expect("a field value")
        };
        let mut response = HeaderMap::new();
        response.append("x-first", field(0));
        response.append("x-twice", field(100));
        response.append("x-twice", field(200));
        let mut kept = storable(&response, SystemTime::UNIX_EPOCH);
        super::super::update(&mut kept, &response, SystemTime::UNIX_EPOCH);
        assert_eq!(kept.get_all("x-twice").iter().count(), 2);
        assert_eq!(kept["x-first"], "xxxxxxxxx");
        drop(response);
        assert!(
            buffer.is_unique(),
            "a stored value is a slice of the read buffer"
        );
    }
}
