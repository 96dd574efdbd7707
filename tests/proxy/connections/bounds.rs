//! Bounds that keep one client from starving the others.

use http::Method;
use stuut_cache::config::ByteSize;

use crate::support::{Origin, Proxy, RawOrigin, Reply};

const CALL: &str = "/v1/calls/c1";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
}

#[tokio::test]
async fn clients_that_do_not_read_hold_no_origin_slot() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    let mut stalled = Vec::new();
    // A bypass, and a body too large to store.
    for target in ["/v1/export", "/v1/calls/large"] {
        origin.reply(target, Reply::new(200).body(vec![b'x'; 64 << 20]));
        let mut client = proxy.raw_connection().await;
        client.send(get(target)).await;
        client.read_head().await;
        stalled.push(client);
    }
    for target in [CALL, "/v1/other"] {
        proxy.get(target).bearer("a").await.assert_status(200);
    }
}

/// The origin may respond to what it is still receiving.
#[tokio::test]
async fn an_upload_holds_its_origin_slot_after_an_early_response() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| config.limits.uploads = 2).await;
    let mut client = proxy.raw_connection().await;
    client
        .send("POST /v1/other HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf")
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_until("half").await;
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        .await;
    client.read_head().await;
    let more = proxy.request(Method::POST, "/v1/other").body("more");
    more.await.assert_problem(503, "connection_limit_reached");

    // The limit after the end of the response does not apply yet.
    proxy.advance_waiters(5);
    client.send("half").await;
    upstream.read_until("half").await;
    upstream.send("done").await;
    client.read_until("done").await;
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
}

/// `limits.in_transit` bounds all bodies together that are read into memory.
#[tokio::test]
async fn bodies_beyond_in_transit_are_streamed_and_not_stored() {
    const FIRST: usize = 1_900_000;
    const SECOND: usize = 3 << 20;
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.limits.in_transit = ByteSize(4 << 20);
    })
    .await;
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    // The token is not accepted yet, and may hold half.
    let mut first = proxy.raw_connection().await;
    first.send(get(CALL)).await;
    let mut filling = origin.accept().await;
    filling.read_request().await;
    filling.send(head(FIRST) + "begin").await;
    proxy
        .wait_for_metric("stuut_cache_upstream_bytes_total", 5)
        .await;

    // Too little is left for a second body, with a length or in chunks: it is streamed.
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let most = "x".repeat(SECOND - 1);
    for (answer, begin, end) in [
        (head(SECOND), most.clone(), "y".to_owned()),
        (
            chunked,
            format!("2fffff\r\n{most}\r\n"),
            "1\r\ny\r\n0\r\n\r\n".to_owned(),
        ),
    ] {
        let mut client = proxy.raw_connection().await;
        client.send(get("/v1/calls/c2")).await;
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        let (answered, streamed) = tokio::join!(upstream.send(answer + &begin), async {
            let head = client.read_head().await;
            client.read_until("xxx").await;
            head
        });
        let () = answered;
        assert!(streamed.contains("too-large"), "{streamed}");
        upstream.send(end).await;
        client.read_until("y").await;
    }
    assert_eq!(
        proxy
            .metric("stuut_cache_fills_streamed_total")
            .await
            .to_string(),
        "2"
    );

    // The body with a reservation is stored, which returns its bytes.
    filling.send("x".repeat(FIRST - 5)).await;
    assert!(first.read_head().await.contains("; stored"));
    let mut client = proxy.raw_connection().await;
    client.send(get("/v1/calls/c3")).await;
    filling.read_request().await;
    filling.send(head(FIRST) + &"x".repeat(FIRST)).await;
    assert!(client.read_head().await.contains("; stored"));
}

/// A body of unknown length is copied once at its end; the bound must cover the copy.
#[tokio::test]
async fn in_transit_covers_the_final_copy_of_a_chunked_body() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.in_transit = ByteSize(1 << 20);
    })
    .await;
    origin.reply(CALL, Reply::json(&"1".repeat(120_000)).chunked(1_000));
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();

    let large = "1".repeat(600_000);
    origin.reply("/v1/calls/c2", Reply::json(&large).chunked(1_000));
    for _ in 0..2 {
        let answer = proxy.get("/v1/calls/c2").bearer("a").await;
        answer
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=too-large")
            .assert_body(&large);
    }
    assert_eq!(
        proxy
            .metric("stuut_cache_fills_streamed_total")
            .await
            .to_string(),
        "2"
    );
    // With Content-Length it needs no copy.
    origin.reply("/v1/calls/c3", Reply::json(&large));
    proxy.get("/v1/calls/c3").bearer("a").await.assert_miss();
    proxy.get("/v1/calls/c3").bearer("a").await.assert_hit();
}

#[tokio::test]
async fn malformed_requests_are_counted_by_reason() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let fields = "x: 1\r\n".repeat(200);
    let answers = [
        ("no request\r\n\r\n".to_owned(), "400", "request-line"),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"),
            "431",
            "head-too-large",
        ),
    ];
    for (bytes, status, reason) in answers {
        let answer = proxy.raw(bytes).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(
            answer.contains(&format!("urn:stuut-cache:{reason}")),
            "{answer}"
        );
        let counted = format!("stuut_cache_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(proxy.metric(&counted).await.to_string(), "1");
    }
    let requests = "stuut_cache_requests_total{method=\"other\",outcome=\"refused\",route=\"other\",status=\"431\"}";
    assert_eq!(proxy.metric(requests).await.to_string(), "1");
    // A client that disconnects has sent nothing malformed.
    drop(proxy.raw_connection().await);
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    let malformed = "stuut_cache_connections_closed_total{reason=\"malformed\"}";
    assert_eq!(proxy.metric(malformed).await.to_string(), "0");
}
