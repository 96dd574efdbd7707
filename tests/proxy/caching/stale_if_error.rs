//! Stale responses for an origin that fails, and refusals that end them.

use std::time::Duration;

use super::stale::{CALL, get, pair, reply, until_landed, until_not};
use crate::support::{Reply, wait_until};

/// All the ways an origin can fail that a stale response may stand in for.
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

/// Somebody in front of the origin cannot reach it, and says so by a number of its own: a status
/// that is not known counts as the 500 of its class (RFC 9110 §15).
#[tokio::test]
async fn an_error_of_the_server_that_nobody_has_registered_ended_what_was_stored() {
    for status in [509, 520, 522, 530, 599] {
        let (origin, proxy) = pair().await;
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
    // These are known, and say something of the request or of what it asks for.
    for status in [501, 505, 506, 507, 508, 510, 511] {
        let (origin, proxy) = pair().await;
        let news = Reply::new(status);
        origin.replies(
            CALL,
            vec![reply("1", "max-age=10, stale-if-error=20"), news],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy).await.assert_status(status);
    }
}

#[tokio::test]
async fn a_stale_response_stands_in_for_an_origin_that_fails() {
    for failure in failures() {
        let (origin, proxy) = pair().await;
        let said = format!("{failure:?}");
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
        let answer = get(&proxy).await.assert_forwarded("stale");
        assert_ne!(answer.status(), 200, "{said}: {answer}");
    }
}

#[tokio::test]
async fn after_a_failure_stale_is_served_at_once_while_one_retry_runs() {
    let (origin, proxy) = pair().await;
    let failures = (0..3).map(|_| Reply::new(500));
    let good = reply("1", "max-age=10, stale-if-error=600");
    origin.replies(CALL, std::iter::once(good).chain(failures).collect());
    get(&proxy).await;
    proxy.advance_seconds(10);
    get(&proxy).await.assert_stale("stale-if-error");
    origin.assert_requests(2);

    // No request waits for the origin now, and only one of them asks it again.
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

    // Then the origin is asked as before.
    proxy.advance_seconds(30);
    get(&proxy).await.assert_stale("stale-if-error");
    origin.assert_requests(4);
}

/// Also within its window to revalidate: an origin that fails at once is not asked by each request.
#[tokio::test]
async fn after_a_failed_refresh_one_retry_runs() {
    let (origin, proxy) = pair().await;
    let good = reply("1", "max-age=10, stale-while-revalidate=60");
    origin.replies(CALL, vec![good, Reply::new(500)]);
    get(&proxy).await;
    proxy.advance_seconds(10);
    for requests in [2, 3, 3, 3] {
        get(&proxy).await.assert_stale("stale-while-revalidate");
        origin.wait_for_requests(requests).await;
        until_landed(&proxy).await;
    }
    origin.assert_requests(3);
    proxy.advance_seconds(5);
    get(&proxy).await.assert_stale("stale-while-revalidate");
    origin.wait_for_requests(4).await;
}

/// The fetch that it met is for a variant of its own, and says nothing of this one.
#[tokio::test]
async fn a_retry_that_does_not_run_holds_up_no_other() {
    let (origin, proxy) = pair().await;
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
async fn an_answer_to_the_retry_ends_the_stale_one() {
    let (origin, proxy) = pair().await;
    let rule = "max-age=10, stale-if-error=600";
    origin.replies(
        CALL,
        vec![reply("1", rule), Reply::new(503), reply("2", rule)],
    );
    get(&proxy).await;
    proxy.advance_seconds(10);
    get(&proxy).await.assert_stale("stale-if-error");
    until_not(&proxy, "1").await.assert_hit().assert_body("2");
}

#[tokio::test]
async fn an_origin_that_is_gone_is_stood_in_for_by_the_settings() {
    let (origin, proxy) = pair().await;
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
async fn the_window_is_judged_when_the_origin_has_failed_not_when_it_was_asked() {
    let (origin, proxy) = pair().await;
    origin.replies(
        CALL,
        vec![reply("1", "max-age=10, stale-if-error=20"), Reply::new(500)],
    );
    get(&proxy).await;
    let gate = origin.hold(CALL);
    proxy.advance_seconds(29);
    let asking = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(2).await;
    proxy.advance_seconds(1);
    gate.open();
    asking.await.assert_status(500).assert_forwarded("stale");
}

#[tokio::test]
async fn what_forbids_stale_use_forbids_it_on_a_broken_origin_too() {
    for rule in [
        "max-age=10, must-revalidate",
        "max-age=10, proxy-revalidate",
        "max-age=10, must-revalidate, stale-while-revalidate=60, stale-if-error=60",
        "s-maxage=10",
        "s-maxage=10, stale-if-error=60",
        "no-cache, stale-while-revalidate=60, stale-if-error=60",
        "max-age=10, stale-if-error=0",
    ] {
        let (origin, proxy) = pair().await;
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
async fn a_refusal_or_a_missing_call_ends_what_was_stored() {
    for status in [401, 403, 404, 410] {
        let (origin, proxy) = pair().await;
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
async fn a_refusal_or_a_missing_call_whose_body_breaks_off_is_no_failure() {
    for status in [401, 403, 404, 410] {
        for end in [
            Reply::new(status).body("no more").truncated_after(3),
            Reply::new(status).body("no more").truncated_chunks_after(3),
        ] {
            let (origin, proxy) = pair().await;
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
async fn a_refusal_or_a_missing_call_counts_while_its_body_is_still_to_come() {
    for status in [401, 403, 404, 410] {
        let (origin, proxy) = pair().await;
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
        // Another variant of the request, so that nobody waits for the body.
        wait_until("its end", async || {
            let fresh = proxy.get(CALL).bearer("a");
            let answer = fresh.header("cache-control", "only-if-cached").await;
            answer.status() == 504
        })
        .await;
    }
}

#[tokio::test]
async fn a_refusal_or_a_missing_call_ends_it_also_in_the_background() {
    for status in [401, 403, 404, 410] {
        let (origin, proxy) = pair().await;
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
        let end = until_not(&proxy, "1").await;
        // 401 and 403 are not stored, 404 and 410 are for five seconds.
        assert_eq!(
            end.status(),
            if status < 404 { 500 } else { status },
            "{end}"
        );
        proxy.advance_seconds(5);
        get(&proxy).await.assert_status(500);
    }
}
