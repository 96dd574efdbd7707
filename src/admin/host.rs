//! Who is asked: a guard against pages in a browser on this machine.
//!
//! A name that a stranger owns may be made to point at loopback (DNS rebinding); his page then
//! asks us under that name, and may read the answer as its own. An address, or `localhost`,
//! cannot be made to mean somebody else's page.

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
