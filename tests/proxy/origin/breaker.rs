//! An origin that does not answer is left alone, tried by one request, and asked again when that
//! one is answered.

use http::Method;

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";
const STATE: &str = "stuut_cache_upstream_breaker_state";
const SHED: &str = "stuut_cache_upstream_shed_total{reason=\"breaker\"}";

async fn assert_metric(proxy: &Proxy, line: &str, value: u32) {
    assert_eq!(proxy.metric(line).await.to_string(), value.to_string());
}

#[tokio::test]
async fn an_origin_that_is_down_is_left_alone_and_tried_by_one() {
    let (address, socket) = Origin::nowhere();
    let proxy = Proxy::before(&format!("http://{address}"), |config| {
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
    let origin = Origin::on(socket).await;
    let answer = proxy.get(CALL).bearer("a").await;
    answer.assert_problem(503, "destination_unavailable");
    proxy.pass_seconds(1);
    let gate = origin.hold("/v1/probe");
    let probe = proxy.get("/v1/probe").start();
    origin.until_requests(1).await;
    assert_metric(&proxy, STATE, 2).await;
    let answer = proxy.get(CALL).bearer("a").await;
    answer.assert_problem(503, "destination_unavailable");
    gate.open();
    probe.await.assert_status(200);
    assert_metric(&proxy, STATE, 0).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    origin.assert_requests(2);
}

#[tokio::test]
async fn a_probe_whose_client_hangs_up_makes_way_for_the_next() {
    let (address, socket) = Origin::nowhere();
    let proxy = Proxy::before(&format!("http://{address}"), |config| {
        config.upstream.retries = 0;
        config.upstream.breaker_failures = 1;
    })
    .await;
    let answer = proxy.get("/v1/other").await;
    answer.assert_problem(502, "connection_refused");
    let origin = Origin::on(socket).await;
    proxy.pass_seconds(1);
    let _gate = origin.hold("/v1/probe");
    let probe = proxy.get("/v1/probe").over_http2().start();
    origin.until_requests(1).await;
    probe.hang_up().await;
    proxy
        .until_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    assert_metric(&proxy, STATE, 0).await;
}

#[tokio::test]
async fn what_may_be_served_stale_is_while_the_origin_is_left_alone() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.upstream.retries = 0).await;
    let reply = Reply::json("{}").header("cache-control", "max-age=1");
    origin.reply(CALL, reply.closing());
    proxy.get(CALL).bearer("a").await.assert_miss();
    origin.go_away().await;
    proxy.pass_seconds(60);
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

/// One that is never answered, while nobody asks for anything else.
#[tokio::test]
async fn one_slow_call_is_not_a_slow_origin() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let _gate = origin.hold(CALL);
    for asked in 1..=10 {
        let pending = proxy.get(CALL).bearer("a").start();
        origin.until_requests(asked).await;
        proxy.live_seconds(13);
        let answer = pending.await;
        answer.assert_problem(504, "http_response_timeout");
    }
    assert_metric(&proxy, STATE, 0).await;

    // Five of them are.
    let slow: Vec<_> = (0..4).map(|n| format!("/v1/slow/{n}")).collect();
    let _gates: Vec<_> = slow.iter().map(|target| origin.hold(target)).collect();
    let pending: Vec<_> = slow
        .iter()
        .map(|target| proxy.get(target).start())
        .collect();
    origin.until_requests(14).await;
    proxy.live_seconds(13);
    for late in pending {
        late.await.assert_problem(504, "http_response_timeout");
    }
    assert_metric(&proxy, STATE, 1).await;
}

/// A client that does not send what it has announced is not an origin that does not answer.
#[tokio::test]
async fn uploads_that_stall_do_not_count() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for n in 0..6 {
        let mut client = proxy.wire().await;
        let head = format!("POST /v1/other/{n} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n");
        client.send(head + "half").await;
        proxy
            .until_metric("stuut_cache_upstream_in_flight", 1)
            .await;
        proxy.live_seconds(31);
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        drop(client);
        proxy
            .until_metric("stuut_cache_upstream_in_flight", 0)
            .await;
    }
    assert_metric(&proxy, STATE, 0).await;
}
