//! Calls whose status cannot be read: unknown means short.

use std::time::Duration;

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

/// Bodies of a 200 with a status that is missing, unknown, or cannot be read.
fn unknown() -> Vec<Vec<u8>> {
    let call = r#"{"id":"c1","status":"completed"}"#;
    let utf16: Vec<u8> = call.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [
        r#"{"id":"c1"}"#,
        r#"{"status":"In_Progress"}"#,
        r#"{"status":" completed"}"#,
        // A status that the API may add later.
        r#"{"status":"transferring"}"#,
        r#"{"status":"completed","status":"in_progress"}"#,
        r#"{"status":["completed"]}"#,
        r#"{"data":{"id":"c1","status":"completed","invoices":[]}}"#,
        r#"[{"status":"completed"}]"#,
        r#"{"status":"completed","cost":NaN}"#,
        "{\"status\":\"completed\"}\n{\"status\":\"completed\"}\n",
        "{\"status\":\"completed\"",
        "",
        "completed",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        b"{\"status\":\"completed\",\"name\":\"M\xfcller\"}".to_vec(),
        [
            r#"{"status":"completed","a":"#,
            &"[".repeat(2_000),
            &"]".repeat(2_000),
            "}",
        ]
        .concat()
        .into_bytes(),
        utf16,
    ])
    .collect()
}

/// A proxy with the rules for calls, and an origin with this response.
pub async fn answering(reply: Reply) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::for_calls(&origin).await;
    origin.reply(CALL, reply);
    (origin, proxy)
}

#[tokio::test]
async fn a_call_with_an_unknown_status_is_fresh_for_the_shortest_lifetime() {
    for body in unknown() {
        // An old Last-Modified made it fresh for up to a day.
        let reply = Reply::json("")
            .body(&body)
            .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
        let (_origin, proxy) = answering(reply).await;
        let first = proxy.get(CALL).bearer("a").await;
        let body = String::from_utf8_lossy(&body);
        assert_eq!(
            first.cache_status(),
            "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=2",
            "{body}"
        );
        proxy.advance_seconds(2);
        let second = proxy.get(CALL).bearer("a").await;
        assert!(!second.cache_status().contains("; hit"), "{body} {second}");
    }
}

#[tokio::test]
async fn an_encoding_that_was_not_accepted_hides_the_status() {
    let reply = Reply::json("")
        .body(b"\x1b\x0f")
        .header("content-encoding", "br");
    let (_origin, proxy) = answering(reply).await;
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=2");
}

#[tokio::test]
async fn an_unknown_call_has_the_caps_of_all_live_parts_in_every_view() {
    for body in [
        r#"{"id":"c1","status":"transferring","a":1}"#,
        r#"{"data":{"id":"c1","invoices":[]},"a":1}"#,
    ] {
        let reply = Reply::json(body).header("cache-control", "max-age=600");
        let (_origin, proxy) = answering(reply).await;
        for query in ["", "?strip=a", "?fields=id"] {
            let target = format!("{CALL}{query}");
            let response = proxy.get(&target).bearer("a").await;
            assert!(
                response.cache_status().ends_with("ttl=60"),
                "{body} {response}"
            );
        }
    }
}

#[tokio::test]
async fn a_byte_order_mark_does_not_hide_the_status() {
    let (_origin, proxy) = answering(Reply::json("\u{feff}{\"status\":\"busy\"}")).await;
    let mut expected = "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=10".to_owned();
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status(&expected);
    expected = expected.replace("10", "600");
    let ended = "\u{feff}{\"status\":\"busy\",\"end_time\":\"2020-01-01T00:00:00Z\"}";
    let (_origin, proxy) = answering(Reply::json(ended)).await;
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status(&expected);
}

#[tokio::test]
async fn only_calls_need_a_status() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.freshness = stuut_cache::config::Freshness::default();
        for path in ["/v1/agents/{id}", "/v1/calls/{id}/notes"] {
            config.cache.routes.push(stuut_cache::config::Route {
                path: stuut_cache::config::RoutePattern::parse(path).expect("a pattern"),
                ttl: None,
            });
        }
        config.freshness.default = Duration::from_secs(70);
    })
    .await;
    for target in ["/v1/agents/1", "/v1/calls/c1/notes"] {
        proxy
            .get(target)
            .bearer("a")
            .await
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=70");
    }
}
