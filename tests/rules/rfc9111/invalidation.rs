//! §4.4: the stored responses that a write invalidates.

use http::{Method, StatusCode};
use stuut_cache::config::OriginUrl;
use stuut_cache::policy::{self_and_ancestors, written_paths};

use super::support::head;

struct Case<'a> {
    section: &'a str,
    method: &'a str,
    status: u16,
    response: &'a [&'a str],
    then: &'a [&'a str],
}

#[test]
fn unsafe_methods_that_succeed_invalidate() {
    let cases = [
        Case { section: "4.4 POST", method: "POST", status: 200, response: &[], then: &["/v1/calls/x"] },
        Case { section: "4.4 PUT", method: "PUT", status: 204, response: &[], then: &["/v1/calls/x"] },
        Case { section: "4.4 DELETE", method: "DELETE", status: 303, response: &[], then: &["/v1/calls/x"] },
        Case { section: "4.4 unknown method", method: "FROB", status: 200, response: &[], then: &["/v1/calls/x"] },
        Case { section: "4.4 safe method", method: "GET", status: 200, response: &["location: /a"], then: &[] },
        Case { section: "4.4 safe method", method: "OPTIONS", status: 200, response: &[], then: &[] },
        Case { section: "4.4 error", method: "POST", status: 404, response: &["location: /a"], then: &[] },
        Case { section: "4.4 error", method: "POST", status: 500, response: &[], then: &[] },
        Case { section: "4.4 Location", method: "POST", status: 201, response: &["location: /a"], then: &["/v1/calls/x", "/a"] },
        Case {
            section: "4.4 Content-Location",
            method: "POST",
            status: 200,
            response: &["content-location: y"],
            then: &["/v1/calls/x", "/v1/calls/y"],
        },
        Case {
            section: "4.4 same origin",
            method: "POST",
            status: 201,
            response: &["location: https://api.stuut.ai/a"],
            then: &["/v1/calls/x", "/a"],
        },
        Case { section: "4.4 other host", method: "POST", status: 201, response: &["location: https://example.com/a"], then: &["/v1/calls/x"] },
        Case { section: "4.4 other scheme", method: "POST", status: 201, response: &["location: http://api.stuut.ai/a"], then: &["/v1/calls/x"] },
        Case {
            section: "4.4 other port",
            method: "POST",
            status: 201,
            response: &["content-location: //api.stuut.ai:444/a"],
            then: &["/v1/calls/x"],
        },
    ];
    let origin = OriginUrl::parse("https://api.stuut.ai").expect("an origin");
    for case in cases {
        let method = Method::from_bytes(case.method.as_bytes()).expect("a method");
        let status = StatusCode::from_u16(case.status).expect("a status");
        let paths = written_paths(
            &method,
            "/v1/calls/x",
            status,
            &head(case.response),
            &origin,
        );
        assert_eq!(paths, case.then, "{}", case.section);
    }
    assert!(
        self_and_ancestors("/v1/calls/x/approve").any(|ancestor| ancestor == "/v1/calls/x"),
        "4.4 further invalidation is left to the cache"
    );
}
