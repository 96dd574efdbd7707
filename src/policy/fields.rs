//! The fields of a response that are stored with it (RFC 9111 §3.1).

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::list::{self, Quotes};

/// The fields to store: all but those that concern one connection or one proxy.
///
/// Gone are `Connection`, whatever it names, the hop-by-hop fields of RFC 9110 §7.6.1, and
/// those of proxy authentication. A missing `Date` is added, as RFC 9110 §6.6.1 asks of a
/// recipient that stores a message.
#[must_use]
pub fn storable(response: &HeaderMap, received: SystemTime) -> HeaderMap {
    let named: Vec<HeaderName> = list::elements(response, &header::CONNECTION, Quotes::Escaped)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .collect();
    let mut kept = HeaderMap::with_capacity(response.len() + 1);
    for (name, value) in response {
        if !is_of_the_connection(name) && !named.contains(name) {
            kept.append(name, value.clone());
        }
    }
    kept.entry(header::DATE).or_insert_with(|| date(received));
    own(&mut kept);
    kept
}

/// Fields that hold only for the bytes of their own message: digests, and support for ranges.
pub(super) const OF_THE_BYTES: [HeaderName; 5] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
    header::ACCEPT_RANGES,
];

/// Removes the digests of the origin's bytes from fields that go with other bytes.
pub fn strip_digests(fields: &mut HeaderMap) {
    for name in &OF_THE_BYTES {
        fields.remove(name);
    }
}

/// Copies all values into one allocation of exactly their size.
///
/// hyper's values are slices of its read buffers: a stored value of ten bytes would keep a buffer of
/// up to 256 KiB alive.
pub(super) fn own(fields: &mut HeaderMap) {
    let mut copy = Vec::with_capacity(fields.values().map(HeaderValue::len).sum());
    for value in fields.values() {
        copy.extend_from_slice(value.as_bytes());
    }
    let copy = Bytes::from(copy);
    let mut end = 0;
    for value in fields.values_mut() {
        let begin = end;
        end += value.len();
        let mut own = HeaderValue::from_maybe_shared(copy.slice(begin..end))
            .expect("the bytes of a field value are one");
        own.set_sensitive(value.is_sensitive());
        *value = own;
    }
}

/// The value of a date field; a date before 1970 cannot be written, and becomes 1970.
pub(super) fn date(at: SystemTime) -> HeaderValue {
    let text = httpdate::fmt_http_date(at.max(SystemTime::UNIX_EPOCH));
    HeaderValue::from_str(&text).expect("a date is letters, digits and blanks")
}

fn is_of_the_connection(name: &HeaderName) -> bool {
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
    fn fields_of_the_connection_are_not_stored() {
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
    fn a_stored_field_holds_on_to_the_read_buffer_it_came_in() {
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
        assert!(buffer.is_unique(), "something stored is a slice of it");
    }
}
