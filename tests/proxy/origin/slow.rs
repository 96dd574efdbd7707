//! An origin that is at it for ever: who waits for it, and for how long. Time is moved.

use std::time::Duration;

use http::Method;

use crate::support::{FaultyOrigin, Origin, Proxy, RawOrigin, Step, wait_until};

const CALL: &str = "/v1/calls/c1";
const OTHER: &str = "/v1/other";

/// A body that keeps coming, too slowly to be whole in time, is given up for all who wait for it.
#[tokio::test]
async fn a_body_that_trickles_is_given_up_by_all_who_wait() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let leader = proxy.get(CALL).bearer("a").start();
    let mut line = origin.accept().await;
    line.read_request().await;
    line.send("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
        .await;
    let mut waiters = Vec::new();
    for second in 1..=29 {
        line.send("x").await;
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
    line.send("x").await;
    proxy
        .wait_for_metric("stuut_cache_upstream_bytes_total", 30)
        .await;
    proxy.advance_waiters(1);
    for late in std::iter::once(leader).chain(waiters) {
        late.await.assert_problem(504, "http_response_timeout");
    }
    // One fetch for all of them.
    let entries = proxy.metric("stuut_cache_entries").await;
    assert_eq!(entries.to_string(), "0");
    let (answer, ()) = tokio::join!(proxy.get(CALL).bearer("a"), async {
        let mut line = origin.accept().await;
        line.read_request().await;
        line.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            .await;
    });
    answer.assert_miss().assert_body("{}");
}

/// Asked for gzip, it sends one that nobody may undo; asked again without, it says nothing.
#[tokio::test]
async fn a_fetch_that_asks_twice_has_one_deadline() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.upstream.response_timeout = config.upstream.total_timeout;
    })
    .await;
    let asked = proxy.get(CALL).bearer("a").start();
    let mut line = origin.accept().await;
    line.read_request().await;
    proxy.advance_waiters(20);
    line.send(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncache-control: no-transform\r\n\
         content-length: 0\r\n\r\n",
    )
    .await;
    let again = async {
        tokio::select! {
            seen = line.read_request() => (seen, None),
            mut other = origin.accept() => (other.read_request().await, Some(other)),
        }
    };
    let (seen, _other) = again.await;
    assert_eq!(seen.header("accept-encoding").as_deref(), Some("identity"));
    proxy.advance_waiters(10);
    asked.await.assert_problem(504, "http_response_timeout");
}

/// No store takes it, and it goes on for as long as somebody reads it, and no longer.
#[tokio::test]
async fn a_body_without_end_ends_with_its_client() {
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
        wait_until("the end of it at the origin", async || origin.is_idle()).await;
    }
    proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
    let entries = proxy.metric("stuut_cache_entries").await;
    assert_eq!(entries.to_string(), "0");
}

/// Each byte begins the wait anew.
#[tokio::test]
async fn a_forwarded_answer_may_be_slow_and_not_silent() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let asked = proxy.get(OTHER).start();
    let mut line = origin.accept().await;
    line.read_request().await;
    line.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        .await;
    for sent in 1..=4 {
        line.send("x").await;
        proxy
            .wait_for_metric("stuut_cache_upstream_bytes_total", sent)
            .await;
        proxy.advance_waiters(29);
    }
    proxy.advance_waiters(30);
    asked.await.assert_status(200).assert_truncated();
}

/// The time to connect came on top, and behind an upload the longest silence stood in for it.
#[tokio::test]
async fn the_time_to_answer_begins_when_the_request_is_with_the_origin() {
    const HOUR: Duration = Duration::from_hours(1);
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.connect_timeout = HOUR;
        config.upstream.total_timeout = 2 * HOUR;
        config.upstream.breaker_failures = 0;
    })
    .await;
    let _gates = [CALL, OTHER].map(|target| origin.hold(target));
    let requests = [
        proxy.get(CALL).bearer("a"),
        proxy.get(OTHER),
        proxy.request(Method::POST, OTHER),
        proxy.request(Method::POST, OTHER).body("x"),
    ];
    for (request, asked) in requests.into_iter().zip(1..) {
        let pending = request.start();
        origin.wait_for_requests(asked).await;
        proxy.advance_waiters(10);
        let late = "stuut_cache_upstream_requests_total{result=\"http_response_timeout\"}";
        proxy
            .wait_for_metric(late, u32::try_from(asked).expect("few"))
            .await;
        pending.await.assert_problem(504, "http_response_timeout");
    }
}

/// The deadline of the whole fetch was told as that of its head.
#[tokio::test]
async fn a_fetch_that_is_over_says_which_time_is() {
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
