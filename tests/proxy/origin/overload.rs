//! Load shedding: which requests get 503, which get an origin slot, and which a stored response.

use crate::support::{Origin, Pending, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

fn shed(reason: &str) -> String {
    format!("stuut_cache_upstream_shed_total{{reason=\"{reason}\"}}")
}

/// Starts `count` misses of one token, which the origin does not answer.
async fn start_misses(origin: &Origin, proxy: &Proxy, token: &str, count: usize) -> Vec<Pending> {
    let before = origin.requests().len();
    let mut pending = Vec::new();
    for n in 0..count {
        let target = format!("/v1/calls/held-{token}-{n}");
        // Not released before the origin is dropped.
        let _ = origin.hold(&target);
        pending.push(proxy.get(&target).bearer(token).start());
    }
    origin.wait_for_requests(before + count).await;
    pending
}

#[tokio::test]
async fn one_token_cannot_take_more_than_its_share_of_origin_slots() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 8).await;
    let _pending = start_misses(&origin, &proxy, "a", 4).await;
    let more = proxy.get("/v1/calls/more").bearer("a").await;
    more.assert_problem(503, "connection_limit_reached")
        .assert_header("retry-after", "1");
    // Forwarded requests count, too.
    let more = proxy.get("/v1/other").bearer("a").await;
    more.assert_problem(503, "connection_limit_reached");
    proxy.wait_for_metric(&shed("share"), 2).await;

    for token in ["b", "c", "d"] {
        let answer = proxy.get(CALL).bearer(token).await;
        answer.assert_status(200).assert_miss();
    }
    proxy.get("/v1/other").await.assert_status(200);
    proxy.wait_for_metric(&shed("in_flight"), 0).await;
}

#[tokio::test]
async fn under_overload_entries_are_served_and_other_requests_are_shed() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    let stale = Reply::json("{}").header("cache-control", "max-age=1");
    origin.reply(CALL, stale);
    origin.reply(
        "/v1/calls/strict",
        Reply::json("{}").header("cache-control", "max-age=1, must-revalidate"),
    );
    let fresh = Reply::json("{}").header("cache-control", "max-age=600");
    origin.reply("/v1/calls/fresh", fresh);
    for target in [CALL, "/v1/calls/strict", "/v1/calls/fresh"] {
        proxy.get(target).bearer("a").await.assert_miss();
    }
    proxy.advance_seconds(60);

    let _pending = start_misses(&origin, &proxy, "a", 1).await;
    for _ in 0..100 {
        proxy.get("/v1/calls/fresh").bearer("a").await.assert_hit();
    }
    let answer = proxy.get(CALL).bearer("a").await;
    answer.assert_stale("stale-if-error").assert_body("{}");
    // Stale is forbidden, nothing is stored, or the request is forwarded.
    for target in ["/v1/calls/strict", "/v1/calls/other", "/v1/other"] {
        let answer = proxy.get(target).bearer("a").await;
        answer
            .assert_problem(503, "connection_limit_reached")
            .assert_header("retry-after", "1");
    }
    proxy.wait_for_metric(&shed("in_flight"), 4).await;
    origin.assert_requests(4);
}

#[tokio::test]
async fn origin_slots_are_released_however_requests_end() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 2).await;
    origin.reply("/v1/calls/reset", Reply::raw("nonsense\r\n\r\n"));
    origin.reply(
        "/v1/calls/truncated",
        Reply::json("{\"a\":1}").truncated_after(3),
    );
    for _ in 0..3 {
        for target in ["/v1/calls/reset", "/v1/calls/truncated", "/v1/other"] {
            proxy.get(target).bearer("a").await;
        }
        let before = origin.requests().len();
        let gate = origin.hold("/v1/calls/held");
        let aborted = proxy.get("/v1/calls/held").bearer("a").over_http2().start();
        origin.wait_for_requests(before + 1).await;
        aborted.hang_up().await;
        gate.open_for_all();
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 0)
            .await;
        proxy.advance_seconds(3_600);
    }
    proxy.wait_for_metric(&shed("share"), 0).await;
    proxy.wait_for_metric(&shed("in_flight"), 0).await;
}
