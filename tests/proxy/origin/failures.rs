//! An origin that is away, late or talks nonsense: a clear answer in bounded time, nothing is stored,
//! and the next request is fine.

use std::time::Duration;

use http::Method;
use stuut_cache::config::{ByteSize, Config};

use crate::support::{Origin, Proxy, RawOrigin, Reply, Response};

pub(super) const CALL: &str = "/v1/calls/c1";

pub(super) const OTHER: &str = "/v1/other";

/// Deadlines that a story can wait for.
fn impatient(config: &mut Config) {
    config.upstream.connect_timeout = Duration::from_millis(100);
    config.upstream.response_timeout = Duration::from_millis(100);
    config.upstream.total_timeout = Duration::from_millis(300);
}

/// The proxy says that the origin failed, and how.
#[track_caller]
pub(super) fn assert_failed(answer: Response, status: u16, error: &str) {
    let expected = format!("stuut-cache; error={error}; details=\"");
    let answer = answer.assert_problem(status, error);
    let said = answer.header("proxy-status").unwrap_or_default();
    assert!(said.starts_with(&expected), "{answer}");
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

/// What comes instead of a head.
fn broken_heads() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(300 << 10));
    let many = (0..101)
        .map(|n| format!("x-{n}: 1\r\n"))
        .collect::<Vec<_>>()
        .concat();
    let many = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{many}\r\n");
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{{}}").into_bytes();
    vec![
        ("closed", vec![], "connection_terminated"),
        (
            "half a head",
            b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(),
            "connection_terminated",
        ),
        (
            "another language",
            b"220 mail ESMTP\r\n\r\n".to_vec(),
            "http_protocol_error",
        ),
        (
            "no status",
            b"HTTP/1.1 OK\r\n\r\n".to_vec(),
            "http_protocol_error",
        ),
        ("endless head", endless.into_bytes(), "http_protocol_error"),
        ("101 fields", many.into_bytes(), "http_protocol_error"),
        (
            "an upgrade nobody asked for",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                .to_vec(),
            "http_protocol_error",
        ),
        (
            "two lengths",
            head("content-length: 2\r\ncontent-length: 3"),
            "http_protocol_error",
        ),
        (
            "an odd length",
            head("content-length: +2"),
            "http_protocol_error",
        ),
        (
            "a coding nobody asked for",
            head("transfer-encoding: gzip"),
            "http_protocol_error",
        ),
        (
            "a coding nobody asked for, in chunks",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
                .to_vec(),
            "http_protocol_error",
        ),
        (
            "chunks of HTTP/1.0",
            b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec(),
            "http_protocol_error",
        ),
    ]
}

#[tokio::test]
async fn an_origin_that_refuses_connections_is_502() {
    let gone = RawOrigin::start().await;
    let url = gone.url();
    drop(gone);
    let proxy = Proxy::in_front_of(&url, |_| {}).await;

    for target in [CALL, OTHER] {
        let answer = proxy.get(target).bearer("a").await;
        assert_failed(answer, 502, "connection_refused");
    }
    let answer = proxy.request(Method::POST, CALL).body("x").await;
    assert_failed(answer, 502, "connection_refused");
    assert_nothing_stored(&proxy).await;
}

#[tokio::test]
async fn an_origin_without_an_address_is_502() {
    let proxy = Proxy::in_front_of("http://nonexistent.invalid", |config| {
        // The resolver has time to say no.
        config.upstream.connect_timeout = Duration::from_mins(1);
    })
    .await;

    for target in [CALL, OTHER] {
        let answer = proxy.get(target).bearer("a").await;
        assert_failed(answer, 502, "dns_error");
    }
}

/// A listener whose queue is full answers no SYN.
#[tokio::test]
async fn an_origin_that_does_not_accept_is_504() {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any_port.into()).expect("a loopback port");
    listener.listen(0).expect("a bound socket listens");
    let address = listener.local_addr().expect("an address");
    let address = address.as_socket().expect("an IPv4 address");
    let mut queue = Vec::new();
    while let Ok(waiting) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))
    {
        queue.push(waiting);
    }
    let proxy = Proxy::in_front_of(&format!("http://{address}"), impatient).await;

    for target in [CALL, OTHER] {
        let answer = proxy.get(target).bearer("a").await;
        assert_failed(answer, 504, "connection_timeout");
    }
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_504() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, impatient).await;
    for target in [CALL, OTHER] {
        origin.reply(target, Reply::raw_kept_open(""));
        let answer = proxy.get(target).bearer("a").await;
        assert_failed(answer, 504, "http_response_timeout");

        origin.reply(target, Reply::raw_kept_open("HTTP/1.1 200 OK\r\n"));
        let answer = proxy.get(target).bearer("a").await;
        assert_failed(answer, 504, "http_response_timeout");
    }
    origin.reply(OTHER, Reply::raw_kept_open(""));
    let answer = proxy.request(Method::POST, OTHER).body("x").await;
    assert_failed(answer, 504, "http_response_timeout");
    assert_nothing_stored(&proxy).await;

    origin.reply(CALL, Reply::json("{}"));
    proxy.get(CALL).bearer("a").await.assert_miss();
}

#[tokio::test]
async fn an_origin_that_falls_silent_mid_body_is_given_up() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, impatient).await;
    let silent = Reply::raw_kept_open("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome");
    origin.reply(CALL, silent.clone());
    origin.reply(OTHER, silent);

    let answer = proxy.get(CALL).bearer("a").await;
    assert_failed(answer, 504, "http_response_timeout");
    proxy.get(OTHER).await.assert_status(200).assert_truncated();
    assert_nothing_stored(&proxy).await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502_and_the_next_request_is_fine() {
    for (what, bytes, error) in broken_heads() {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        for target in [CALL, OTHER] {
            origin.reply(target, Reply::raw(&bytes));
            let answer = proxy.get(target).bearer("a").await;
            eprintln!("{what}, {target}");
            assert_failed(answer, 502, error);
        }
        assert_nothing_stored(&proxy).await;
        for target in [CALL, OTHER] {
            origin.reply(target, Reply::json("{}"));
            proxy
                .get(target)
                .bearer("a")
                .await
                .assert_status(200)
                .assert_body("{}");
        }
    }
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for target in [CALL, OTHER] {
        origin.reply(
            target,
            Reply::raw_kept_open(
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                 HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            ),
        );
        proxy
            .get(target)
            .bearer("a")
            .await
            .assert_status(200)
            .assert_no_header("link")
            .assert_body("{}");
    }
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn a_pooled_connection_that_has_died_costs_no_get() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let answer = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 2\r\n\r\n{}";

    for target in [CALL, OTHER] {
        let (first, line) = tokio::join!(proxy.get(target).bearer("a"), async {
            let mut line = origin.accept().await;
            line.read_request().await;
            line.send(answer).await;
            line
        });
        first.assert_status(200);
        drop(line);
        let (second, line) = tokio::join!(proxy.get(target).bearer("a"), async {
            let mut line = origin.accept().await;
            line.read_request().await;
            line.send(answer).await;
            line
        });
        second.assert_status(200);
        drop(line);
    }
}

#[tokio::test]
async fn an_upload_over_the_limit_is_413_declared_or_not() {
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
    // Refused at the door: not even a connection was made.
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
