//! `Retry-After`: a 429 backs off all fetches of its token, a 503 the fetches of its call.

use http::Method;

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

fn busy(status: u16, wait: &str) -> Reply {
    Reply::new(status).header("retry-after", wait).body("busy")
}

#[tokio::test]
async fn retry_after_backs_off_the_token_on_429_and_the_call_on_503() {
    const OTHER: &str = "/v1/calls/c2";
    for (status, blocked) in [(429, &[CALL, OTHER][..]), (503, &[CALL])] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        origin.replies(CALL, vec![busy(status, "4"), Reply::echo()]);
        // The origin's response itself is forwarded unchanged.
        let answer = proxy.get(CALL).bearer("a").await;
        answer
            .assert_status(status)
            .assert_header("retry-after", "4")
            .assert_body("busy");

        proxy.advance_seconds(1);
        for target in blocked {
            let answer = proxy.get(target).bearer("a").await;
            answer
                .assert_problem(status, "http_request_denied")
                .assert_header("retry-after", "3");
        }
        origin.assert_requests(1);
        // Other tokens and forwarded requests are not affected; by a 503, nor are other calls.
        proxy.get(CALL).bearer("b").await.assert_miss();
        let forwarded = proxy.request(Method::POST, "/v1/calls").bearer("a").await;
        forwarded.assert_status(200);
        if status == 503 {
            proxy.get(OTHER).bearer("a").await.assert_miss();
            let other_query = format!("{CALL}?page=2");
            proxy.get(&other_query).bearer("a").await.assert_miss();
        }

        proxy.advance_seconds(3);
        proxy.get(CALL).bearer("a").await.assert_status(200);
        let shed = "stuut_cache_upstream_shed_total{reason=\"retry_after\"}";
        let shed = proxy.metric(shed).await.to_string();
        assert_eq!(shed, blocked.len().to_string());
    }
}

#[tokio::test]
async fn stale_entries_are_served_during_the_backoff() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let good = Reply::json("{}").header("cache-control", "max-age=1");
    origin.replies(CALL, vec![good, busy(503, "4"), Reply::echo()]);
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(10);
    for _ in 0..5 {
        let answer = proxy.get(CALL).bearer("a").await;
        answer.assert_stale("stale-if-error").assert_body("{}");
    }
    origin.assert_requests(2);
    proxy.advance_seconds(5);
    proxy.get(CALL).bearer("a").await.assert_forwarded("stale");
    origin.assert_requests(3);
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date_up_to_a_maximum() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let in_four_seconds = proxy.date(4);
    let waits = [("3600", "5"), (in_four_seconds.as_str(), "4")];
    for (n, (wait, left)) in waits.into_iter().enumerate() {
        let token = format!("token-{n}");
        origin.reply(CALL, busy(503, wait));
        proxy.get(CALL).bearer(&token).await.assert_status(503);
        let answer = proxy.get(CALL).bearer(&token).await;
        answer
            .assert_problem(503, "http_request_denied")
            .assert_header("retry-after", left);
    }
    // No backoff without a valid value, or with another status.
    for (n, reply) in [Reply::new(503), busy(503, "soon"), busy(500, "7")]
        .into_iter()
        .enumerate()
    {
        let token = format!("other-{n}");
        let before = origin.requests().len();
        origin.reply(CALL, reply);
        for _ in 0..2 {
            proxy.get(CALL).bearer(&token).await;
        }
        origin.assert_requests(before + 2);
    }
}

#[tokio::test]
async fn concurrent_requests_of_one_token_share_one_429() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.replies(CALL, vec![busy(429, "5"), Reply::echo()]);
    let all: Vec<_> = (0..20)
        .map(|_| proxy.get(CALL).bearer("a").start())
        .collect();
    // Waiters share the response; later requests get a 429 from the proxy.
    for pending in all {
        pending.await.assert_status(429);
    }
    origin.assert_requests(1);
}
