//! Clients that send what nobody wants.

use std::time::Duration;
use stuut_cache::config::ByteSize;

use super::{CALL, closed_by, get};
use crate::support::h2::{self, DATA, END_HEADERS, HEADERS};
use crate::support::{Origin, Proxy, RawOrigin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn post(length: usize) -> String {
    format!("POST /v1/other HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

/// Closed with the rest unread, the socket would be reset, and the answer lost on its way.
#[tokio::test]
async fn a_refused_upload_is_answered_though_it_goes_on_for_a_while() {
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

/// hyper leaves the end of a connection on which another protocol was offered to whoever takes the
/// offer. Nobody does: it was closed at once, with the rest of the upload unread.
#[tokio::test]
async fn a_refused_upload_that_offers_an_upgrade_is_reset_instead_of_answered() {
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
    client.write_all(head.as_bytes()).await.expect("it is read");
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
    let sent = client.write_all(&vec![b'x'; length]).await;
    sent.expect("what is on its way is still taken");
    let rest = client.read_to_end(&mut Vec::new()).await;
    rest.expect("an end, not a reset");
}

#[tokio::test]
async fn a_client_that_sends_on_and_on_is_not_listened_to_for_ever() {
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

/// While what came behind a refused head was read and dropped, the silent connection was taken back,
/// and from then on the rest was served as if it began with a request.
#[tokio::test]
async fn what_comes_behind_the_last_answer_is_no_request_however_late_it_comes() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.raw_connection().await;
    let two_ways = "content-length: 5\r\ntransfer-encoding: chunked";
    client
        .send(format!(
            "POST /v1/a HTTP/1.1\r\nhost: a\r\n{two_ways}\r\n\r\n"
        ))
        .await;
    let answer = client.read_head().await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    client.read_until("}").await;
    for _ in 0..20 {
        // Time enough to take a silent connection back.
        proxy.metric("stuut_cache_connections_idle").await;
    }
    let _ = client.try_send(get("/v1/smuggled")).await;
    client.half_close().await;
    assert_eq!(client.read_to_end().await, "");
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    origin.assert_requests(0);
}

/// What is stored has been asked for without a body: one that comes with it may mean something.
#[tokio::test]
async fn a_body_on_the_get_of_a_stored_call_goes_to_the_origin_and_is_no_request() {
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

/// The origin answers before it has read what comes with the request, and neither does the proxy
/// read to the end: what was meant as a body must not become a request.
#[tokio::test]
async fn what_is_left_of_a_body_behind_an_early_answer_is_no_request() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let smuggled = get("/v1/smuggled");
    let mut client = proxy.raw_connection().await;
    client.send(post(4 + smuggled.len()) + "half").await;
    let mut line = origin.accept().await;
    line.read_until("half").await;
    line.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone")
        .await;
    drop(line);
    client.read_until("done").await;
    // It may have closed already.
    let _ = client.try_send(smuggled).await;
    assert_eq!(client.read_to_end().await, "");
    // The next one at the origin is the next request.
    let mut next = proxy.raw_connection().await;
    next.send(get("/v1/next")).await;
    assert_eq!(
        origin.accept().await.read_request().await.target(),
        "/v1/next"
    );
}

/// What came of the body behind its answer was taken for the beginning of a head, and the upload cut
/// off after `server.header_timeout`, however fast it was.
#[tokio::test]
async fn an_upload_that_goes_on_behind_its_answer_is_a_head_that_takes_too_long() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.server.header_timeout = Duration::from_millis(300);
    })
    .await;
    let mut client = proxy.raw_connection().await;
    client.send(post(10) + "first").await;
    let mut line = origin.accept().await;
    line.read_until("first").await;
    line.send("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    client.read_until("{}").await;
    client.send("th").await;
    line.read_until("th").await;
    // It began later: a bound that held for both would have ended the upload before.
    let mut slow = proxy.raw_connection().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.read_to_end().await, "");
    client.send("en").await;
    line.read_until("en").await;
    client.send("!").await;
    line.read_until("!").await;
}

/// A byte now and then kept a place at the origin for as long as it pleased.
#[tokio::test]
async fn an_upload_that_drips_keeps_its_place_at_the_origin_for_ever() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.upstream.total_timeout = Duration::from_millis(200);
    })
    .await;
    let mut client = proxy.raw_connection().await;
    client.send(post(1 << 20)).await;
    let mut dripping = proxy.connect().await;
    drop(client);
    tokio::io::AsyncWriteExt::write_all(&mut dripping, post(1 << 20).as_bytes())
        .await
        .expect("the proxy takes bytes");
    let (mut read, mut write) = dripping.into_split();
    let drip = async {
        // Never silent for as long as silence is allowed.
        while tokio::io::AsyncWriteExt::write_all(&mut write, b"x")
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = async {
        let mut answer = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer)
            .await
            .expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::select! {
        answer = answered => answer,
        () = drip => panic!("closed without an answer"),
    };
    assert_eq!(answer, "HTTP/1.1 400");
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
}

/// The same behind an answer that the origin has given early: nobody waited for anything any more.
#[tokio::test]
async fn an_upload_that_drips_behind_its_answer_kept_its_place_at_the_origin_for_ever() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.upstream.total_timeout = Duration::from_millis(200);
    })
    .await;
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
    let mut line = origin.accept().await;
    line.read_until("drip").await;
    line.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        .await;
    while client.read_frame().await.expect("an answer").kind != DATA {}
    tokio::spawn(async move { while line.read_some().await.is_some() {} });
    let drip = async {
        // Never silent for as long as silence is allowed.
        while client.try_send(h2::frame(DATA, 0, 1, b"x")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody had to end it");
    };
    tokio::select! {
        () = proxy.wait_for_metric("stuut_cache_upstream_in_flight", 0) => {}
        () = drip => {}
    }
}

/// A client whose upload an origin did not take was told that it had sent too slowly: 400, where it
/// had done nothing wrong.
#[tokio::test]
async fn an_origin_that_takes_no_more_of_an_upload_is_the_fault_of_its_client() {
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
        write
            .write_all(head.as_bytes())
            .await
            .expect("the proxy takes bytes");
        let piece = vec![b'x'; 1 << 20];
        while write.write_all(&piece).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let answered = async {
        let mut line = origin.accept().await;
        line.read_head().await;
        let mut answer = [0; 12];
        read.read_exact(&mut answer).await.expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::select! {
        answer = answered => answer,
        () = send => unreachable!("it never ends"),
    };
    assert_eq!(answer, "HTTP/1.1 504");
}

/// Whoever sent the rest of its request behind such an answer, and then the next one, as it may on a
/// connection that is kept, had that one lost: the connection was closed without a word.
#[tokio::test]
async fn a_connection_ends_unannounced_behind_a_failure_that_comes_before_the_body() {
    let origin = RawOrigin::start().await;
    let url = origin.url();
    drop(origin);
    let proxy = Proxy::in_front_of(&url, |config| config.upstream.retries = 0).await;
    let mut client = proxy.raw_connection().await;
    client.send(post(2)).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    // A body that has come is no reason.
    let mut client = proxy.raw_connection().await;
    client.send(post(2) + "{}").await;
    let head = client.read_head().await;
    assert!(!head.contains("connection: close"), "{head}");
    client.read_until("}").await;
    client.send(post(2) + "{}").await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
}
