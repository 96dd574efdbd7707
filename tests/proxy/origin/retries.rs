//! What is tried once more, and what is not: a request that may be repeated and died unanswered,
//! and a connection that is refused.

use std::time::Duration;

use http::Method;

use crate::support::{Origin, Proxy, RawConnection, RawOrigin, Reply};

const CALL: &str = "/v1/calls/c1";
const OTHER: &str = "/v1/other";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// An answered request, and its connection, which is pooled from now on.
async fn pooled(origin: &RawOrigin, proxy: &Proxy) -> RawConnection {
    let (first, line) = tokio::join!(proxy.get("/v1/first"), answered(origin, ANSWER));
    first.assert_status(200);
    line
}

/// Answers the next connection's request.
async fn answered(origin: &RawOrigin, answer: &str) -> RawConnection {
    let mut line = origin.accept().await;
    line.read_request().await;
    line.send(answer).await;
    line
}

async fn retries(proxy: &Proxy, reason: &str) -> usize {
    let line = format!("stuut_cache_upstream_retries_total{{reason=\"{reason}\"}}");
    let counted = proxy.metric(&line).await.to_string();
    counted.parse().expect("a count")
}

/// The race that every pool knows: the origin closes just as it is asked. It can have done
/// nothing that a GET may not be told to do again. The second try meets no second such
/// connection: it has one of its own.
#[tokio::test]
async fn a_pooled_connection_that_dies_under_a_get_costs_one_more_try() {
    for (method, target) in [
        (Method::GET, CALL),
        (Method::GET, OTHER),
        (Method::HEAD, OTHER),
    ] {
        let origin = RawOrigin::start().await;
        let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
        let mut line = pooled(&origin, &proxy).await;
        let (answer, _line) = tokio::join!(proxy.request(method, target).bearer("a"), async {
            line.read_request().await;
            drop(line);
            answered(&origin, ANSWER).await
        });
        answer.assert_status(200);
        assert_eq!(retries(&proxy, "pooled").await, 1);
    }
}

#[tokio::test]
async fn the_second_try_does_not_take_another_connection_from_the_pool() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    // Two requests at once: two connections in the pool.
    let (one, other, mut lines) =
        tokio::join!(proxy.get("/v1/first"), proxy.get("/v1/second"), async {
            let mut lines = [origin.accept().await, origin.accept().await];
            for line in &mut lines {
                line.read_request().await;
            }
            for line in &mut lines {
                line.send(ANSWER).await;
            }
            lines
        });
    assert_eq!((one.status(), other.status()), (200, 200));

    let (answer, line) = tokio::join!(proxy.get(CALL).bearer("a"), async {
        let [one, other] = &mut lines;
        // Whichever is taken dies, as does the other if it is asked after all.
        let asked = tokio::select! {
            _ = one.read_request() => 0,
            _ = other.read_request() => 1,
        };
        let mut rest = Vec::from(lines);
        drop(rest.remove(asked));
        let mut fresh = origin.accept().await;
        fresh.read_request().await;
        fresh.send(ANSWER).await;
        (fresh, rest)
    });
    answer.assert_miss();
    drop(line);
}

/// It may have done what it was asked to do.
#[tokio::test]
async fn a_post_is_not_sent_again() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut line = pooled(&origin, &proxy).await;
    let (answer, ()) = tokio::join!(proxy.request(Method::POST, OTHER).body("x"), async {
        line.read_request().await;
        drop(line);
    });
    answer.assert_problem(502, "connection_terminated");
    assert_eq!(retries(&proxy, "pooled").await, 0);
}

/// What it has begun to say, it has made up its mind about.
#[tokio::test]
async fn what_dies_behind_the_first_byte_of_an_answer_is_not_sent_again() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for target in [CALL, OTHER] {
        let mut line = pooled(&origin, &proxy).await;
        let (answer, ()) = tokio::join!(proxy.get(target).bearer("a"), async {
            line.read_request().await;
            line.send("H").await;
            drop(line);
        });
        answer.assert_problem(502, "connection_terminated");
    }
    assert_eq!(retries(&proxy, "pooled").await, 0);
    assert_eq!(retries(&proxy, "closed").await, 0);
}

/// An origin that starts anew takes connections a moment before it can answer.
#[tokio::test]
async fn a_get_is_sent_twice_and_no_third_time() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for target in [CALL, OTHER] {
        origin.replies(target, vec![Reply::reset(), Reply::echo()]);
        proxy.get(target).bearer("a").await.assert_status(200);
    }
    assert_eq!(retries(&proxy, "closed").await, 2);
    origin.assert_requests(4);

    let target = "/v1/calls/c2";
    origin.replies(target, vec![Reply::reset(), Reply::reset(), Reply::echo()]);
    let answer = proxy.get(target).bearer("a").await;
    answer.assert_problem(502, "connection_terminated");
    origin.assert_requests(6);
}

#[tokio::test]
async fn an_origin_that_ends_every_request_is_not_asked_twice_as_often() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.retries = 1;
        config.upstream.breaker_failures = 0;
        config.limits.in_flight = 40;
    })
    .await;
    let asked = 60;
    // No more at once than one client may have places.
    for _ in 0..3 {
        let mut pending = Vec::new();
        for _ in 0..20 {
            let target = format!("/v1/other/{}", pending.len());
            origin.reply(&target, Reply::reset());
            pending.push(proxy.get(&target).start());
        }
        for answer in pending {
            answer.await.assert_problem(502, "connection_terminated");
        }
    }
    // The reserve, and one of a hundred.
    let again = retries(&proxy, "closed").await;
    assert!((40..=41).contains(&again), "{again} were sent again");
    let denied = proxy
        .metric("stuut_cache_upstream_retries_denied_total")
        .await;
    assert_eq!(denied.to_string(), (asked - again).to_string());
    origin.assert_requests(asked + again);
}

#[tokio::test]
async fn without_retries_nothing_is_tried_twice() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.upstream.retries = 0).await;
    origin.reply(CALL, Reply::reset());
    let answer = proxy.get(CALL).bearer("a").await;
    answer.assert_problem(502, "connection_terminated");
    origin.assert_requests(1);

    origin.stop_listening().await;
    let answer = proxy.get(OTHER).await;
    answer.assert_problem(502, "connection_refused");
    for reason in ["closed", "connect"] {
        assert_eq!(retries(&proxy, reason).await, 0);
    }
}

/// Whatever is asked: an upload too, since nothing of it has been sent.
#[tokio::test]
async fn an_origin_that_is_gone_for_a_moment_loses_no_request() {
    let (address, socket) = Origin::reserve_port();
    let proxy = Proxy::in_front_of(&format!("http://{address}"), |config| {
        config.upstream.connect_timeout = Duration::from_mins(1);
    })
    .await;

    let mut pending = vec![proxy.request(Method::POST, OTHER).body("x").start()];
    for n in 0..20 {
        let target = format!("/v1/calls/c{n}");
        pending.push(proxy.get(&target).bearer("a").start());
        pending.push(proxy.get(OTHER).start());
    }
    // Each of them has been refused.
    crate::support::wait_until("a refusal of each", async || {
        retries(&proxy, "connect").await >= pending.len()
    })
    .await;
    let origin = Origin::start_on(socket).await;
    for answer in pending {
        answer.await.assert_status(200);
    }
    origin.assert_requests(41);
}
