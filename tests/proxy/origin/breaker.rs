//! The circuit breaker: failed connects open it, a single request probes the origin (half-open), and
//! a new connection closes it.

use http::Method;

use crate::support::{Authority, Origin, Proxy, Reply, TlsOrigin};

const CALL: &str = "/v1/calls/c1";
const STATE: &str = "stuut_cache_upstream_breaker_state";
const SHED: &str = "stuut_cache_upstream_shed_total{reason=\"breaker\"}";

async fn assert_metric(proxy: &Proxy, line: &str, value: u32) {
    assert_eq!(proxy.metric(line).await.to_string(), value.to_string());
}

#[tokio::test]
async fn failed_connects_open_the_breaker_and_a_probe_closes_it() {
    let (address, socket) = Origin::reserve_port();
    let proxy = Proxy::in_front_of(&format!("http://{address}"), |config| {
        config.upstream.retries = 0;
    })
    .await;
    for n in 0..5 {
        let answer = proxy.get(&format!("/v1/calls/{n}")).bearer("a").await;
        answer.assert_problem(502, "connection_refused");
    }
    assert_metric(&proxy, STATE, 1).await;
    for method in [Method::GET, Method::POST] {
        let answer = proxy.request(method, CALL).bearer("a").await;
        answer
            .assert_problem(503, "destination_unavailable")
            .assert_header("retry-after", "1");
    }
    assert_metric(&proxy, SHED, 2).await;

    // The origin recovers; the breaker stays open until a probe succeeds.
    let origin = Origin::start_on(socket).await;
    let answer = proxy.get(CALL).bearer("a").await;
    answer.assert_problem(503, "destination_unavailable");
    proxy.advance_seconds(1);
    proxy.get(CALL).bearer("a").await.assert_miss();
    assert_metric(&proxy, STATE, 0).await;
    origin.assert_requests(1);
}

/// A pooled connection may work while new ones fail: its response does not close the breaker, and
/// the probe does not use it.
#[tokio::test]
async fn a_response_on_an_old_connection_does_not_close_the_breaker() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.upstream.retries = 0).await;
    let gate = origin.hold("/v1/held");
    let pending = proxy.get("/v1/held").start();
    origin.wait_for_requests(1).await;
    origin.stop_listening().await;
    for _ in 0..5 {
        let answer = proxy.get("/v1/other").await;
        answer.assert_problem(502, "connection_refused");
    }
    gate.open();
    pending.await.assert_status(200);
    assert_metric(&proxy, STATE, 1).await;

    proxy.advance_seconds(1);
    let answer = proxy.get("/v1/other").await;
    answer.assert_problem(502, "connection_refused");
    assert_metric(&proxy, STATE, 1).await;
    origin.assert_requests(1);
}

#[tokio::test]
async fn failed_tls_handshakes_open_the_breaker() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["http/1.1"], 1).await;
    // The proxy does not trust this authority.
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for _ in 0..5 {
        let answer = proxy.get("/v1/other").await;
        answer.assert_problem(502, "tls_certificate_error");
    }
    let answer = proxy.get("/v1/other").await;
    answer.assert_problem(503, "destination_unavailable");
}

#[tokio::test]
async fn stale_entries_are_served_while_the_breaker_is_open() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.upstream.retries = 0).await;
    let reply = Reply::json("{}").header("cache-control", "max-age=1");
    origin.reply(CALL, reply.closing());
    proxy.get(CALL).bearer("a").await.assert_miss();
    origin.stop_listening().await;
    proxy.advance_seconds(60);
    for _ in 0..5 {
        proxy.get("/v1/other").await.assert_status(502);
    }
    let refused = "stuut_cache_upstream_requests_total{result=\"connection_refused\"}";
    assert_metric(&proxy, refused, 5).await;
    for _ in 0..3 {
        let answer = proxy.get(CALL).bearer("a").await;
        answer.assert_stale("stale-if-error").assert_body("{}");
    }
    assert_metric(&proxy, refused, 5).await;
    assert_metric(&proxy, SHED, 3).await;
}

/// Only failed connects count, neither error responses nor malformed ones.
#[tokio::test]
async fn error_responses_do_not_open_the_breaker() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for n in 0..10 {
        let target = format!("/v1/calls/{n}");
        origin.reply(&target, Reply::new(500));
        proxy.get(&target).bearer("a").await.assert_status(500);
        let target = format!("/v1/other/{n}");
        origin.reply(&target, Reply::raw("nonsense\r\n\r\n"));
        proxy.get(&target).await.assert_status(502);
    }
    assert_metric(&proxy, STATE, 0).await;
}

#[tokio::test]
async fn response_timeouts_do_not_open_the_breaker() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let slow: Vec<_> = (0..8).map(|n| format!("/v1/slow/{n}")).collect();
    let _gates: Vec<_> = slow.iter().map(|target| origin.hold(target)).collect();
    let pending: Vec<_> = slow
        .iter()
        .map(|target| proxy.get(target).start())
        .collect();
    origin.wait_for_requests(8).await;
    proxy.advance_waiters(60);
    for response in pending {
        response.await.assert_problem(504, "http_response_timeout");
    }
    assert_metric(&proxy, STATE, 0).await;
    proxy.get(CALL).bearer("b").await.assert_miss();
}

/// The client is at fault, not the origin.
#[tokio::test]
async fn stalled_uploads_do_not_open_the_breaker() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for n in 0..6 {
        let mut client = proxy.raw_connection().await;
        let head = format!("POST /v1/other/{n} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n");
        client.send(head + "half").await;
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 1)
            .await;
        proxy.advance_waiters(31);
        let answer = client.read_head().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        drop(client);
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 0)
            .await;
    }
    assert_metric(&proxy, STATE, 0).await;
}
