//! `Retry-After`: after a 429 the origin is not asked by that token before the time, after a 503 not
//! for that call.

use http::Method;

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

fn busy(status: u16, wait: &str) -> Reply {
    Reply::new(status).header("retry-after", wait).body("busy")
}

#[tokio::test]
async fn a_429_holds_its_token_and_a_503_its_call() {
    const OTHER: &str = "/v1/calls/c2";
    for (status, held) in [(429, &[CALL, OTHER][..]), (503, &[CALL])] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        origin.replies(CALL, vec![busy(status, "4"), Reply::echo()]);
        // What the origin says goes through as it is.
        let said = proxy.get(CALL).bearer("a").await;
        said.assert_status(status)
            .assert_header("retry-after", "4")
            .assert_body("busy");

        proxy.advance_seconds(1);
        for target in held {
            let answer = proxy.get(target).bearer("a").await;
            answer
                .assert_problem(status, "http_request_denied")
                .assert_header("retry-after", "3");
        }
        origin.assert_requests(1);
        // Other tokens are not concerned, nor what is forwarded; after a 503 no other call.
        proxy.get(CALL).bearer("b").await.assert_miss();
        let written = proxy.request(Method::POST, "/v1/calls").bearer("a").await;
        written.assert_status(200);
        if status == 503 {
            proxy.get(OTHER).bearer("a").await.assert_miss();
            let other_query = format!("{CALL}?page=2");
            proxy.get(&other_query).bearer("a").await.assert_miss();
        }

        proxy.advance_seconds(3);
        proxy.get(CALL).bearer("a").await.assert_status(200);
        let shed = "stuut_cache_upstream_shed_total{reason=\"retry_after\"}";
        let shed = proxy.metric(shed).await.to_string();
        assert_eq!(shed, held.len().to_string());
    }
}

#[tokio::test]
async fn what_may_be_served_stale_is_served_meanwhile() {
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
async fn a_wait_is_a_date_or_seconds_and_has_its_longest() {
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
    // Where it does not say for how long, or nothing that makes sense, it is asked again.
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
async fn a_crowd_of_one_token_hears_it_once() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.replies(CALL, vec![busy(429, "5"), Reply::echo()]);
    let all: Vec<_> = (0..20)
        .map(|_| proxy.get(CALL).bearer("a").start())
        .collect();
    // Whoever came in time shares the answer, the others are told the same without asking.
    for one in all {
        one.await.assert_status(429);
    }
    origin.assert_requests(1);
}
