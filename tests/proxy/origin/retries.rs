//! Retries: of idempotent requests that got no response byte, and of refused connections.

use std::time::Duration;

use http::Method;

use crate::support::{Origin, Proxy, RawConnection, RawOrigin, Reply};

const CALL: &str = "/v1/calls/c1";
const OTHER: &str = "/v1/other";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// Has one request answered; returns its connection, which is now in the pool.
async fn pooled(origin: &RawOrigin, proxy: &Proxy) -> RawConnection {
    let (first, upstream) = tokio::join!(proxy.get("/v1/first"), answered(origin, ANSWER));
    first.assert_status(200);
    upstream
}

/// Answers the request of the next connection.
async fn answered(origin: &RawOrigin, answer: &str) -> RawConnection {
    let mut upstream = origin.accept().await;
    upstream.read_request().await;
    upstream.send(answer).await;
    upstream
}

async fn retries(proxy: &Proxy, reason: &str) -> usize {
    let line = format!("stuut_cache_upstream_retries_total{{reason=\"{reason}\"}}");
    let counted = proxy.metric(&line).await.to_string();
    counted.parse().expect("a count")
}

/// The race of every pool: the origin closes the idle connection as the request is sent. A GET is
/// idempotent.
#[tokio::test]
async fn a_get_on_a_closed_pooled_connection_is_retried() {
    for (method, target) in [
        (Method::GET, CALL),
        (Method::GET, OTHER),
        (Method::HEAD, OTHER),
    ] {
        let origin = RawOrigin::start().await;
        let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
        let mut upstream = pooled(&origin, &proxy).await;
        let (answer, _upstream) = tokio::join!(proxy.request(method, target).bearer("a"), async {
            upstream.read_request().await;
            drop(upstream);
            answered(&origin, ANSWER).await
        });
        answer.assert_status(200);
        assert_eq!(retries(&proxy, "pooled").await, 1);
    }
}

#[tokio::test]
async fn a_retry_uses_a_new_connection_instead_of_a_pooled_one() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    // Two requests at once: two connections in the pool.
    let (one, other, mut connections) =
        tokio::join!(proxy.get("/v1/first"), proxy.get("/v1/second"), async {
            let mut connections = [origin.accept().await, origin.accept().await];
            for connection in &mut connections {
                connection.read_request().await;
            }
            for connection in &mut connections {
                connection.send(ANSWER).await;
            }
            connections
        });
    assert_eq!((one.status(), other.status()), (200, 200));

    let (answer, open) = tokio::join!(proxy.get(CALL).bearer("a"), async {
        let [one, other] = &mut connections;
        // Closes the one that gets the request; the other must not get the retry.
        let used = tokio::select! {
            _ = one.read_request() => 0,
            _ = other.read_request() => 1,
        };
        let mut rest = Vec::from(connections);
        drop(rest.remove(used));
        let mut fresh = origin.accept().await;
        fresh.read_request().await;
        fresh.send(ANSWER).await;
        (fresh, rest)
    });
    answer.assert_miss();
    drop(open);
}

/// The origin may have processed it.
#[tokio::test]
async fn a_post_is_not_retried() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut upstream = pooled(&origin, &proxy).await;
    let (answer, ()) = tokio::join!(proxy.request(Method::POST, OTHER).body("x"), async {
        upstream.read_request().await;
        drop(upstream);
    });
    answer.assert_problem(502, "connection_terminated");
    assert_eq!(retries(&proxy, "pooled").await, 0);
}

/// With its first byte the origin has begun to process the request.
#[tokio::test]
async fn a_request_is_not_retried_after_the_first_response_byte() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for target in [CALL, OTHER] {
        let mut upstream = pooled(&origin, &proxy).await;
        let (answer, ()) = tokio::join!(proxy.get(target).bearer("a"), async {
            upstream.read_request().await;
            upstream.send("H").await;
            drop(upstream);
        });
        answer.assert_problem(502, "connection_terminated");
    }
    assert_eq!(retries(&proxy, "pooled").await, 0);
    assert_eq!(retries(&proxy, "closed").await, 0);
}

/// A restarting origin may accept connections before it can answer.
#[tokio::test]
async fn a_get_on_a_new_connection_is_retried_once() {
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
async fn the_retry_budget_bounds_retries_when_every_request_fails() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.retries = 1;
        config.upstream.breaker_failures = 0;
        config.limits.in_flight = 40;
    })
    .await;
    let requests = 60;
    // At most one client's share of the origin slots at a time.
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
    // The reserve of the budget, and 1 % of the requests.
    let retried = retries(&proxy, "closed").await;
    assert!((40..=41).contains(&retried), "{retried} retries");
    let denied = proxy
        .metric("stuut_cache_upstream_retries_denied_total")
        .await;
    assert_eq!(denied.to_string(), (requests - retried).to_string());
    origin.assert_requests(requests + retried);
}

#[tokio::test]
async fn zero_retries_disables_connection_retries_too() {
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

/// Any request may be retried, an upload too: none of it has been sent.
#[tokio::test]
async fn a_short_outage_of_the_origin_fails_no_request() {
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
    crate::support::wait_until("a refused connection of each", async || {
        retries(&proxy, "connect").await >= pending.len()
    })
    .await;
    let origin = Origin::start_on(socket).await;
    for answer in pending {
        answer.await.assert_status(200);
    }
    origin.assert_requests(41);
}
