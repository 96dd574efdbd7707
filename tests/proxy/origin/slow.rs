//! Slow and endless origins: the timeouts of fetches and forwarded requests, on a simulated clock.

use std::time::Duration;

use http::Method;

use crate::support::{FaultyOrigin, Origin, Proxy, RawOrigin, Request, Step, wait_until};

const CALL: &str = "/v1/calls/c1";
const OTHER: &str = "/v1/other";

#[tokio::test]
async fn total_timeout_fails_the_leader_and_all_waiters_of_a_slow_body() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let leader = proxy.get(CALL).bearer("a").start();
    let mut upstream = origin.accept().await;
    upstream.read_request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
        .await;
    let mut waiters = Vec::new();
    for second in 1..=29 {
        upstream.send("x").await;
        proxy
            .wait_for_metric("stuut_cache_upstream_bytes_total", second)
            .await;
        if second < 20 {
            waiters.push(proxy.get(CALL).bearer("a").start());
            proxy
                .wait_for_metric("stuut_cache_in_flight", second + 1)
                .await;
        }
        proxy.advance_waiters(1);
    }
    upstream.send("x").await;
    proxy
        .wait_for_metric("stuut_cache_upstream_bytes_total", 30)
        .await;
    proxy.advance_waiters(1);
    for pending in std::iter::once(leader).chain(waiters) {
        pending.await.assert_problem(504, "http_response_timeout");
    }
    let entries = proxy.metric("stuut_cache_entries").await;
    assert_eq!(entries.to_string(), "0");
    let (answer, ()) = tokio::join!(proxy.get(CALL).bearer("a"), async {
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        upstream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            .await;
    });
    answer.assert_miss().assert_body("{}");
}

/// The gzip response has `no-transform`, so the fetch requests `identity`, which is not answered.
#[tokio::test]
async fn a_fetch_with_a_second_request_has_one_deadline() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.upstream.response_timeout = config.upstream.total_timeout;
    })
    .await;
    let pending = proxy.get(CALL).bearer("a").start();
    let mut upstream = origin.accept().await;
    upstream.read_request().await;
    proxy.advance_waiters(20);
    upstream
        .send(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncache-control: no-transform\r\n\
         content-length: 0\r\n\r\n",
        )
        .await;
    let second = async {
        tokio::select! {
            request = upstream.read_request() => (request, None),
            mut other = origin.accept() => (other.read_request().await, Some(other)),
        }
    };
    let (request, _other) = second.await;
    assert_eq!(
        request.header("accept-encoding").as_deref(),
        Some("identity")
    );
    proxy.advance_waiters(10);
    pending.await.assert_problem(504, "http_response_timeout");
}

/// It is too large to store, and is streamed while its client reads.
#[tokio::test]
async fn an_endless_body_is_aborted_when_its_client_disconnects() {
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let origin = FaultyOrigin::start(&[
        Step::Send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()),
        Step::SendForever(chunk.into_bytes()),
    ])
    .await;
    let proxy = Proxy::in_front_of(&format!("http://{}", origin.address), |_| {}).await;
    for target in [CALL, OTHER] {
        let mut client = proxy.raw_connection().await;
        client
            .send(format!(
                "GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n"
            ))
            .await;
        client.read_head().await;
        for _ in 0..10 {
            client.read_exact(1 << 20).await;
        }
        drop(client);
        wait_until("the close at the origin", async || origin.is_idle()).await;
    }
    proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
    let entries = proxy.metric("stuut_cache_entries").await;
    assert_eq!(entries.to_string(), "0");
}

/// Each byte restarts the timeout.
#[tokio::test]
async fn a_forwarded_body_may_be_slow_but_not_silent() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let pending = proxy.get(OTHER).start();
    let mut upstream = origin.accept().await;
    upstream.read_request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        .await;
    for sent in 1..=4 {
        upstream.send("x").await;
        proxy
            .wait_for_metric("stuut_cache_upstream_bytes_total", sent)
            .await;
        proxy.advance_waiters(29);
    }
    proxy.advance_waiters(30);
    pending.await.assert_status(200).assert_truncated();
}

/// The time to connect is not added to it.
#[tokio::test]
async fn response_timeout_starts_when_the_request_has_been_sent() {
    const HOUR: Duration = Duration::from_hours(1);
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.connect_timeout = HOUR;
        config.upstream.total_timeout = 2 * HOUR;
    })
    .await;
    let _gate = origin.hold(CALL);
    let pending = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(1).await;
    proxy.advance_waiters(10);
    pending.await.assert_problem(504, "http_response_timeout");
}

/// The requests that are not fetches: an export, a write, and an upload.
fn forwarded(proxy: &Proxy) -> [Request; 3] {
    let post = || proxy.request(Method::POST, OTHER);
    [proxy.get(OTHER), post(), post().body("x")]
}

/// A write that took 13 s was 504 after 10 s, although the origin applied it.
#[tokio::test]
async fn a_forwarded_request_may_take_longer_than_a_fetch() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for (request, count) in forwarded(&proxy).into_iter().zip(1..) {
        let gate = origin.hold(OTHER);
        let pending = request.start();
        origin.wait_for_requests(count).await;
        proxy.advance_waiters(59);
        gate.open();
        pending.await.assert_status(200);
    }
}

#[tokio::test]
async fn forward_timeout_ends_a_forwarded_request_and_is_named() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        // It is shorter than the time without progress, which no longer applies after an upload.
        config.upstream.forward_timeout = Duration::from_secs(20);
    })
    .await;
    let _gate = origin.hold(OTHER);
    for (request, count) in forwarded(&proxy).into_iter().zip(1..) {
        let pending = request.start();
        origin.wait_for_requests(count).await;
        proxy.advance_waiters(21);
        let answer = pending.await.assert_problem(504, "http_response_timeout");
        let detail = answer.json()["detail"].to_string();
        assert!(
            detail.contains("20s (upstream.forward_timeout)"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn a_timed_out_fetch_names_the_timeout() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.response_timeout = config.upstream.total_timeout * 2;
    })
    .await;
    let _gate = origin.hold(CALL);
    let pending = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(1).await;
    proxy.advance_waiters(30);
    let answer = pending.await.assert_problem(504, "http_response_timeout");
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("upstream.total_timeout"), "{detail}");
}
