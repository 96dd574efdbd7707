//! The circuit breaker: an origin that cannot be connected to is not asked, then probed by one
//! request, and closed by a new connection.

use http::Method;

use crate::support::{Authority, Origin, Proxy, Reply, TlsOrigin};

const CALL: &str = "/v1/calls/c1";
const STATE: &str = "stuut_cache_upstream_breaker_state";
const SHED: &str = "stuut_cache_upstream_shed_total{reason=\"breaker\"}";

async fn assert_metric(proxy: &Proxy, line: &str, value: u32) {
    assert_eq!(proxy.metric(line).await.to_string(), value.to_string());
}

#[tokio::test]
async fn an_origin_that_is_down_is_left_alone_and_tried_by_one() {
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

    // It comes back, which nobody notices until one goes and looks.
    let origin = Origin::start_on(socket).await;
    let answer = proxy.get(CALL).bearer("a").await;
    answer.assert_problem(503, "destination_unavailable");
    proxy.advance_seconds(1);
    proxy.get(CALL).bearer("a").await.assert_miss();
    assert_metric(&proxy, STATE, 0).await;
    origin.assert_requests(1);
}

/// A connection from the pool may answer while new ones fail: it neither closes the breaker, nor is
/// it what the probe goes over.
#[tokio::test]
async fn an_answer_over_an_old_connection_does_not_close_the_breaker() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.upstream.retries = 0).await;
    let gate = origin.hold("/v1/held");
    let held = proxy.get("/v1/held").start();
    origin.wait_for_requests(1).await;
    origin.stop_listening().await;
    for _ in 0..5 {
        let answer = proxy.get("/v1/other").await;
        answer.assert_problem(502, "connection_refused");
    }
    gate.open();
    held.await.assert_status(200);
    assert_metric(&proxy, STATE, 1).await;

    proxy.advance_seconds(1);
    let answer = proxy.get("/v1/other").await;
    answer.assert_problem(502, "connection_refused");
    assert_metric(&proxy, STATE, 1).await;
    origin.assert_requests(1);
}

/// TLS is a part of connecting.
#[tokio::test]
async fn failed_handshakes_open_it() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["http/1.1"], 1).await;
    // It trusts another authority.
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for _ in 0..5 {
        let answer = proxy.get("/v1/other").await;
        answer.assert_problem(502, "tls_certificate_error");
    }
    let answer = proxy.get("/v1/other").await;
    answer.assert_problem(503, "destination_unavailable");
}

#[tokio::test]
async fn what_may_be_served_stale_is_while_the_origin_is_left_alone() {
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

/// What the origin has to say is its own business, however often it says it; and what garbles an
/// answer is there.
#[tokio::test]
async fn errors_of_the_origin_are_answers() {
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

/// Calls may be slow, one of them or all.
#[tokio::test]
async fn requests_without_an_answer_do_not_count() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let slow: Vec<_> = (0..8).map(|n| format!("/v1/slow/{n}")).collect();
    let _gates: Vec<_> = slow.iter().map(|target| origin.hold(target)).collect();
    let pending: Vec<_> = slow
        .iter()
        .map(|target| proxy.get(target).start())
        .collect();
    origin.wait_for_requests(8).await;
    proxy.advance_waiters(13);
    for late in pending {
        late.await.assert_problem(504, "http_response_timeout");
    }
    assert_metric(&proxy, STATE, 0).await;
}

/// A client that does not send what it has announced is not an origin that does not answer.
#[tokio::test]
async fn uploads_that_stall_do_not_count() {
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
