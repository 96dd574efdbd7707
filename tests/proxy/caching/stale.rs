//! Stale responses: served while one request revalidates, never after a newer response.

use std::time::Duration;

use crate::support::{Origin, Proxy, Reply, Response, wait_until};

pub(super) const CALL: &str = "/v1/calls/c1";

pub(super) async fn get(proxy: &Proxy) -> Response {
    proxy.get(CALL).bearer("a").await
}

pub(super) async fn start() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    (origin, proxy)
}

pub(super) fn reply(body: &str, cache_control: &str) -> Reply {
    Reply::json(body).header("cache-control", cache_control)
}

/// Waits until no fetch is in flight.
pub(super) async fn wait_until_idle(proxy: &Proxy) {
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
}

/// Waits for a response with another body; returns the one after it.
pub(super) async fn wait_for_other_body(proxy: &Proxy, body: &str) -> Response {
    wait_until("another body", async || get(proxy).await.text() != body).await;
    get(proxy).await
}

#[tokio::test]
async fn a_stale_response_is_served_while_one_request_refreshes_it() {
    let (origin, proxy) = start().await;
    let rule = "max-age=10, stale-while-revalidate=5";
    origin.reply(CALL, reply("1", rule));
    get(&proxy).await.assert_miss();
    let gate = origin.hold(CALL);
    origin.reply(CALL, reply("2", rule));

    proxy.advance(Duration::from_millis(14_999));
    for _ in 0..20 {
        get(&proxy)
            .await
            .assert_cache_status("stuut-cache; hit; ttl=-5; detail=stale-while-revalidate")
            .assert_header("age", "14")
            .assert_body("1");
    }
    origin.wait_for_requests(2).await;
    origin.assert_requests(2);
    gate.open_for_all();
    wait_for_other_body(&proxy, "1")
        .await
        .assert_cache_status("stuut-cache; hit; ttl=10")
        .assert_body("2");
    origin.assert_requests(2);
}

#[tokio::test]
async fn the_stale_while_revalidate_window_ends_exactly() {
    let (origin, proxy) = start().await;
    let rule = "max-age=10, stale-while-revalidate=5";
    origin.replies(CALL, vec![reply("1", rule), reply("2", rule)]);
    get(&proxy).await;
    proxy.advance_seconds(15);
    get(&proxy).await.assert_forwarded("stale").assert_body("2");
}

/// The window that an ended call has by default is for our own lifetimes.
#[tokio::test]
async fn an_ended_call_is_not_served_past_a_lifetime_that_the_origin_set() {
    const ENDED: &str = r#"{"status":"busy","end_time":"2020-01-01T00:00:00Z"}"#;
    let origin = Origin::start().await;
    let proxy = Proxy::for_calls(&origin).await;
    for (name, value, lifetime) in [
        ("cache-control", "max-age=0", 0),
        ("cache-control", "max-age=10", 10),
        ("cdn-cache-control", "max-age=10", 10),
        ("expires", "Fri, 15 Jan 2027 08:00:00 GMT", 0),
    ] {
        let newer = ENDED.replace("busy", "failed");
        let reply = |body| {
            Reply::json(body)
                .header(name, value)
                .header("etag", "\"1\"")
        };
        origin.replies(CALL, vec![reply(ENDED), reply(&newer)]);
        get(&proxy).await.assert_body(ENDED);
        proxy.advance_seconds(lifetime);
        get(&proxy)
            .await
            .assert_forwarded("stale")
            .assert_body(&newer);
        proxy.admin(http::Method::POST, "/purge?all").await;
    }
    // Where the origin sets none, the window applies.
    origin.reply(CALL, Reply::json(ENDED));
    get(&proxy).await.assert_miss();
    proxy.advance_seconds(600);
    get(&proxy).await.assert_stale("stale-while-revalidate");
}

#[tokio::test]
async fn a_refresh_carries_the_token_and_fields_of_its_request() {
    let (origin, proxy) = start().await;
    let rule = "max-age=10, stale-while-revalidate=5";
    origin.reply(CALL, Reply::echo().header("cache-control", rule));
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_miss();
    }
    proxy.advance_seconds(10);
    proxy
        .get(CALL)
        .bearer("b")
        .header("accept-language", "fy")
        .header("x-request-id", "the-first-stale-hit")
        .await
        .assert_stale("stale-while-revalidate");
    origin.wait_for_requests(3).await;
    let refresh = origin.last_request();
    assert_eq!(refresh.header("authorization").as_deref(), Some("Bearer b"));
    assert_eq!(refresh.header("accept-language").as_deref(), Some("fy"));
    assert_eq!(
        refresh.header("x-request-id").as_deref(),
        Some("the-first-stale-hit")
    );
    wait_until_idle(&proxy).await;
    // The other token's response is still stale.
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_stale("stale-while-revalidate");
    origin.wait_for_requests(4).await;
    assert_eq!(
        origin.last_request().header("authorization").as_deref(),
        Some("Bearer a")
    );
}

#[tokio::test]
async fn a_background_refresh_revalidates() {
    let (origin, proxy) = start().await;
    origin.replies(
        CALL,
        vec![
            reply("1", "max-age=10, stale-while-revalidate=5").header("etag", "\"1\""),
            Reply::new(304).header("x-renewed", "1"),
        ],
    );
    get(&proxy).await;
    proxy.advance_seconds(12);
    get(&proxy).await.assert_stale("stale-while-revalidate");
    origin.wait_for_requests(2).await;
    assert_eq!(
        origin.last_request().header("if-none-match").as_deref(),
        Some("\"1\"")
    );
    wait_until_idle(&proxy).await;
    wait_until("a renewed response", async || {
        get(&proxy).await.header("x-renewed").is_some()
    })
    .await;
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; hit; ttl=10")
        .assert_body("1");
    origin.assert_requests(2);
}

#[tokio::test]
async fn a_failed_background_refresh_keeps_the_stored_response() {
    for failure in [Reply::new(503), Reply::reset()] {
        let (origin, proxy) = start().await;
        let rule = "max-age=10, stale-while-revalidate=60";
        origin.replies(CALL, vec![reply("1", rule), failure, reply("2", rule)]);
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy).await.assert_stale("stale-while-revalidate");
        wait_for_other_body(&proxy, "1")
            .await
            .assert_hit()
            .assert_body("2");
        origin.assert_requests(3);
    }
}

/// Responses that supersede the stored one and may not be stored themselves.
fn uncacheable_responses() -> Vec<Reply> {
    vec![
        reply("2", "no-store"),
        reply("2", "max-age=60").header("set-cookie", "s=1"),
        reply("2", "max-age=60").header("vary", "*"),
        reply("2", "max-age=60").until_close(),
        Reply::new(302).body("2"),
        Reply::new(400).body("2"),
    ]
}

#[tokio::test]
async fn an_uncacheable_response_supersedes_the_stored_one() {
    for rule in [
        "max-age=10, stale-if-error=600",
        "max-age=10, stale-while-revalidate=600, stale-if-error=600",
    ] {
        for newer in uncacheable_responses() {
            let (origin, proxy) = start().await;
            let case = format!("{rule} {newer:?}");
            origin.replies(CALL, vec![reply("1", rule), newer, Reply::new(500)]);
            get(&proxy).await;
            proxy.advance_seconds(10);
            let last = wait_for_other_body(&proxy, "1").await;
            assert_eq!(last.status(), 500, "{case}: {last}");
        }
    }
}

#[tokio::test]
async fn a_response_without_vary_supersedes_older_variants() {
    let (origin, proxy) = start().await;
    origin.replies(
        CALL,
        vec![
            reply("1", "max-age=10, stale-if-error=600").header("vary", "accept"),
            reply("2", "max-age=10"),
            reply("3", "no-store"),
            Reply::new(500),
        ],
    );
    for (body, status) in [("1", 200), ("2", 200), ("3", 200), ("", 500)] {
        get(&proxy).await.assert_status(status).assert_body(body);
        proxy.advance_seconds(10);
    }
}

#[tokio::test]
async fn waiters_of_an_uncacheable_fetch_do_not_get_the_replaced_entry() {
    let (origin, proxy) = start().await;
    origin.replies(
        CALL,
        vec![
            reply("1", "max-age=10, stale-if-error=600"),
            reply("2", "no-store"),
            Reply::new(500),
        ],
    );
    get(&proxy).await;
    proxy.advance_seconds(10);
    let gate = origin.hold(CALL);
    let first = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(2).await;
    let second = proxy.get(CALL).bearer("a").start();
    proxy.wait_for_metric("stuut_cache_in_flight", 2).await;
    gate.open_for_all();
    first.await.assert_body("2");
    second.await.assert_status(500);
}
