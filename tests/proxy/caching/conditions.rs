//! Conditional requests of clients, evaluated by the proxy (RFC 9110 §13).

use http::Method;

use super::validation::{CALL, get, not_modified, start, tagged};
use crate::support::Reply;

/// Conditions on a response with the tag `"1"`, and whether they give 304.
const CONDITIONS: &[(&str, &str, bool)] = &[
    ("if-none-match", "\"1\"", true),
    ("if-none-match", "W/\"1\"", true),
    ("if-none-match", "\"x\", \"1\"", true),
    ("if-none-match", "\"x\",W/\"y\"", false),
    ("if-none-match", "*", true),
    ("if-none-match", "1", false),
    ("if-none-match", "\"1", false),
];

#[tokio::test]
async fn if_none_match_gives_304_on_hits_and_misses() {
    for (name, value, is_304) in CONDITIONS {
        let (origin, proxy) = start().await;
        origin.reply(CALL, tagged("{\"a\":1}", "\"1\""));
        for outcome in [
            "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=10",
            "stuut-cache; hit; ttl=10",
        ] {
            for method in [Method::GET, Method::HEAD] {
                // The first HEAD would already be a hit; its miss has a test of its own.
                if outcome.contains("miss") && method == Method::HEAD {
                    continue;
                }
                let response = proxy
                    .request(method.clone(), CALL)
                    .bearer("a")
                    .header(name, value)
                    .await
                    .assert_cache_status(outcome)
                    .assert_header("etag", "\"1\"");
                if *is_304 {
                    response
                        .assert_status(304)
                        .assert_no_header("content-type")
                        .assert_no_header("content-length")
                        .assert_header("cache-control", "max-age=10")
                        .assert_body("");
                } else {
                    let body = if method == Method::HEAD {
                        ""
                    } else {
                        "{\"a\":1}"
                    };
                    response.assert_status(200).assert_body(body);
                }
            }
        }
        origin.assert_requests(1);
        assert_eq!(
            origin.last_request().header(name),
            None,
            "{value} is not forwarded"
        );
    }
}

#[tokio::test]
async fn a_head_miss_sends_get_and_may_return_304() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, tagged("{\"a\":1}", "\"1\""));
    proxy
        .request(Method::HEAD, CALL)
        .bearer("a")
        .header("if-none-match", "\"1\"")
        .await
        .assert_status(304)
        .assert_miss();
    assert_eq!(origin.last_request().method(), "GET");
    get(&proxy).await.assert_hit().assert_body("{\"a\":1}");
}

#[tokio::test]
async fn if_modified_since_is_compared_with_last_modified() {
    let (origin, proxy) = start().await;
    origin.reply(
        CALL,
        Reply::json("{}").header("last-modified", &proxy.date(-100)),
    );
    get(&proxy).await;
    for (since, status) in [(-101, 200), (-100, 304), (0, 304)] {
        for method in [Method::GET, Method::HEAD] {
            proxy
                .request(method, CALL)
                .bearer("a")
                .header("if-modified-since", &proxy.date(since))
                .await
                .assert_hit()
                .assert_status(status);
        }
    }
    proxy
        .get(CALL)
        .bearer("a")
        .header("if-modified-since", "yesterday")
        .await
        .assert_status(200);
    proxy
        .get(CALL)
        .bearer("a")
        .header("if-none-match", "\"x\"")
        .header("if-modified-since", &proxy.date(0))
        .await
        .assert_status(200);
    origin.assert_requests(1);
}

#[tokio::test]
async fn if_none_match_gives_304_for_renewed_and_stale_responses() {
    let (origin, proxy) = start().await;
    origin.replies(
        CALL,
        vec![
            tagged("{}", "\"1\""),
            not_modified("\"1\""),
            Reply::new(503),
        ],
    );
    get(&proxy).await;
    for outcome in [
        "stuut-cache; fwd=stale; fwd-status=304; stored; ttl=10",
        "stuut-cache; hit; ttl=0; detail=stale-if-error",
    ] {
        proxy.advance_seconds(10);
        proxy
            .get(CALL)
            .bearer("a")
            .header("if-none-match", "\"1\"")
            .await
            .assert_cache_status(outcome)
            .assert_status(304);
    }
}

#[tokio::test]
async fn if_none_match_is_ignored_on_an_error() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, Reply::new(404).header("etag", "\"1\""));
    for _ in 0..2 {
        proxy
            .get(CALL)
            .bearer("a")
            .header("if-none-match", "\"1\"")
            .await
            .assert_status(404);
    }
    origin.assert_requests(1);
}

#[tokio::test]
async fn if_match_and_if_unmodified_since_bypass_the_cache() {
    let (origin, proxy) = start().await;
    origin.replies(CALL, vec![tagged("{}", "\"1\""), Reply::new(412)]);
    get(&proxy).await;
    for (name, value) in [
        ("if-match", "\"2\"".to_owned()),
        ("if-unmodified-since", proxy.date(0)),
    ] {
        proxy
            .get(CALL)
            .bearer("a")
            .header(name, &value)
            .await
            .assert_status(412)
            .assert_cache_status("stuut-cache; fwd=bypass; fwd-status=412; detail=condition");
        assert_eq!(origin.last_request().header(name), Some(value));
    }
    get(&proxy).await.assert_hit();
}

/// RFC 9110 §15.4.5: they are about content that a 304 does not have.
#[tokio::test]
async fn a_304_has_no_fields_about_the_content() {
    let (origin, proxy) = start().await;
    let about_content = [
        "content-type",
        "content-language",
        "last-modified",
        "repr-digest",
    ];
    let date = "Fri, 15 Jan 2027 07:00:00 GMT";
    let reply = tagged("{}", "\"1\"")
        .header("content-language", "en")
        .header("content-location", "/v1/calls/c1")
        .header("last-modified", date)
        .header("repr-digest", "sha-256=:x:");
    origin.reply(CALL, reply);
    for _ in 0..2 {
        let response = proxy
            .get(CALL)
            .bearer("a")
            .header("if-none-match", "\"1\"")
            .await;
        let response = response
            .assert_status(304)
            .assert_header("content-location", "/v1/calls/c1")
            .assert_header("etag", "\"1\"")
            .assert_header("cache-control", "max-age=10");
        for name in about_content {
            assert_eq!(response.header(name), None, "{name}");
        }
    }
    // Without a tag, the date is the validator.
    origin.reply(
        "/v1/calls/c2",
        Reply::json("{}").header("last-modified", date),
    );
    let request = proxy.get("/v1/calls/c2").bearer("a");
    request
        .header("if-modified-since", date)
        .await
        .assert_status(304)
        .assert_header("last-modified", date);
}
