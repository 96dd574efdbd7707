//! stale-if-error, and refusals that supersede the stored response.

use std::time::Duration;

use super::stale::{CALL, get, reply, start, wait_for_other_body, wait_until_idle};
use crate::support::{Reply, wait_until};

/// All failures of an origin for which a stale response may be served.
fn failures() -> Vec<Reply> {
    vec![
        Reply::new(500),
        Reply::new(502),
        Reply::new(503).header("retry-after", "9"),
        Reply::new(504),
        Reply::new(408),
        Reply::new(425),
        Reply::new(429).header("retry-after", "9"),
        Reply::new(503).header("cache-control", "max-age=60"),
        Reply::new(500).header("cache-control", "no-store"),
        Reply::new(500).body("x").until_close(),
        Reply::raw(""),
        Reply::raw("this is not HTTP\r\n\r\n"),
        Reply::reset(),
        Reply::json("0123456789").truncated_after(5),
        Reply::json("0123456789").truncated_chunks_after(5),
    ]
}

/// E.g. from a CDN that cannot reach the origin. An unknown status counts as the x00 of its class
/// (RFC 9110 §15).
#[tokio::test]
async fn an_unregistered_5xx_status_counts_as_a_failure() {
    for status in [509, 520, 522, 530, 599] {
        let (origin, proxy) = start().await;
        let failure = Reply::new(status);
        origin.replies(
            CALL,
            vec![reply("1", "max-age=10, stale-if-error=20"), failure],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        for _ in 0..2 {
            get(&proxy)
                .await
                .assert_stale("stale-if-error")
                .assert_body("1");
        }
    }
    // These are registered, and concern the request or its target.
    for status in [501, 505, 506, 507, 508, 510, 511] {
        let (origin, proxy) = start().await;
        let failure = Reply::new(status);
        origin.replies(
            CALL,
            vec![reply("1", "max-age=10, stale-if-error=20"), failure],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy).await.assert_status(status);
    }
}

#[tokio::test]
async fn a_stale_response_is_served_if_the_origin_fails() {
    for failure in failures() {
        let (origin, proxy) = start().await;
        let case = format!("{failure:?}");
        origin.replies(
            CALL,
            vec![reply("1", "max-age=10, stale-if-error=20"), failure],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy)
            .await
            .assert_cache_status("stuut-cache; hit; ttl=0; detail=stale-if-error")
            .assert_header("age", "10")
            .assert_status(200)
            .assert_body("1");
        proxy.advance(Duration::from_millis(19_999));
        get(&proxy)
            .await
            .assert_stale("stale-if-error")
            .assert_body("1");
        proxy.advance(Duration::from_millis(1));
        let response = get(&proxy).await.assert_forwarded("stale");
        assert_ne!(response.status(), 200, "{case}: {response}");
    }
}

#[tokio::test]
async fn after_a_failure_stale_is_served_at_once_during_one_retry() {
    let (origin, proxy) = start().await;
    let failures = (0..3).map(|_| Reply::new(500));
    let good = reply("1", "max-age=10, stale-if-error=600");
    origin.replies(CALL, std::iter::once(good).chain(failures).collect());
    get(&proxy).await;
    proxy.advance_seconds(10);
    get(&proxy).await.assert_stale("stale-if-error");
    origin.assert_requests(2);

    // Now no request waits for the origin, and only one of them starts a retry.
    let retry = origin.hold(CALL);
    for _ in 0..5 {
        get(&proxy).await.assert_stale("stale-if-error");
    }
    origin.wait_for_requests(3).await;
    proxy.advance_seconds(6);
    for _ in 0..5 {
        get(&proxy).await.assert_stale("stale-if-error");
    }
    origin.assert_requests(3);
    retry.open_for_all();
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;

    // After the pause, the next request waits for the origin again.
    proxy.advance_seconds(30);
    get(&proxy).await.assert_stale("stale-if-error");
    origin.assert_requests(4);
}

/// In the stale-while-revalidate window too, not every request is sent to a failing origin.
#[tokio::test]
async fn after_a_failed_refresh_one_retry_runs() {
    let (origin, proxy) = start().await;
    let good = reply("1", "max-age=10, stale-while-revalidate=60");
    origin.replies(CALL, vec![good, Reply::new(500)]);
    get(&proxy).await;
    proxy.advance_seconds(10);
    for requests in [2, 3, 3, 3] {
        get(&proxy).await.assert_stale("stale-while-revalidate");
        origin.wait_for_requests(requests).await;
        wait_until_idle(&proxy).await;
    }
    origin.assert_requests(3);
    proxy.advance_seconds(5);
    get(&proxy).await.assert_stale("stale-while-revalidate");
    origin.wait_for_requests(4).await;
}

/// The retry joined a fetch of another variant, whose result does not apply to its own.
#[tokio::test]
async fn a_retry_that_joins_another_variant_blocks_no_later_retry() {
    let (origin, proxy) = start().await;
    let variant = |body| reply(body, "max-age=10, stale-if-error=600").header("vary", "accept");
    let get = |accept| proxy.get(CALL).bearer("a").header("accept", accept);
    origin.replies(CALL, vec![variant("1"), Reply::new(500), variant("2")]);
    get("text/a").await.assert_body("1");
    proxy.advance_seconds(10);
    get("text/a").await.assert_stale("stale-if-error");
    let gate = origin.hold(CALL);
    let other = get("text/b").start();
    origin.wait_for_requests(3).await;
    get("text/a").await.assert_stale("stale-if-error");
    gate.open_for_all();
    other.await.assert_body("2");
    proxy.advance_seconds(5);
    get("text/a")
        .await
        .assert_forwarded("stale")
        .assert_body("2");
}

#[tokio::test]
async fn a_successful_retry_replaces_the_stale_response() {
    let (origin, proxy) = start().await;
    let rule = "max-age=10, stale-if-error=600";
    origin.replies(
        CALL,
        vec![reply("1", rule), Reply::new(503), reply("2", rule)],
    );
    get(&proxy).await;
    proxy.advance_seconds(10);
    get(&proxy).await.assert_stale("stale-if-error");
    wait_for_other_body(&proxy, "1")
        .await
        .assert_hit()
        .assert_body("2");
}

#[tokio::test]
async fn the_default_stale_if_error_window_covers_a_dead_origin() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, reply("1", "max-age=10").closing());
    get(&proxy).await;
    origin.stop_listening().await;
    proxy.advance(Duration::from_millis(309_999));
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; hit; ttl=-300; detail=stale-if-error")
        .assert_body("1");
    proxy.advance(Duration::from_millis(1));
    get(&proxy)
        .await
        .assert_problem(502, "connection_refused")
        .assert_cache_status("stuut-cache; fwd=stale; detail=connection_refused");
}

#[tokio::test]
async fn the_stale_if_error_window_is_checked_when_the_fetch_fails() {
    let (origin, proxy) = start().await;
    origin.replies(
        CALL,
        vec![reply("1", "max-age=10, stale-if-error=20"), Reply::new(500)],
    );
    get(&proxy).await;
    let gate = origin.hold(CALL);
    proxy.advance_seconds(29);
    let pending = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(2).await;
    proxy.advance_seconds(1);
    gate.open();
    pending.await.assert_status(500).assert_forwarded("stale");
}

#[tokio::test]
async fn must_revalidate_forbids_stale_if_error() {
    for rule in [
        "max-age=10, must-revalidate",
        "max-age=10, proxy-revalidate",
        "max-age=10, must-revalidate, stale-while-revalidate=60, stale-if-error=60",
        "s-maxage=10",
        "s-maxage=10, stale-if-error=60",
        "no-cache, stale-while-revalidate=60, stale-if-error=60",
        "max-age=10, stale-if-error=0",
    ] {
        let (origin, proxy) = start().await;
        origin.replies(
            CALL,
            vec![reply("1", rule).header("etag", "\"1\""), Reply::reset()],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy)
            .await
            .assert_problem(502, "connection_terminated")
            .assert_cache_status("stuut-cache; fwd=stale; detail=connection_terminated");
    }
}

#[tokio::test]
async fn a_refusal_or_missing_call_supersedes_the_stored_response() {
    for status in [401, 403, 404, 410] {
        let (origin, proxy) = start().await;
        origin.replies(
            CALL,
            vec![
                reply("1", "max-age=10, stale-if-error=600"),
                Reply::new(status),
                Reply::new(500),
            ],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy)
            .await
            .assert_forwarded("stale")
            .assert_status(status);
        proxy.advance_seconds(5);
        get(&proxy).await.assert_status(500);
    }
}

#[tokio::test]
async fn a_refusal_or_missing_call_with_a_truncated_body_counts() {
    for status in [401, 403, 404, 410] {
        for end in [
            Reply::new(status).body("no more").truncated_after(3),
            Reply::new(status).body("no more").truncated_chunks_after(3),
        ] {
            let (origin, proxy) = start().await;
            let rule = "max-age=10, stale-if-error=600";
            origin.replies(CALL, vec![reply("1", rule), end, Reply::new(500)]);
            get(&proxy).await;
            proxy.advance_seconds(10);
            get(&proxy)
                .await
                .assert_problem(502, "http_response_incomplete");
            get(&proxy).await.assert_status(500);
        }
    }
}

#[tokio::test]
async fn a_refusal_or_missing_call_counts_before_its_body_arrives() {
    for status in [401, 403, 404, 410] {
        let (origin, proxy) = start().await;
        let rule = "max-age=10, stale-while-revalidate=600, stale-if-error=600";
        let late = format!("HTTP/1.1 {status} No\r\ncontent-length: 9\r\n\r\nlate");
        origin.replies(
            CALL,
            vec![
                reply("1", rule),
                Reply::raw_kept_open(late),
                Reply::new(500),
            ],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy).await.assert_stale("stale-while-revalidate");
        origin.wait_for_requests(2).await;
        // `only-if-cached`, so that no request waits for the body.
        wait_until("a superseded response", async || {
            let get = proxy.get(CALL).bearer("a");
            let response = get.header("cache-control", "only-if-cached").await;
            response.status() == 504
        })
        .await;
    }
}

#[tokio::test]
async fn a_refusal_or_missing_call_counts_in_a_background_refresh() {
    for status in [401, 403, 404, 410] {
        let (origin, proxy) = start().await;
        origin.replies(
            CALL,
            vec![
                reply(
                    "1",
                    "max-age=10, stale-while-revalidate=600, stale-if-error=600",
                ),
                Reply::new(status),
                Reply::new(500),
            ],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy).await.assert_stale("stale-while-revalidate");
        let last = wait_for_other_body(&proxy, "1").await;
        // 401 and 403 are not stored; 404 and 410 are stored for five seconds.
        assert_eq!(
            last.status(),
            if status < 404 { 500 } else { status },
            "{last}"
        );
        proxy.advance_seconds(5);
        get(&proxy).await.assert_status(500);
    }
}
