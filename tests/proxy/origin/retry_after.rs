//! An origin that asks a token to wait (429, 503 with `Retry-After`) is not asked by it again
//! before the time.

use http::Method;

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

fn busy(status: u16, wait: &str) -> Reply {
    Reply::new(status).header("retry-after", wait).body("busy")
}

#[tokio::test]
async fn a_token_that_is_to_wait_is_told_so_without_asking() {
    for status in [429, 503] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        origin.replies(CALL, vec![busy(status, "7"), Reply::echo()]);
        // What the origin says goes through as it is.
        let said = proxy.get(CALL).bearer("a").await;
        said.assert_status(status)
            .assert_header("retry-after", "7")
            .assert_body("busy");

        proxy.pass_seconds(3);
        for target in [CALL, "/v1/calls/c2"] {
            let answer = proxy.get(target).bearer("a").await;
            answer
                .assert_problem(status, "http_request_denied")
                .assert_header("retry-after", "4");
        }
        origin.assert_requests(1);
        // It is between the origin and that token, and about calls.
        proxy.get("/v1/calls/c2").bearer("b").await.assert_miss();
        let written = proxy.request(Method::POST, "/v1/calls").bearer("a").await;
        written.assert_status(200);
        origin.assert_requests(3);

        proxy.pass_seconds(4);
        proxy.get(CALL).bearer("a").await.assert_status(200);
        let shed = "stuut_cache_upstream_shed_total{reason=\"retry_after\"}";
        assert_eq!(proxy.metric(shed).await.to_string(), "2");
    }
}

#[tokio::test]
async fn what_may_be_served_stale_is_served_meanwhile() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let good = Reply::json("{}").header("cache-control", "max-age=1");
    origin.replies(CALL, vec![good, busy(503, "20"), Reply::echo()]);
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.pass_seconds(10);
    for _ in 0..5 {
        let answer = proxy.get(CALL).bearer("a").await;
        answer.assert_stale("stale-if-error").assert_body("{}");
    }
    origin.assert_requests(2);
    proxy.pass_seconds(20);
    proxy.get(CALL).bearer("a").await.assert_forwarded("stale");
    origin.assert_requests(3);
}

#[tokio::test]
async fn a_wait_is_a_date_or_seconds_and_has_its_longest() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let in_nine_seconds = proxy.date(9);
    let waits = [("3600", "60"), (in_nine_seconds.as_str(), "9")];
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
        let before = origin.seen().len();
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
