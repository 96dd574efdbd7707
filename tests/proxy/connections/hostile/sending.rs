//! Clients whose uploads are rejected, slow, or longer than the exchange.

use std::time::Duration;
use stuut_cache::config::ByteSize;

use super::{CALL, closed_by, get};
use crate::support::h2::{self, DATA, END_HEADERS, HEADERS};
use crate::support::{Origin, Proxy, RawOrigin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn post(length: usize) -> String {
    format!("POST /v1/other HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

/// Closing a socket with unread bytes resets it, which would lose the response (lingering close).
#[tokio::test]
async fn a_client_still_sending_a_rejected_upload_gets_the_response() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.request_body = ByteSize(1_000);
    })
    .await;
    let length = 2 << 20;
    let mut client = proxy.raw_connection().await;
    client.send(post(length)).await;
    client.send(vec![b'x'; length]).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(
        answer.ends_with("urn:stuut-cache:body-too-large\"}"),
        "{answer}"
    );
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    assert_eq!(proxy.metric(&closed_by("unread")).await.to_string(), "0");
    origin.assert_requests(0);
}

/// After an Upgrade offer hyper leaves the connection to the handler of the upgrade; without one, it
/// was closed at once with the rest of the upload unread.
#[tokio::test]
async fn a_rejected_upload_that_offers_an_upgrade_is_not_reset() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.request_body = ByteSize(1_000);
    })
    .await;
    let length = 2 << 20;
    let head = post(length);
    let offer = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: \r\n";
    let mut client = proxy.connect().await;
    let head = format!("{}{offer}\r\n", &head[..head.len() - 2]);
    client
        .write_all(head.as_bytes())
        .await
        .expect("the proxy reads");
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.expect("a response");
    assert_eq!(&answer, b"HTTP/1.1 413");
    let sent = client.write_all(&vec![b'x'; length]).await;
    sent.expect("the proxy still reads");
    let rest = client.read_to_end(&mut Vec::new()).await;
    rest.expect("a close, not a reset");
}

#[tokio::test]
async fn the_rest_of_a_rejected_request_is_read_for_a_bounded_time() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.request_body = ByteSize(1_000);
    })
    .await;
    for head in [post(usize::MAX / 4), "no request\r\n".to_owned()] {
        let mut client = proxy.raw_connection().await;
        client.send(head).await;
        while client.try_send(vec![b'x'; 64 << 10]).await.is_ok() {}
    }
    proxy.wait_for_metric(&closed_by("unread"), 2).await;
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    origin.assert_requests(0);
}

/// While the rest of a rejected request is read and dropped, a quiet connection must not become
/// idle: the rest would be served as a new request.
#[tokio::test]
async fn bytes_after_a_rejection_are_never_read_as_a_request() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.raw_connection().await;
    let ambiguous = "content-length: 5\r\ntransfer-encoding: chunked";
    client
        .send(format!(
            "POST /v1/a HTTP/1.1\r\nhost: a\r\n{ambiguous}\r\n\r\n"
        ))
        .await;
    let answer = client.read_head().await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    client.read_until("}").await;
    for _ in 0..20 {
        // Long enough for a quiet connection to become idle.
        proxy.metric("stuut_cache_connections_idle").await;
    }
    let _ = client.try_send(get("/v1/smuggled")).await;
    client.half_close().await;
    assert_eq!(client.read_to_end().await, "");
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    origin.assert_requests(0);
}

/// The response may depend on the body, so it is forwarded to the origin.
#[tokio::test]
async fn a_get_with_a_body_bypasses_the_cache_and_its_body_is_no_request() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    let smuggled = get("/v1/smuggled");
    let length = smuggled.len();
    let mut client = proxy.raw_connection().await;
    for framing in [
        format!("content-length: {length}\r\n\r\n{smuggled}"),
        format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"),
    ] {
        let head = get(CALL);
        client
            .send(format!("{}{framing}", &head[..head.len() - 2]))
            .await;
        let answer = client.read_head().await;
        assert!(answer.contains("fwd=bypass"), "{answer}");
        client.read_until("}").await;
        assert_eq!(origin.last_request().body, smuggled.as_bytes());
    }
    client.send(get(CALL)).await;
    assert!(client.read_head().await.contains("; hit"));
    origin.assert_requests(3);
}

/// The origin answers and closes before it has read the body, and the proxy does not read the rest:
/// it must not become a request.
#[tokio::test]
async fn the_rest_of_a_body_after_an_early_response_is_no_request() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let smuggled = get("/v1/smuggled");
    let mut client = proxy.raw_connection().await;
    client.send(post(4 + smuggled.len()) + "half").await;
    let mut upstream = origin.accept().await;
    upstream.read_until("half").await;
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone")
        .await;
    drop(upstream);
    client.read_until("done").await;
    // The proxy may have closed already.
    let _ = client.try_send(smuggled).await;
    assert_eq!(client.read_to_end().await, "");
    // The next request at the origin is the next one sent.
    let mut next = proxy.raw_connection().await;
    next.send(get("/v1/next")).await;
    assert_eq!(
        origin.accept().await.read_request().await.target(),
        "/v1/next"
    );
}

/// Body bytes after the response were taken for the beginning of a head, and the upload was cut off
/// by `server.header_timeout`.
#[tokio::test]
async fn header_timeout_does_not_apply_to_an_upload_after_its_response() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.server.header_timeout = Duration::from_millis(300);
    })
    .await;
    let mut client = proxy.raw_connection().await;
    client.send(post(10) + "first").await;
    let mut upstream = origin.accept().await;
    upstream.read_until("first").await;
    upstream
        .send("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    client.read_until("{}").await;
    client.send("th").await;
    upstream.read_until("th").await;
    // `slow` began later: had the upload the same deadline, it would have been closed first.
    let mut slow = proxy.raw_connection().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.read_to_end().await, "");
    client.send("en").await;
    upstream.read_until("en").await;
    client.send("!").await;
    upstream.read_until("!").await;
}

/// A byte now and then restarts the stall timeout, so an upload also has a minimum rate.
#[tokio::test]
async fn an_upload_below_the_minimum_rate_is_400() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.upstream.total_timeout = Duration::from_millis(200);
    })
    .await;
    let (mut read, mut write) = proxy.connect().await.into_split();
    let head = write.write_all(post(1 << 20).as_bytes()).await;
    head.expect("the proxy reads");
    let drip = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = async {
        let mut answer = [0; 12];
        read.read_exact(&mut answer).await.expect("a response");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::select! {
        answer = answered => answer,
        () = drip => panic!("closed without a response"),
    };
    assert_eq!(answer, "HTTP/1.1 400");
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
}

/// Without a limit it would hold its origin slot forever.
#[tokio::test]
async fn an_upload_over_http2_is_cut_after_its_response() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.raw_connection().await;
    let head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/other"),
    ];
    let head = h2::frame(HEADERS, END_HEADERS, 1, &h2::field_block(&head));
    let drip = h2::frame(DATA, 0, 1, b"drip");
    client.send([h2::preface(), head, drip].concat()).await;
    let mut upstream = origin.accept().await;
    upstream.read_until("drip").await;
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        .await;
    while client.read_frame().await.expect("a response").kind != DATA {}
    tokio::spawn(async move { while upstream.read_some().await.is_some() {} });
    let drip = async {
        while client.try_send(h2::frame(DATA, 0, 1, b"x")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the client was disconnected");
    };
    proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
    proxy.advance_waiters(5);
    tokio::select! {
        () = proxy.wait_for_metric("stuut_cache_upstream_in_flight", 0) => {}
        () = drip => {}
    }
}

/// The origin responds, and then reads nothing: hyper waits to write, and does not poll the upload,
/// whose own limits are never checked.
#[tokio::test]
async fn an_upload_that_the_origin_leaves_unread_after_its_response_is_cut() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.limits.uploads = 1;
        // As long as `upstream.total_timeout`, TCP_USER_TIMEOUT ends it: not in this test.
        config.upstream.total_timeout = Duration::from_hours(1);
    })
    .await;
    let (mut read, mut write) = proxy.connect().await.into_split();
    let uploading = tokio::spawn(async move {
        let sent = write.write_all(post(1 << 29).as_bytes()).await;
        sent.expect("the proxy reads");
        let piece = vec![b'x'; 1 << 20];
        while write.write_all(&piece).await.is_ok() {}
    });
    let mut unread = origin.accept().await;
    unread.read_head().await;
    unread
        .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        .await;
    let mut answer = vec![0; 12];
    read.read_exact(&mut answer).await.expect("a response");
    assert_eq!(answer, b"HTTP/1.1 200");
    let other = || proxy.request(http::Method::POST, "/v1/other").body("{}");
    other()
        .await
        .assert_problem(503, "connection_limit_reached");
    proxy.advance_waiters(60);
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    let (answer, ()) = tokio::join!(other(), async {
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        upstream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
    });
    answer.assert_status(200);
    uploading.await.expect("the client is disconnected");
}

/// The client was blamed for a slow upload (400) when the origin did not read it.
#[tokio::test]
async fn an_origin_that_stops_reading_an_upload_is_504() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.upstream.total_timeout = Duration::from_secs(1);
        config.limits.request_body = ByteSize(1 << 30);
    })
    .await;
    let mut client = proxy.connect().await;
    let (mut read, mut write) = client.split();
    let send = async {
        let head = post(1 << 30);
        let sent = write.write_all(head.as_bytes()).await;
        sent.expect("the proxy reads");
        let piece = vec![b'x'; 1 << 20];
        while write.write_all(&piece).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let answered = async {
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        let mut answer = [0; 12];
        read.read_exact(&mut answer).await.expect("a response");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::select! {
        answer = answered => answer,
        () = send => unreachable!("the sender never returns"),
    };
    assert_eq!(answer, "HTTP/1.1 504");
}

/// Without `connection: close` the client could send its next request on the connection, which the
/// proxy closes, and lose it.
#[tokio::test]
async fn a_failure_before_the_body_is_read_sends_connection_close() {
    let (address, _reserved) = Origin::reserve_port();
    let url = format!("http://{address}");
    let proxy = Proxy::in_front_of(&url, |config| config.upstream.retries = 0).await;
    let mut client = proxy.raw_connection().await;
    client.send(post(2)).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    // With the body read, the connection stays open.
    let mut client = proxy.raw_connection().await;
    client.send(post(2) + "{}").await;
    let head = client.read_head().await;
    assert!(!head.contains("connection: close"), "{head}");
    client.read_until("}").await;
    client.send(post(2) + "{}").await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
}
