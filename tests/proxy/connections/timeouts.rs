//! Timeouts of client connections: slow request heads, idle connections, and pauses that close nothing.

use std::time::Duration;

use super::server::{CALL, IDLE, get, ping};
use crate::support::h2::{self, GOAWAY, HEADERS};
use crate::support::{Origin, Proxy, RawOrigin};

/// The metric of connections closed for this reason.
fn closed_by(reason: &str) -> String {
    format!("stuut_cache_connections_closed_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn header_timeout_closes_a_connection_with_a_slow_request_head() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
    })
    .await;

    let mut client = proxy.raw_connection().await;
    client.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(client.read_to_end().await, "");
    // After a completed request too.
    let mut client = proxy.raw_connection().await;
    client.send(get("/v1/other")).await;
    client.read_until("}").await;
    client.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(client.read_to_end().await, "");
    proxy.wait_for_metric(&closed_by("header_timeout"), 2).await;
    origin.assert_requests(1);
}

/// A head that began in the same read as the end of a body was treated as idle until its next byte.
#[tokio::test]
async fn header_timeout_covers_a_head_that_starts_with_the_end_of_a_body() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
    })
    .await;
    let gate = origin.hold("/v1/other");
    let mut client = proxy.raw_connection().await;
    let post = "POST /v1/other HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n";
    client.send([post, "bo"].concat()).await;
    proxy.wait_for_metric("stuut_cache_in_flight", 1).await;
    client.send("dyGET / HTTP/1.1\r\nho").await;
    origin.wait_for_requests(1).await;
    gate.open();
    client.read_until("}").await;
    assert_eq!(client.read_to_end().await, "");
    proxy.wait_for_metric(&closed_by("header_timeout"), 1).await;
}

#[tokio::test]
async fn idle_timeout_closes_idle_connections() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.idle_timeout = Duration::from_millis(100);
    })
    .await;

    let mut client = proxy.raw_connection().await;
    client.send(get(CALL)).await;
    client.read_until("}").await;
    assert_eq!(client.read_to_end().await, "");
    proxy.wait_for_metric(&closed_by("idle_timeout"), 1).await;
}

/// They kept their places for `idle_timeout`, so that a few thousand kept out all other clients.
#[tokio::test]
async fn silent_connections_give_their_places_back_after_header_timeout() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
        config.server.max_connections = 8;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(proxy.raw_connection().await);
    }
    proxy.wait_for_metric("stuut_cache_connections", 8).await;
    proxy.get(CALL).bearer("a").await.assert_status(200);
    for client in silent {
        assert_eq!(client.read_to_end().await, "");
    }
    proxy.wait_for_metric(&closed_by("header_timeout"), 8).await;
}

/// PING, `WINDOW_UPDATE` and SETTINGS frames between requests are not request heads.
#[tokio::test]
async fn header_timeout_does_not_apply_to_an_idle_http2_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
    })
    .await;

    let mut idle = proxy.raw_connection().await;
    idle.send([h2::preface(), ping()].concat()).await;
    idle.read_until("stilhere").await;
    // `idle` is older: had it the same deadline, it would have been closed first.
    let mut slow = proxy.raw_connection().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.read_to_end().await, "");

    idle.send(ping()).await;
    idle.read_until("stilhere").await;
}

/// Pings and our replies to them are not progress: such a client would hold its unread responses,
/// and their origin connections, forever.
#[tokio::test]
async fn http2_pings_do_not_keep_an_unread_response_alive() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.server.idle_timeout = Duration::from_millis(200);
        config.server.header_timeout = Duration::from_millis(200);
    })
    .await;
    // One response is complete in the connection's buffers, the other is still being read.
    for (path, field) in [(CALL, "content-length: 200000"), ("/v1/other", "x: y")] {
        let request = h2::get(path, &[("authorization", "Bearer a")]);
        let mut client = proxy.raw_connection().await;
        client.send([h2::preface(), request].concat()).await;
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        let answer = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n{}", "x".repeat(200_000));
        upstream.send(answer).await;
        let pings = async {
            while client.try_send(ping()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = pings => {}
            () = proxy.wait_for_metric("stuut_cache_connections", 0) => {}
        }
        proxy.wait_for_metric("stuut_cache_connections", 0).await;
    }
}

/// The client sends it before it receives our GOAWAY. Its fetch was cut off by
/// `server.header_timeout`.
#[tokio::test]
async fn an_http2_request_that_crosses_an_idle_goaway_is_answered() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.idle_timeout = Duration::from_millis(100);
        config.server.header_timeout = Duration::from_millis(500);
    })
    .await;
    let gate = origin.hold("/v1/slow");
    let mut client = proxy.raw_connection().await;
    client.send(h2::preface()).await;
    while client.read_frame().await.expect("a GOAWAY frame").kind != GOAWAY {}
    client.send(h2::get("/v1/slow", &[])).await;
    origin.wait_for_requests(1).await;
    let mut slow = proxy.raw_connection().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.read_to_end().await, "");
    gate.open();
    while let frame = client.read_frame().await.expect("a response")
        && (frame.kind, frame.stream) != (HEADERS, 1)
    {}
}

#[tokio::test]
async fn a_connection_serves_requests_after_idle_periods() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.raw_connection().await;
    proxy.wait_for_metric(IDLE, 1).await;
    for status in ["fwd=miss", "hit", "hit"] {
        client.send(get(CALL)).await;
        let head = client.read_head().await;
        assert!(head.contains(&format!("stuut-cache; {status}")), "{head}");
        client.read_until("}").await;
        proxy.wait_for_metric(IDLE, 1).await;
    }
    // A request may arrive byte by byte, as on any connection.
    for byte in get(CALL).bytes() {
        client.send([byte]).await;
    }
    assert!(client.read_head().await.contains("stuut-cache; hit"));
    client.read_until("}").await;
    proxy.wait_for_metric(IDLE, 1).await;
    client.half_close().await;
    assert_eq!(client.read_to_end().await, "");
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
}

/// Were the connection idle between the two, the rest of the body would be read as the next request.
#[tokio::test]
async fn a_body_that_outlasts_its_response_is_not_a_request() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.raw_connection().await;
    let smuggled = get("/v1/smuggled");
    let length = smuggled.len() + 1;
    client
        .send(format!(
            "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n "
        ))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    client.read_until("{}").await;
    for _ in 0..20 {
        // Long enough for a quiet connection to become idle.
        assert!(proxy.metric(IDLE).await == 0.0, "its body is not complete");
    }
    let _ = client.try_send(&smuggled).await;
    client.half_close().await;
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn a_partial_pipelined_request_survives_an_idle_period() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.raw_connection().await;
    let (first, second) = (get(CALL), get("/v1/second"));
    // One read returns both: the second is in hyper's buffer when the first is answered.
    let (begin, end) = second.split_at(30);
    client.send([&first, begin].concat()).await;
    client.read_until("}").await;
    proxy.get("/v1/other").bearer("a").await;
    client.send(end).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(client.read_until("}").await.contains("/v1/second"));
}
