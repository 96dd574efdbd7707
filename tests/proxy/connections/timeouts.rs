//! Timeouts of client connections: slow heads, idle connections, and pauses that end nothing.

use std::time::Duration;

use super::server::{CALL, RESTING, get, ping};
use crate::support::h2::{self, GOAWAY, HEADERS};
use crate::support::{Origin, Proxy, RawOrigin};

/// Connections that ended by this bound.
fn closed_by(bound: &str) -> String {
    format!("stuut_cache_connections_closed_total{{reason=\"{bound}\"}}")
}

#[tokio::test]
async fn a_slow_head_ends_its_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
    })
    .await;

    let mut client = proxy.raw_connection().await;
    client.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(client.read_to_end().await, "");
    // Behind an answered request too.
    let mut client = proxy.raw_connection().await;
    client.send(get("/v1/other")).await;
    client.read_until("}").await;
    client.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(client.read_to_end().await, "");
    proxy.wait_for_metric(&closed_by("header_timeout"), 2).await;
    origin.assert_requests(1);
}

/// Where a body ended, whatever came with its last bytes was no head yet: it had the time of an
/// idle connection, until its next byte.
#[tokio::test]
async fn a_slow_head_that_begins_with_the_end_of_a_body_is_an_idle_connection() {
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
async fn an_idle_connection_ends() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.idle_timeout = Duration::from_millis(100);
    })
    .await;

    let mut client = proxy.raw_connection().await;
    client.send(get(CALL)).await;
    client.read_until("}").await;
    assert_eq!(client.read_to_end().await, "");
    let silent = proxy.raw_connection().await;
    assert_eq!(silent.read_to_end().await, "");
    proxy.wait_for_metric(&closed_by("idle_timeout"), 2).await;
}

/// Frames of HTTP/2 between requests are no request head: a ping, a window, a setting.
#[tokio::test]
async fn an_http2_connection_may_idle_longer_than_a_head_may_take() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
    })
    .await;

    let mut idle = proxy.raw_connection().await;
    idle.send([h2::preface(), ping()].concat()).await;
    idle.read_until("stilhere").await;
    // It is the older one of the two: a bound that held for both would have ended it first.
    let mut slow = proxy.raw_connection().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.read_to_end().await, "");

    idle.send(ping()).await;
    idle.read_until("stilhere").await;
}

/// Its pings were life, and so were our answers to them: it held what it did not read, and the
/// connections to the origin that this came by, for as long as it pleased.
#[tokio::test]
async fn a_reader_of_http2_that_only_pings_keeps_its_answers_for_ever() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.server.idle_timeout = Duration::from_millis(200);
        config.server.header_timeout = Duration::from_millis(200);
    })
    .await;
    // An answer that is all in the connection's own hands, and one that is still on its way there.
    for (path, field) in [(CALL, "content-length: 200000"), ("/v1/other", "x: y")] {
        let ask = h2::get(path, &[("authorization", "Bearer a")]);
        let mut client = proxy.raw_connection().await;
        client.send([h2::preface(), ask].concat()).await;
        let mut line = origin.accept().await;
        line.read_head().await;
        let answer = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n{}", "x".repeat(200_000));
        line.send(answer).await;
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

/// The client sends it before it hears that the connection ends. It was taken, asked of the origin,
/// and broken off with `server.header_timeout`.
#[tokio::test]
async fn a_request_of_http2_that_crosses_the_end_of_an_idle_connection_is_lost() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.idle_timeout = Duration::from_millis(100);
        config.server.header_timeout = Duration::from_millis(500);
    })
    .await;
    let gate = origin.hold("/v1/slow");
    let mut client = proxy.raw_connection().await;
    client.send(h2::preface()).await;
    while client.read_frame().await.expect("it is told to go").kind != GOAWAY {}
    client.send(h2::get("/v1/slow", &[])).await;
    origin.wait_for_requests(1).await;
    let mut slow = proxy.raw_connection().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.read_to_end().await, "");
    gate.open();
    while let frame = client.read_frame().await.expect("an answer")
        && (frame.kind, frame.stream) != (HEADERS, 1)
    {}
}

#[tokio::test]
async fn a_connection_that_paused_is_answered_as_before() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.raw_connection().await;
    proxy.wait_for_metric(RESTING, 1).await;
    for status in ["fwd=miss", "hit", "hit"] {
        client.send(get(CALL)).await;
        let head = client.read_head().await;
        assert!(head.contains(&format!("stuut-cache; {status}")), "{head}");
        client.read_until("}").await;
        proxy.wait_for_metric(RESTING, 1).await;
    }
    // It may come byte by byte, as on any connection.
    for byte in get(CALL).bytes() {
        client.send([byte]).await;
    }
    assert!(client.read_head().await.contains("stuut-cache; hit"));
    client.read_until("}").await;
    proxy.wait_for_metric(RESTING, 1).await;
    client.half_close().await;
    assert_eq!(client.read_to_end().await, "");
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
}

/// Taken back between the two, the rest of the body would be read as the next request.
#[tokio::test]
async fn a_body_that_outlasts_its_answer_is_no_request() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.raw_connection().await;
    let inner = get("/v1/smuggled");
    let length = inner.len() + 1;
    client
        .send(format!(
            "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n "
        ))
        .await;
    let mut asked = origin.accept().await;
    asked.read_head().await;
    asked
        .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    client.read_until("{}").await;
    for _ in 0..20 {
        // Time enough to take a silent connection back.
        assert!(proxy.metric(RESTING).await == 0.0, "it owes us a body");
    }
    let _ = client.try_send(&inner).await;
    client.half_close().await;
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn the_beginning_of_a_request_outlives_a_pause() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.raw_connection().await;
    let (first, rest) = (get(CALL), get("/v1/second"));
    // One read takes both: the second is in hyper's buffer when the first is answered.
    let (begun, missing) = rest.split_at(30);
    client.send([&first, begun].concat()).await;
    client.read_until("}").await;
    proxy.get("/v1/other").bearer("a").await;
    client.send(missing).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(client.read_until("}").await.contains("/v1/second"));
}
