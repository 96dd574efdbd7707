//! Protection against DNS rebinding: checks the host of a request.
//!
//! A foreign name can be made to resolve to loopback; a page under that name, in a browser on this
//! machine, can then send requests here and read the responses as same-origin. An address, or
//! `localhost`, is never the origin of a foreign page.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

/// Whether a request names this machine. A request without `Host` is not from a browser.
pub(super) fn is_for_this_machine(headers: &HeaderMap) -> bool {
    headers.get_all(HOST).iter().all(names_this_machine)
}

fn names_this_machine(value: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(value.as_bytes()) else {
        return false;
    };
    let host = authority.host();
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_accepted_and_other_names_are_not() {
        let cases = [
            ("127.0.0.1:9090", true),
            ("127.0.0.1", true),
            ("[::1]:9090", true),
            ("10.0.0.7:9090", true),
            ("localhost", true),
            ("LocalHost:9090", true),
            ("evil.example", false),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1:9090@evil.example", false),
            ("", false),
        ];
        for (host, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            assert_eq!(is_for_this_machine(&headers), expected, "{host}");
            headers.append(HOST, HeaderValue::from_static("localhost"));
            assert_eq!(is_for_this_machine(&headers), expected, "{host}, localhost");
        }
        assert!(is_for_this_machine(&HeaderMap::new()));
    }
}
