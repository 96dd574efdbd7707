//! Request coalescing: one fetch in flight per key.

use std::time::Duration;

use http::Method;

use crate::support::{Clients, Gate, Origin, Pending, Proxy, Reply, wait_until};

const CALL: &str = "/v1/calls/c1";

/// An origin that holds back its replies to the call.
async fn start_held() -> (Origin, Proxy, Gate) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let gate = origin.hold(CALL);
    (origin, proxy, gate)
}

/// A request that has reached the origin, and `count` that wait for its fetch.
async fn leader_and_waiters(origin: &Origin, proxy: &Proxy, count: u32) -> (Pending, Vec<Pending>) {
    let leader = proxy.get(CALL).bearer("a").over_http2().start();
    origin.wait_for_requests(1).await;
    let waiting = (0..count)
        .map(|_| proxy.get(CALL).bearer("a").over_http2().start())
        .collect();
    wait_for_waiters(proxy, count).await;
    (leader, waiting)
}

/// Waits until `count` requests wait in addition to the leader.
async fn wait_for_waiters(proxy: &Proxy, count: u32) {
    wait_for_in_flight(proxy, count + 1).await;
}

async fn wait_for_in_flight(proxy: &Proxy, count: u32) {
    proxy.wait_for_metric("stuut_cache_in_flight", count).await;
}

/// The number of responses shared from another request's fetch.
async fn collapsed_count(proxy: &Proxy) -> String {
    let count = proxy.metric("stuut_cache_collapsed_total").await;
    count.to_string()
}

#[tokio::test]
async fn two_hundred_concurrent_clients_cause_one_fetch() {
    let (origin, proxy, gate) = start_held().await;
    let all: Vec<_> = (0..200)
        .map(|_| proxy.get(CALL).bearer("a").start())
        .collect();
    wait_for_waiters(&proxy, 199).await;
    gate.open();

    let (mut bodies, mut collapsed) = (Vec::new(), 0);
    for one in all {
        let response = one.await.assert_status(200).assert_forwarded("miss");
        collapsed += usize::from(response.cache_status().ends_with("; collapsed"));
        bodies.push(response.text());
    }
    bodies.dedup();
    assert_eq!((bodies.len(), collapsed), (1, 199));
    assert_eq!(collapsed_count(&proxy).await, "199");
    origin.assert_requests(1);
}

#[tokio::test]
async fn a_leader_that_disconnects_does_not_cancel_the_fetch() {
    let (origin, proxy, gate) = start_held().await;
    let (leader, waiting) = leader_and_waiters(&origin, &proxy, 3).await;
    leader.hang_up().await;
    wait_for_in_flight(&proxy, 3).await;
    gate.open();
    for one in waiting {
        one.await.assert_cache_status(
            "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60; collapsed",
        );
    }
    origin.assert_requests(1);
}

#[tokio::test]
async fn a_fetch_without_waiting_clients_is_still_stored() {
    let (origin, proxy, gate) = start_held().await;
    let (leader, waiting) = leader_and_waiters(&origin, &proxy, 2).await;
    for one in waiting.into_iter().chain([leader]) {
        one.hang_up().await;
    }
    wait_for_in_flight(&proxy, 0).await;
    gate.open();
    proxy.wait_for_metric("stuut_cache_entries", 1).await;
    proxy.get(CALL).bearer("a").await.assert_hit();
    origin.assert_requests(1);
}

#[tokio::test]
async fn waiters_of_an_unshareable_response_fetch_concurrently() {
    for unshared in [
        Reply::echo().header("cache-control", "no-store"),
        Reply::echo().header("set-cookie", "s=1"),
        Reply::echo().header("vary", "*"),
        Reply::echo().until_close(),
    ] {
        let (origin, proxy, gate) = start_held().await;
        origin.reply(CALL, unshared);
        let (leader, waiting) = leader_and_waiters(&origin, &proxy, 9).await;
        gate.open();
        leader.await.assert_status(200);
        // All of them reach the origin before any response: they do not queue.
        origin.wait_for_requests(10).await;
        gate.open_for_all();
        let mut numbers = Vec::new();
        for one in waiting {
            let response = one.await.assert_status(200);
            assert!(!response.cache_status().contains("collapsed"), "{response}");
            numbers.push(response.json()["number"].as_u64());
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 9, "each has its own response");
        assert_eq!(collapsed_count(&proxy).await, "0");
        origin.assert_requests(10);
    }
}

/// Makes the last response of the call an uncacheable one.
async fn fetch_uncacheable(origin: &Origin, proxy: &Proxy) {
    origin.reply(CALL, Reply::echo().header("cache-control", "no-store"));
    let response = proxy.get(CALL).bearer("a").await;
    response.assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=no-store");
}

/// Without a leader, whose head they would wait for (hit-for-miss).
#[tokio::test]
async fn requests_for_an_uncacheable_call_do_not_queue() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    fetch_uncacheable(&origin, &proxy).await;
    let gate = origin.hold(CALL);
    let all: Vec<_> = (0..10)
        .map(|_| proxy.get(CALL).bearer("a").start())
        .collect();
    // All of them reach the origin before it responds to any.
    origin.wait_for_requests(11).await;
    gate.open_for_all();
    for one in all {
        let response = one.await.assert_status(200);
        assert!(!response.cache_status().contains("collapsed"), "{response}");
    }
    assert_eq!(collapsed_count(&proxy).await, "0");
    origin.assert_requests(11);
}

#[tokio::test]
async fn requests_are_coalesced_again_after_a_cacheable_response() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    fetch_uncacheable(&origin, &proxy).await;
    origin.reply(CALL, Reply::echo());
    proxy.get(CALL).bearer("a").await.assert_miss();
    let purge = proxy.admin(Method::POST, "/purge?all");
    purge.await.assert_status(200);
    assert_coalesced(&origin, &proxy, "a").await;
}

#[tokio::test]
async fn requests_are_coalesced_again_after_a_few_seconds() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    fetch_uncacheable(&origin, &proxy).await;
    proxy.advance_seconds(5);
    assert_coalesced(&origin, &proxy, "a").await;
}

/// Another token may get a cacheable response.
#[tokio::test]
async fn an_uncacheable_response_concerns_one_token() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    fetch_uncacheable(&origin, &proxy).await;
    assert_coalesced(&origin, &proxy, "b").await;
}

/// Asserts that concurrent requests of this token cause one fetch.
async fn assert_coalesced(origin: &Origin, proxy: &Proxy, token: &str) {
    origin.reply(CALL, Reply::echo());
    let (before, gate) = (origin.requests().len(), origin.hold(CALL));
    let all: Vec<_> = (0..10)
        .map(|_| proxy.get(CALL).bearer(token).start())
        .collect();
    wait_for_waiters(proxy, 9).await;
    gate.open_for_all();
    for one in all {
        one.await.assert_status(200);
    }
    assert_eq!(collapsed_count(proxy).await, "9");
    origin.assert_requests(before + 1);
}

#[tokio::test]
async fn waiters_do_not_wait_for_an_unshareable_body() {
    for field in ["cache-control: no-store", "set-cookie: s=1", "vary: *"] {
        let (origin, proxy, gate) = start_held().await;
        let unfinished = format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 9\r\n\r\nto come");
        origin.replies(CALL, vec![Reply::raw_kept_open(unfinished), Reply::echo()]);
        let (leader, waiting) = leader_and_waiters(&origin, &proxy, 3).await;
        gate.open_for_all();
        for one in waiting {
            one.await.assert_status(200);
        }
        leader.hang_up().await;
    }
}

#[tokio::test]
async fn an_unshareable_error_is_not_shared() {
    for field in [
        ("set-cookie", "session=of-the-first"),
        ("cache-control", "no-store"),
        ("vary", "*"),
    ] {
        for status in [429, 500] {
            let (origin, proxy, gate) = start_held().await;
            let first = Reply::new(status).header(field.0, field.1);
            origin.replies(CALL, vec![first, Reply::new(status)]);
            let (leader, waiting) = leader_and_waiters(&origin, &proxy, 2).await;
            gate.open_for_all();
            leader.await.assert_header(field.0, field.1);
            for one in waiting {
                let response = one.await.assert_status(status).assert_no_header(field.0);
                assert!(!response.cache_status().contains("collapsed"), "{response}");
            }
        }
    }
}

#[tokio::test]
async fn an_error_is_shared_with_waiters_and_not_stored() {
    for (failure, status, details) in [
        (
            Reply::new(500),
            500,
            "fwd-status=500; collapsed; detail=no-freshness",
        ),
        (
            Reply::new(401),
            401,
            "fwd-status=401; collapsed; detail=status",
        ),
        (
            Reply::new(429),
            429,
            "fwd-status=429; collapsed; detail=status",
        ),
        (Reply::reset(), 502, "detail=connection_terminated"),
        (
            Reply::json("12345").truncated_after(2),
            502,
            "detail=http_response_incomplete",
        ),
        (
            Reply::json("12345").truncated_chunks_after(2),
            502,
            "detail=http_response_incomplete",
        ),
    ] {
        // Without any response byte, the request is retried once.
        let attempts = if details == "detail=connection_terminated" {
            2
        } else {
            1
        };
        let (origin, proxy, gate) = start_held().await;
        origin.reply(CALL, failure);
        let (leader, waiting) = leader_and_waiters(&origin, &proxy, 3).await;
        gate.open_for_all();
        leader.await.assert_status(status);
        for one in waiting {
            one.await
                .assert_status(status)
                .assert_cache_status(&format!("stuut-cache; fwd=miss; {details}"));
        }
        origin.assert_requests(attempts);
        proxy
            .get(CALL)
            .bearer("a")
            .await
            .assert_miss()
            .assert_status(status);
        origin.assert_requests(2 * attempts);
    }
}

#[tokio::test]
async fn a_waiter_for_another_variant_fetches_its_own() {
    let (origin, proxy, gate) = start_held().await;
    origin.reply(CALL, Reply::echo().header("vary", "accept"));
    let plain = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(1).await;
    let same = proxy.get(CALL).bearer("a").start();
    let other = proxy
        .get(CALL)
        .bearer("a")
        .header("accept", "text/csv")
        .start();
    wait_for_waiters(&proxy, 2).await;
    gate.open_for_all();
    let plain = plain.await.text();
    same.await.assert_body(plain);
    let other = other.await.assert_forwarded("miss");
    assert_eq!(other.json()["number"], 2);
    assert_eq!(
        origin.last_request().header("accept").as_deref(),
        Some("text/csv")
    );
    proxy
        .get(CALL)
        .bearer("a")
        .header("accept", "text/csv")
        .await
        .assert_hit()
        .assert_body(other.text());
    origin.assert_requests(2);
}

#[tokio::test]
async fn views_and_head_requests_of_a_call_share_one_fetch() {
    let (origin, proxy, gate) = start_held().await;
    origin.reply(CALL, Reply::json("{\"a\":1,\"b\":2}"));
    let (leader, _) = leader_and_waiters(&origin, &proxy, 0).await;
    let view = proxy.get("/v1/calls/c1?strip=a").bearer("a").start();
    let head = proxy.request(Method::HEAD, CALL).bearer("a").start();
    wait_for_waiters(&proxy, 2).await;
    gate.open();
    leader.await.assert_body("{\"a\":1,\"b\":2}");
    view.await.assert_body("{\"b\":2}");
    head.await
        .assert_header("content-length", "13")
        .assert_body("");
    origin.assert_requests(1);
}

#[tokio::test]
async fn no_store_requests_are_not_coalesced() {
    let (origin, proxy, gate) = start_held().await;
    let (leader, _) = leader_and_waiters(&origin, &proxy, 0).await;
    let uncoalesced: Vec<_> = (0..2)
        .map(|_| {
            let request = proxy.get(CALL).bearer("a");
            request.header("cache-control", "no-store").start()
        })
        .collect();
    origin.wait_for_requests(3).await;
    gate.open_for_all();
    leader.await.assert_status(200);
    for one in uncoalesced {
        one.await
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=request-no-store");
    }
    assert_eq!(collapsed_count(&proxy).await, "0");
}

#[tokio::test]
async fn a_forced_revalidation_does_not_join_an_older_fetch() {
    for directive in ["no-cache", "max-age=0"] {
        let (origin, proxy, gate) = start_held().await;
        origin.replies(CALL, vec![Reply::json("\"old\""), Reply::json("\"new\"")]);
        let first = proxy.get(CALL).bearer("a").start();
        origin.wait_for_requests(1).await;
        // The call changes without the proxy's knowledge, and its writer reads it.
        let second = proxy
            .get(CALL)
            .bearer("a")
            .header("cache-control", directive);
        let second = second.start();
        origin.wait_for_requests(2).await;
        // A request that arrives now may join the newer fetch.
        let third = proxy.get(CALL).bearer("a").start();
        wait_for_in_flight(&proxy, 3).await;
        gate.open_for_all();
        first.await.assert_body("\"old\"");
        second.await.assert_body("\"new\"");
        third.await.assert_body("\"new\"");
        let stored = proxy.get(CALL).bearer("a").await;
        stored.assert_hit().assert_body("\"new\"");
        origin.assert_requests(2);
    }
}

#[tokio::test]
async fn concurrent_requests_of_two_tokens_are_not_coalesced() {
    let (origin, proxy, gate) = start_held().await;
    let both = ["a", "b"].map(|token| proxy.get(CALL).bearer(token).start());
    origin.wait_for_requests(2).await;
    gate.open_for_all();
    for (token, one) in ["a", "b"].into_iter().zip(both) {
        let response = one.await;
        assert_eq!(response.json()["authorization"], format!("Bearer {token}"));
    }
}

#[tokio::test]
async fn waiters_of_a_silent_origin_get_504() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.total_timeout = Duration::from_millis(300);
    })
    .await;
    origin.hold(CALL);
    let all: Vec<_> = (0..3)
        .map(|_| proxy.get(CALL).bearer("a").start())
        .collect();
    for one in all {
        one.await.assert_problem(504, "http_response_timeout");
    }
    wait_for_in_flight(&proxy, 0).await;
    // No fetch is left that the next request would wait for.
    let before = origin.requests().len();
    let gate = origin.hold(CALL);
    gate.open_for_all();
    proxy.get(CALL).bearer("a").await.assert_status(200);
    assert_eq!(origin.requests().len(), before + 1);
}

#[tokio::test]
async fn a_stale_response_is_revalidated_once_for_all_waiters() {
    let (origin, proxy, gate) = start_held().await;
    origin.replies(
        CALL,
        vec![
            Reply::json("{}")
                .header("etag", "\"1\"")
                .header("cache-control", "max-age=10"),
            Reply::new(304).header("etag", "\"1\""),
        ],
    );
    gate.open();
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(10);
    let all: Vec<_> = (0..5)
        .map(|_| proxy.get(CALL).bearer("a").start())
        .collect();
    wait_for_waiters(&proxy, 4).await;
    gate.open();
    for one in all {
        one.await.assert_forwarded("stale").assert_body("{}");
    }
    origin.assert_requests(2);
}

#[tokio::test]
async fn all_waiters_get_their_response_before_shutdown() {
    let (origin, proxy, gate) = start_held().await;
    let (leader, waiting) = leader_and_waiters(&origin, &proxy, 3).await;
    let (clients, admin) = (Clients::new(), proxy.admin);
    let stopping = tokio::spawn(proxy.stop());
    wait_until("a drain", async || {
        clients
            .request(admin, Method::GET, "/readyz")
            .await
            .status()
            == 503
    })
    .await;
    gate.open();
    for one in waiting.into_iter().chain([leader]) {
        one.await.assert_status(200);
    }
    stopping.await.expect("stopping does not panic");
    origin.assert_requests(1);
}
