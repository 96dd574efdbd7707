//! Client connections: protocols, pipelining, half-close and limits.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use stuut_cache::config::ByteSize;

use crate::support::h2::{self, PING};
use crate::support::{Origin, Proxy};

pub(super) const CALL: &str = "/v1/calls/c1";

pub(super) const IDLE: &str = "stuut_cache_connections_idle";

pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
}

/// An HTTP/2 PING; its acknowledgement repeats the payload.
pub(super) fn ping() -> Vec<u8> {
    h2::frame(PING, 0, 0, b"stilhere")
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let gate = origin.hold("/v1/first");

    let mut client = proxy.raw_connection().await;
    client
        .send([get("/v1/first"), get(CALL), get("/v1/third")].concat())
        .await;
    origin.wait_for_requests(1).await;
    gate.open();
    for target in ["/v1/first", CALL, "/v1/third"] {
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let body = client.read_until("}").await;
        assert!(body.contains(&format!("\"{target}\"")), "{body}");
    }
    client.send(get(CALL)).await;
    assert!(client.read_head().await.contains("stuut-cache; hit"));
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let gate = origin.hold("/v1/slow");
    let client = proxy.http2().await;
    let send = |method: Method, target: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", proxy.address))
            .header("authorization", "Bearer a")
            .body(Full::from(body))
            .expect("a request");
        let mut client = client.clone();
        async move {
            let response = client.send_request(request).await.expect("a response");
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a complete body").to_bytes();
            (head, body)
        }
    };

    // A stream that waits does not block the others.
    let slow = tokio::spawn(send(Method::GET, "/v1/slow", ""));
    origin.wait_for_requests(1).await;
    let (head, _) = send(Method::GET, CALL, "").await;
    assert_eq!(head.version, http::Version::HTTP_2);
    assert!(
        head.headers["cache-status"]
            .to_str()
            .is_ok_and(|status| status.contains("fwd=miss"))
    );
    let (head, stored) = send(Method::GET, CALL, "").await;
    assert!(
        head.headers["cache-status"]
            .to_str()
            .is_ok_and(|status| status.contains("; hit"))
    );
    assert!(stored.starts_with(b"{"));
    let (head, _) = send(Method::POST, "/v1/other", "a body").await;
    assert_eq!(head.status, 200);
    assert_eq!(origin.last_request().body, b"a body");

    gate.open();
    let (head, _) = slow.await.expect("the task does not panic");
    assert_eq!(head.status, 200);
    assert_eq!(
        proxy.metric("stuut_cache_connections").await.to_bits(),
        1f64.to_bits()
    );
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_response() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for target in [CALL, "/v1/other"] {
        let gate = origin.hold(target);
        let before = origin.requests().len();
        let mut client = proxy.raw_connection().await;
        client.send(get(target)).await;
        client.half_close().await;
        origin.wait_for_requests(before + 1).await;
        gate.open();
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
}

/// After a split preface the connection was not known to be HTTP/2: its frames counted as a slow
/// request head, and once it was quiet its task polled it in a busy loop.
#[tokio::test]
async fn an_http2_preface_may_arrive_in_two_reads() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_secs(1);
    })
    .await;
    let mut idle = proxy.raw_connection().await;
    let hello = h2::preface();
    idle.send(&hello[..10]).await;
    proxy.wait_for_metric(IDLE, 1).await;
    idle.send([&hello[10..], &ping()].concat()).await;
    idle.read_until("stilhere").await;
    let mut slow = proxy.raw_connection().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.read_to_end().await, "");
    idle.send(ping()).await;
    idle.read_until("stilhere").await;
}

#[tokio::test]
async fn a_head_over_the_limits_is_refused() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.uri = ByteSize(100);
        config.limits.headers = 10;
        config.limits.header_bytes = ByteSize(8 << 10);
    })
    .await;

    proxy
        .get(&format!("/{}", "a".repeat(99)))
        .await
        .assert_status(200);
    proxy
        .get(&format!("/{}", "a".repeat(100)))
        .await
        .assert_problem(414, "uri-too-long")
        .assert_header("connection", "close");

    let with = |fields: usize| {
        let fields = (1..fields)
            .map(|n| format!("x-{n}: 1\r\n"))
            .collect::<Vec<_>>()
            .concat();
        format!("GET /v1/other HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n")
    };
    let ok = proxy.raw(with(9)).await;
    assert!(ok.starts_with("HTTP/1.1 200"), "{ok}");
    let refused = proxy.raw(with(10)).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");

    // A head without an end within the limit.
    let endless = format!("GET /v1/other HTTP/1.1\r\nx: {:x<8192}", "");
    let refused = proxy.raw(&endless[..8 << 10]).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    origin.assert_requests(2);
}

#[tokio::test]
async fn a_hundred_fields_are_the_default_limit() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for (fields, status) in [(100, "200"), (101, "431")] {
        let fields = (2..fields)
            .map(|n| format!("x-{n}: 1\r\n"))
            .collect::<Vec<_>>()
            .concat();
        let answer = proxy
            .raw(format!(
                "GET /v1/other HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n"
            ))
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    origin.assert_requests(1);
}

#[tokio::test]
async fn a_connection_over_max_connections_waits_until_one_closes() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.server.max_connections = 1).await;
    let mut first = proxy.raw_connection().await;
    first.send(get(CALL)).await;
    first.read_until("}").await;

    let mut second = proxy.raw_connection().await;
    second.send(get("/v1/second")).await;
    for _ in 0..20 {
        first.send(get("/v1/first")).await;
        first.read_until("}").await;
    }
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.target() != "/v1/second")
    );

    drop(first);
    assert!(second.read_head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn http2_is_detected_by_its_whole_preface_only() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.raw_connection().await;
    for byte in *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        client.send([byte]).await;
    }
    // Both sides must send a SETTINGS frame, which may be empty.
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    assert_eq!(client.read_exact(5).await[3..], [4, 0]);

    let refused = proxy.raw("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 505"), "{refused}");
}
