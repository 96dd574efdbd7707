//! Forwarded bodies stream: in little memory, in both directions at once, without buffering.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Program, Proxy, RawConnection, RawOrigin};

const MIB: usize = 1 << 20;

/// Bytes sent in each direction.
const LARGE: usize = 64 * MIB;

/// Memory growth allowed: buffers of sockets and of hyper, independent of the body size.
const ALLOWED: u64 = 8 << 20;

/// A piece of a large body.
const PIECE: usize = 64 << 10;

/// The piece at this index; all pieces differ.
fn piece(at: usize) -> Bytes {
    let mut piece = vec![0; PIECE];
    blake3::Hasher::new()
        .update(&at.to_le_bytes())
        .finalize_xof()
        .fill(&mut piece);
    piece.into()
}

async fn send_large(connection: &mut RawConnection) {
    for at in 0..LARGE / PIECE {
        connection.send(piece(at)).await;
    }
}

/// Reads the large body and checks every byte.
async fn receive_large(connection: &mut RawConnection) {
    for at in 0..LARGE / PIECE {
        assert!(
            connection.read_exact(PIECE).await == piece(at),
            "piece {at} differs"
        );
    }
}

fn head(line: &str) -> String {
    format!("{line}\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n")
}

/// The program after its first request, and its peak memory until then.
async fn start_warm(origin: &RawOrigin) -> (Program, u64) {
    let program = Program::in_front_of(&origin.url(), &[("SERVER__WORKERS", "2")]).await;
    let mut client = program.raw_connection().await;
    client
        .send("GET /v1/warm HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await;
    client.read_head().await;
    let idle = program.peak_memory();
    (program, idle)
}

#[track_caller]
fn assert_memory_flat(program: &Program, idle: u64) {
    let grown = program.peak_memory() - idle;
    assert!(grown < ALLOWED, "memory grew by {grown} bytes from {idle}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_download_uses_little_memory() {
    let origin = RawOrigin::start().await;
    let (program, idle) = start_warm(&origin).await;
    // A bypass, and a miss too large to store.
    for target in ["/v1/other", "/v1/calls/c1"] {
        let mut client = program.raw_connection().await;
        client
            .send(format!(
                "GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n"
            ))
            .await;
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        upstream.send(head("HTTP/1.1 200 OK")).await;
        let sending = tokio::spawn(async move { send_large(&mut upstream).await });
        client.read_head().await;
        receive_large(&mut client).await;
        sending.await.expect("the origin sends all of it");
    }
    assert_memory_flat(&program, idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_uses_little_memory() {
    let origin = RawOrigin::start().await;
    let (program, idle) = start_warm(&origin).await;
    let mut client = program.raw_connection().await;
    client.send(head("POST /v1/other HTTP/1.1")).await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    let sending = tokio::spawn(async move {
        send_large(&mut client).await;
        client
    });
    receive_large(&mut upstream).await;
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    let mut client = sending.await.expect("the client sends all of it");
    assert!(client.read_head().await.starts_with("HTTP/1.1 204"));
    assert_memory_flat(&program, idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_streams_both_ways_at_once() {
    let origin = RawOrigin::start().await;
    let (program, idle) = start_warm(&origin).await;
    let mut client = program.raw_connection().await;
    client.send(head("POST /v1/other HTTP/1.1")).await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream.send(head("HTTP/1.1 200 OK")).await;
    client.read_head().await;
    let echo = tokio::spawn(async move {
        for _ in 0..LARGE / PIECE {
            let piece = upstream.read_exact(PIECE).await;
            upstream.send(piece).await;
        }
    });
    // Each piece is echoed before the next one is sent.
    for at in 0..LARGE / PIECE {
        client.send(piece(at)).await;
        assert!(
            client.read_exact(PIECE).await == piece(at),
            "piece {at} differs"
        );
    }
    echo.await.expect("the echo is complete");
    assert_memory_flat(&program, idle);
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
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        // Not even the head waits for the body.
        upstream.send(format!("HTTP/1.1 200 OK\r\n{fields}")).await;
        client.read_head().await;
        upstream.send(first).await;
        client.read_until("first").await;
        upstream.send(last).await;
        client.read_until("last").await;
        upstream.send(end).await;
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
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    client.send("5\r\nfirst\r\n").await;
    upstream.read_until("first").await;
    client.send("4\r\nlast\r\n0\r\n\r\n").await;
    upstream.read_until("0\r\n\r\n").await;
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 204"));
}

/// The origin refuses the upload and closes without reading the rest, so that writing fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_response_is_read_although_writing_fails() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for _ in 0..30 {
        let mut client = proxy.raw_connection().await;
        let answer = tokio::spawn(async move {
            client.send(head("POST /v1/other HTTP/1.1")).await;
            // The proxy may close before it has read all of it.
            let _ = client.try_send(vec![b'x'; 4 * MIB]).await;
            client.read_until("large").await
        });
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        upstream
            .send(
                "HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 9\r\n\r\ntoo large",
            )
            .await;
        drop(upstream);
        let answer = answer.await.expect("the response is read");
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
}

#[tokio::test]
async fn a_client_that_disconnects_frees_its_origin_connection() {
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
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        upstream.send(head("HTTP/1.1 200 OK")).await;
        upstream.send(piece(0)).await;
        client.read_head().await;
        client.read_exact(PIECE).await;
        client.reset();

        // Without a reader the proxy stops reading, too.
        while upstream.try_send(piece(1)).await.is_ok() {}
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 0)
            .await;
        proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
        proxy.wait_for_metric("stuut_cache_connections", 0).await;
    }
}

#[tokio::test]
async fn a_client_that_disconnects_mid_upload_frees_its_origin_connection() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for reset in [true, false] {
        let mut client = proxy.raw_connection().await;
        client.send(head("POST /v1/other HTTP/1.1")).await;
        client.send(piece(0)).await;
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        upstream.read_exact(PIECE).await;
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        // An incomplete body must not look complete.
        assert_eq!(upstream.read_to_end().await, "");
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 0)
            .await;
        proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
    }
}

/// HTTP/1.0 has no chunks: only a reset tells the client that the body is truncated.
#[tokio::test]
async fn a_truncated_body_is_an_error_to_an_http10_client() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.connect().await;
    let sent = client.write_all(b"GET /v1/export HTTP/1.0\r\n\r\n").await;
    sent.expect("the proxy reads");
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        .await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"half") {
        let read = client.read_buf(&mut answer).await;
        assert!(read.expect("half of a body") > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.0 200"));
    drop(upstream);
    let end = client.read_to_end(&mut answer).await;
    end.expect_err("a reset, not a close");
}
