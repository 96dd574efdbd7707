//! An origin that cannot be connected to, and uploads over the limit: a clear error in bounded time.

use std::time::Duration;

use http::Method;
use stuut_cache::config::ByteSize;

use crate::support::{Origin, Proxy, RawOrigin, Response};

pub(super) const CALL: &str = "/v1/calls/c1";

pub(super) const OTHER: &str = "/v1/other";

/// The problem, `Proxy-Status` and `Cache-Status` have this error.
#[track_caller]
pub(super) fn assert_failed(answer: Response, status: u16, error: &str) {
    let expected = format!("stuut-cache; error={error}; details=\"");
    let answer = answer.assert_problem(status, error);
    let proxy_status = answer.header("proxy-status").unwrap_or_default();
    assert!(proxy_status.starts_with(&expected), "{answer}");
    assert!(answer.cache_status().ends_with(error), "{answer}");
}

pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
}

pub(super) async fn assert_nothing_stored(proxy: &Proxy) {
    assert_eq!(proxy.metric("stuut_cache_entries").await.to_bits(), 0);
    assert_eq!(
        proxy
            .metric("stuut_cache_upstream_in_flight")
            .await
            .to_bits(),
        0
    );
}

#[tokio::test]
async fn an_origin_that_refuses_connections_is_502() {
    // Not a port that is free: another test might listen on it.
    let (address, _reserved) = Origin::reserve_port();
    let proxy = Proxy::in_front_of(&format!("http://{address}"), |_| {}).await;

    for target in [CALL, OTHER] {
        let answer = proxy.get(target).bearer("a").await;
        assert_failed(answer, 502, "connection_refused");
    }
    let answer = proxy.request(Method::POST, CALL).body("x").await;
    assert_failed(answer, 502, "connection_refused");
    assert_nothing_stored(&proxy).await;
}

#[tokio::test]
async fn an_origin_name_that_does_not_resolve_is_502() {
    let proxy = Proxy::in_front_of("http://nonexistent.invalid", |config| {
        // Longer than the resolver takes.
        config.upstream.connect_timeout = Duration::from_mins(1);
    })
    .await;

    for target in [CALL, OTHER] {
        let answer = proxy.get(target).bearer("a").await;
        assert_failed(answer, 502, "dns_error");
    }
}

/// A listener with a full backlog does not answer a SYN.
#[tokio::test]
async fn an_origin_that_does_not_accept_is_504() {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any_port.into()).expect("a loopback port");
    listener.listen(0).expect("a bound socket listens");
    let address = listener.local_addr().expect("an address");
    let address = address.as_socket().expect("an IPv4 address");
    let mut backlog = Vec::new();
    while let Ok(waiting) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))
    {
        backlog.push(waiting);
    }
    let proxy = Proxy::in_front_of(&format!("http://{address}"), |config| {
        config.upstream.connect_timeout = Duration::from_millis(100);
    })
    .await;

    for target in [CALL, OTHER] {
        let answer = proxy.get(target).bearer("a").await;
        assert_failed(answer, 504, "connection_timeout");
    }
}

#[tokio::test]
async fn a_pooled_connection_that_the_origin_has_closed_fails_no_get() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let answer = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 2\r\n\r\n{}";

    for target in [CALL, OTHER] {
        let (first, upstream) = tokio::join!(proxy.get(target).bearer("a"), async {
            let mut upstream = origin.accept().await;
            upstream.read_request().await;
            upstream.send(answer).await;
            upstream
        });
        first.assert_status(200);
        drop(upstream);
        let (second, upstream) = tokio::join!(proxy.get(target).bearer("a"), async {
            let mut upstream = origin.accept().await;
            upstream.read_request().await;
            upstream.send(answer).await;
            upstream
        });
        second.assert_status(200);
        drop(upstream);
    }
}

#[tokio::test]
async fn an_upload_over_the_limit_is_413_with_or_without_a_length() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.request_body = ByteSize(100_000);
    })
    .await;
    let body = "x".repeat(100_001);

    proxy
        .request(Method::POST, OTHER)
        .body(body.clone())
        .await
        .assert_problem(413, "body-too-large");
    // Rejected before a connection to the origin is made.
    assert_eq!(
        proxy
            .metric("stuut_cache_upstream_requests_total{result=\"http_request_error\"}")
            .await
            .to_bits(),
        0
    );

    let answer = proxy
        .raw(format!(
            "POST {OTHER} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(
        answer.contains("urn:stuut-cache:body-too-large"),
        "{answer}"
    );
    origin.assert_requests(0);

    proxy
        .request(Method::POST, OTHER)
        .body(body[1..].to_owned())
        .await
        .assert_status(200);
    assert_eq!(origin.last_request().body.len(), 100_000);
}
