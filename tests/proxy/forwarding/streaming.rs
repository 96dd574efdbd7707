//! What passes by streams: in little memory, both ways at once, and no byte waits for the last.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Program, Proxy, RawConnection, RawOrigin};

const MIB: usize = 1 << 20;

/// Bytes that move in each direction.
const LARGE: usize = 64 * MIB;

/// By how much the program may grow while they move: buffers of sockets and of hyper, nothing
/// that grows with the body.
const MAY_GROW: u64 = 8 << 20;

/// A piece of a large body.
const PIECE: usize = 64 << 10;

/// The piece at this place; no two are alike.
fn piece(at: usize) -> Bytes {
    let mut piece = vec![0; PIECE];
    blake3::Hasher::new()
        .update(&at.to_le_bytes())
        .finalize_xof()
        .fill(&mut piece);
    piece.into()
}

async fn send_large(wire: &mut RawConnection) {
    for at in 0..LARGE / PIECE {
        wire.send(piece(at)).await;
    }
}

/// Reads the large body, and finds every byte where it belongs.
async fn receive_large(wire: &mut RawConnection) {
    for at in 0..LARGE / PIECE {
        assert!(
            wire.read_exact(PIECE).await == piece(at),
            "piece {at} is another"
        );
    }
}

fn head(line: &str) -> String {
    format!("{line}\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n")
}

/// The program in front of an origin by hand, warm, and what memory it has at its ease.
async fn warm(origin: &RawOrigin) -> (Program, u64) {
    let program = Program::in_front_of(&origin.url(), &[("SERVER__WORKERS", "2")]).await;
    let mut client = program.raw_connection().await;
    client
        .send("GET /v1/warm HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let mut line = origin.accept().await;
    line.read_request().await;
    line.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await;
    client.read_head().await;
    let idle = program.peak_memory();
    (program, idle)
}

#[track_caller]
fn assert_flat(program: &Program, idle: u64) {
    let grown = program.peak_memory() - idle;
    assert!(grown < MAY_GROW, "grew by {grown} bytes from {idle}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_download_takes_little_memory() {
    let origin = RawOrigin::start().await;
    let (program, idle) = warm(&origin).await;
    // Not stored, because too large: the same for one that the cache looks at.
    for target in ["/v1/other", "/v1/calls/c1"] {
        let mut client = program.raw_connection().await;
        client
            .send(format!(
                "GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n"
            ))
            .await;
        let mut line = origin.accept().await;
        line.read_request().await;
        line.send(head("HTTP/1.1 200 OK")).await;
        let sending = tokio::spawn(async move { send_large(&mut line).await });
        client.read_head().await;
        receive_large(&mut client).await;
        sending.await.expect("the origin can send all");
    }
    assert_flat(&program, idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_takes_little_memory() {
    let origin = RawOrigin::start().await;
    let (program, idle) = warm(&origin).await;
    let mut client = program.raw_connection().await;
    client.send(head("POST /v1/other HTTP/1.1")).await;
    let mut line = origin.accept().await;
    line.read_head().await;
    let sending = tokio::spawn(async move {
        send_large(&mut client).await;
        client
    });
    receive_large(&mut line).await;
    line.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    let mut client = sending.await.expect("the client can send all");
    assert!(client.read_head().await.starts_with("HTTP/1.1 204"));
    assert_flat(&program, idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_streams_both_ways_at_once() {
    let origin = RawOrigin::start().await;
    let (program, idle) = warm(&origin).await;
    let mut client = program.raw_connection().await;
    client.send(head("POST /v1/other HTTP/1.1")).await;
    let mut line = origin.accept().await;
    line.read_head().await;
    line.send(head("HTTP/1.1 200 OK")).await;
    client.read_head().await;
    let echo = tokio::spawn(async move {
        for _ in 0..LARGE / PIECE {
            let piece = line.read_exact(PIECE).await;
            line.send(piece).await;
        }
    });
    // Each piece has to come back before the next one goes.
    for at in 0..LARGE / PIECE {
        client.send(piece(at)).await;
        assert!(
            client.read_exact(PIECE).await == piece(at),
            "piece {at} is another"
        );
    }
    echo.await.expect("the echo ends well");
    assert_flat(&program, idle);
}

#[tokio::test]
async fn the_first_bytes_arrive_before_the_last_are_sent() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let framings = [
        ("content-length: 10\r\n\r\n", "first", " last", ""),
        (
            "transfer-encoding: chunked\r\n\r\n",
            "5\r\nfirst\r\n",
            "5\r\n last\r\n",
            "0\r\n\r\n",
        ),
        ("connection: close\r\n\r\n", "first", " last", ""),
    ];
    for (fields, first, last, end) in framings {
        let mut client = proxy.raw_connection().await;
        client
            .send("GET /v1/other HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        let mut line = origin.accept().await;
        line.read_request().await;
        // Not even the head waits for the body.
        line.send(format!("HTTP/1.1 200 OK\r\n{fields}")).await;
        client.read_head().await;
        line.send(first).await;
        client.read_until("first").await;
        line.send(last).await;
        client.read_until("last").await;
        line.send(end).await;
    }
}

#[tokio::test]
async fn an_upload_reaches_the_origin_while_it_is_sent() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.raw_connection().await;
    client
        .send("POST /v1/other HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut line = origin.accept().await;
    line.read_head().await;
    client.send("5\r\nfirst\r\n").await;
    line.read_until("first").await;
    client.send("4\r\nlast\r\n0\r\n\r\n").await;
    line.read_until("0\r\n\r\n").await;
    line.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 204"));
}

/// An origin may refuse an upload without reading it.
#[tokio::test]
async fn an_answer_may_come_before_the_upload_has_ended() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.raw_connection().await;
    client
        .send("POST /v1/other HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegin")
        .await;
    let mut line = origin.accept().await;
    line.read_until("begin").await;
    line.send("HTTP/1.1 422 No\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        .await;
    drop(line);
    assert!(client.read_head().await.starts_with("HTTP/1.1 422"));
    client.read_until("no").await;
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_the_connection_to_the_origin() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.cache.max_entry = stuut_cache::config::ByteSize(1_000);
    })
    .await;
    for target in ["/v1/other", "/v1/calls/c1"] {
        let mut client = proxy.raw_connection().await;
        client
            .send(format!(
                "GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n"
            ))
            .await;
        let mut line = origin.accept().await;
        line.read_request().await;
        line.send(head("HTTP/1.1 200 OK")).await;
        line.send(piece(0)).await;
        client.read_head().await;
        client.read_exact(PIECE).await;
        client.reset();

        // Nobody is there to read on, so neither does the proxy.
        while line.try_send(piece(1)).await.is_ok() {}
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 0)
            .await;
        proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
        proxy.wait_for_metric("stuut_cache_connections", 0).await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_mid_upload_frees_the_connection_to_the_origin() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for reset in [true, false] {
        let mut client = proxy.raw_connection().await;
        client.send(head("POST /v1/other HTTP/1.1")).await;
        client.send(piece(0)).await;
        let mut line = origin.accept().await;
        line.read_head().await;
        line.read_exact(PIECE).await;
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        // A body that has not come whole must not look as if it had.
        assert_eq!(line.read_to_end().await, "");
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 0)
            .await;
        proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
    }
}

/// In HTTP/1.0 the end of the connection is the end of the body: half of one ended as if it were
/// whole.
#[tokio::test]
async fn a_body_that_the_origin_breaks_off_is_whole_to_a_client_of_http_1_0() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.connect().await;
    let asked = client.write_all(b"GET /v1/export HTTP/1.0\r\n\r\n").await;
    asked.expect("it is read");
    let mut line = origin.accept().await;
    line.read_head().await;
    line.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        .await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"half") {
        let read = client.read_buf(&mut answer).await;
        assert!(read.expect("half of a body") > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.0 200"));
    drop(line);
    let end = client.read_to_end(&mut answer).await;
    end.expect_err("no end that may be one of the body");
}
