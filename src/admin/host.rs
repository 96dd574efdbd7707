//! The host of a request: a guard against DNS rebinding by pages in a browser on this machine.
//!
//! A foreign name may be made to point at loopback; a page under that name then sends requests
//! here, and may read the responses as its own. An address, or `localhost`, is never the origin
//! of a foreign page.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

/// Whether a request was meant for this machine. A request without `Host` comes from no browser.
pub(super) fn is_here(headers: &HeaderMap) -> bool {
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
    fn an_address_and_localhost_are_here_and_names_are_not() {
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
            assert_eq!(is_here(&headers), expected, "{host}");
            headers.append(HOST, HeaderValue::from_static("localhost"));
            assert_eq!(is_here(&headers), expected, "{host}, localhost");
        }
        assert!(is_here(&HeaderMap::new()));
    }
}
