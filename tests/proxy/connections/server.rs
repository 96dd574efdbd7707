//! The connections of clients: how they are spoken with and bounded.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use stuut_cache::config::ByteSize;

use crate::support::h2::{self, PING};
use crate::support::{Origin, Proxy};

pub(super) const CALL: &str = "/v1/calls/c1";

pub(super) const RESTING: &str = "stuut_cache_connections_idle";

pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
}

/// One of HTTP/2, which comes back with these letters.
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
async fn http2_by_prior_knowledge_is_spoken_on_the_same_port() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let gate = origin.hold("/v1/slow");
    let client = proxy.http2().await;
    let ask = |method: Method, target: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", proxy.address))
            .header("authorization", "Bearer a")
            .body(Full::from(body))
            .expect("a request");
        let mut client = client.clone();
        async move {
            let response = client.send_request(request).await.expect("an answer");
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            (head, body)
        }
    };

    // One that is held keeps no other from being answered.
    let slow = tokio::spawn(ask(Method::GET, "/v1/slow", ""));
    origin.wait_for_requests(1).await;
    let (head, _) = ask(Method::GET, CALL, "").await;
    assert_eq!(head.version, http::Version::HTTP_2);
    assert!(
        head.headers["cache-status"]
            .to_str()
            .is_ok_and(|status| status.contains("fwd=miss"))
    );
    let (head, stored) = ask(Method::GET, CALL, "").await;
    assert!(
        head.headers["cache-status"]
            .to_str()
            .is_ok_and(|status| status.contains("; hit"))
    );
    assert!(stored.starts_with(b"{"));
    let (head, _) = ask(Method::POST, "/v1/other", "a body").await;
    assert_eq!(head.status, 200);
    assert_eq!(origin.last_request().body, b"a body");

    gate.open();
    let (head, _) = slow.await.expect("the request ends well");
    assert_eq!(head.status, 200);
    assert_eq!(
        proxy.metric("stuut_cache_connections").await.to_bits(),
        1f64.to_bits()
    );
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_still_answered() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for target in [CALL, "/v1/other"] {
        let gate = origin.hold(target);
        let asked = origin.requests().len();
        let mut client = proxy.raw_connection().await;
        client.send(get(target)).await;
        client.half_close().await;
        origin.wait_for_requests(asked + 1).await;
        gate.open();
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
}

/// A connection whose preface came in two pieces was not known to be HTTP/2. Its frames were heads
/// that took too long; and found silent, as only HTTP/1 is, it was looked at again and again at
/// once, by a thread that did nothing else from then on.
#[tokio::test]
async fn a_preface_in_two_pieces_is_as_good_as_one() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_secs(1);
    })
    .await;
    let mut idle = proxy.raw_connection().await;
    let hello = h2::preface();
    idle.send(&hello[..10]).await;
    proxy.wait_for_metric(RESTING, 1).await;
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

    // A head that has no end by then.
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

/// What two readers could cut differently is refused, and nothing behind it is read.
#[tokio::test]
async fn ambiguous_framing_is_refused_and_its_connection_ends() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    let cases = [
        ("content-length: 2\r\ncontent-length: 3", "{}"),
        ("content-length: 2, 3", "{}"),
        ("content-length: +2", "{}"),
        ("content-length: 0x2", "{}"),
        ("content-length: -1", ""),
        ("content-length: 2\r\ncontent-length: 2", "{}"),
        ("content-length: 3\r\ntransfer-encoding: chunked", chunks),
        ("transfer-encoding: chunked\r\ncontent-length: 3", chunks),
        ("transfer-encoding: gzip", chunks),
        ("transfer-encoding: gzip, chunked", chunks),
        ("transfer-encoding: chunked, chunked", chunks),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            chunks,
        ),
        (
            "transfer-encoding: identity\r\ntransfer-encoding: chunked",
            chunks,
        ),
        ("transfer-encoding: chunked, identity", chunks),
        ("transfer-encoding: x", chunks),
        ("transfer-encoding: chunked;a=b", chunks),
        ("transfer-encoding : chunked", chunks),
        ("x: a\rb", ""),
        ("x: a\0b", ""),
        ("x: a\r\n folded: b", ""),
    ];
    for (fields, body) in cases {
        let answer = proxy
            .raw(format!(
                "POST /v1/other HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}{}",
                get("/v1/smuggled")
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{fields:?}: {answer}");
        assert_eq!(answer.matches("date: ").count(), 1, "{fields:?}: {answer}");
    }
    let answer = proxy
        .raw("POST /v1/other HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.0 400") || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    origin.assert_requests(0);
}

#[tokio::test]
async fn a_body_of_nonsense_is_400_and_ends_its_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let answer = proxy
        .raw(format!(
            "POST /v1/other HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n{}",
            get("/v1/smuggled")
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("http_request_error"), "{answer}");
    assert_eq!(answer.matches("date: ").count(), 1, "{answer}");
    origin.assert_requests(0);
}

#[tokio::test]
async fn requests_beyond_those_that_may_wait_for_the_origin_are_shed() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    proxy
        .get("/v1/calls/stored")
        .bearer("a")
        .await
        .assert_miss();
    let gate = origin.hold("/v1/slow");
    let mut slow = proxy.raw_connection().await;
    slow.send(get("/v1/slow")).await;
    origin.wait_for_requests(2).await;

    for target in [CALL, "/v1/other"] {
        proxy
            .get(target)
            .bearer("a")
            .await
            .assert_problem(503, "connection_limit_reached")
            .assert_header("retry-after", "1");
    }
    // What is stored needs no origin.
    proxy.get("/v1/calls/stored").bearer("a").await.assert_hit();
    origin.assert_requests(2);

    gate.open();
    slow.read_until("}").await;
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    for target in [CALL, "/v1/other"] {
        proxy.get(target).bearer("a").await.assert_status(200);
    }
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_its_turn() {
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
            .all(|seen| seen.target() != "/v1/second")
    );

    drop(first);
    assert!(second.read_head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn http2_is_told_by_its_whole_preface_and_by_nothing_less() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.raw_connection().await;
    for byte in *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        client.send([byte]).await;
    }
    // An empty SETTINGS frame is asked for, and sent, by both sides.
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    assert_eq!(client.read_exact(5).await[3..], [4, 0]);

    let refused = proxy.raw("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 505"), "{refused}");
}
