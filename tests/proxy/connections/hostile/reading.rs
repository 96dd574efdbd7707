//! Clients that ask for much and read nothing.

use tokio::net::TcpSocket;

use super::{CALL, fill, get};
use crate::support::h2::{self, END_HEADERS, END_STREAM, HEADERS};
use crate::support::{Origin, Program, RawConnection, Reply, wait_until};

const READERS: u32 = 500;
const BODY: usize = 8_000_000;

/// What a reader that does not read may take: its connection and its place in the queue, never
/// the body.
const ALLOWED: u64 = 32 << 10;

async fn filled() -> (Origin, Program) {
    let origin = Origin::start().await;
    let variables = [("LOG__ACCESS", "false"), ("CACHE__CAPACITY", "64MiB")];
    let program = Program::start(&origin, &variables).await;
    let reply = Reply::json(&format!("\"{}\"", "x".repeat(BODY - 2)));
    origin.reply(CALL, reply.header("cache-control", "max-age=600"));
    fill(&program, CALL).await;
    (origin, program)
}

/// A connection whose client has room for next to nothing: the system buffers less for it.
async fn narrow(program: &Program) -> RawConnection {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(4 << 10)
        .expect("a socket takes the option");
    RawConnection::new(socket.connect(program.address).await.expect("it accepts"))
}

/// Waits until so many readers are being answered, or have been as far as they let themselves.
async fn until_asked(program: &Program, readers: u32) {
    let hits = "stuut_cache_request_duration_seconds_count{outcome=\"hit\"}";
    wait_until("as many hits as readers", async || {
        let busy = program.metric("stuut_cache_in_flight").await;
        program.metric(hits).await + busy >= f64::from(readers)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_readers_of_large_hits_that_do_not_read_share_one_body() {
    let (_origin, program) = filled().await;
    let before = (program.peak_memory(), program.descriptors());
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = narrow(&program).await;
        reader.send(get(CALL)).await;
        readers.push(reader);
    }
    // A hit ends when it is handed to the connection: how much of it has gone is its affair.
    until_asked(&program, READERS).await;
    let grown = (program.peak_memory() - before.0) / u64::from(READERS);
    eprintln!("{grown} bytes a reader");
    assert!(grown < ALLOWED, "{grown} bytes a reader");
    // Others are served meanwhile.
    let mut other = program.raw_connection().await;
    other.send(get(CALL)).await;
    assert!(other.read_head().await.contains("; hit"));
    other.read_exact(BODY).await;
    drop(other);

    drop(readers);
    program.wait_for_metric("stuut_cache_connections", 0).await;
    // Those who ask have connections too.
    let now = program.descriptors();
    assert!(now <= before.1 + 3, "{} descriptors, now {now}", before.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_http2_that_nobody_reads_share_one_body() {
    const CONNECTIONS: u32 = 10;
    const STREAMS: u32 = 200;
    let (_origin, program) = filled().await;
    let before = program.peak_memory();
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", CALL),
        ("authorization", "Bearer a"),
    ];
    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut reader = program.raw_connection().await;
        let asks = (0..STREAMS).flat_map(|n| {
            h2::frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                2 * n + 1,
                &h2::field_block(&fields),
            )
        });
        reader.send(h2::preface()).await;
        reader.send(asks.collect::<Vec<_>>()).await;
        readers.push(reader);
    }
    until_asked(&program, CONNECTIONS * STREAMS).await;
    let grown = (program.peak_memory() - before) / u64::from(CONNECTIONS * STREAMS);
    eprintln!("{grown} bytes a stream");
    assert!(grown < ALLOWED, "{grown} bytes a stream");
    drop(readers);
    program.wait_for_metric("stuut_cache_in_flight", 0).await;
    program.wait_for_metric("stuut_cache_connections", 0).await;
}

/// Once it was handed to the connection, an answer was no longer one in flight: who took a breath
/// of a second while the proxy was ending lost the rest of it.
#[tokio::test]
async fn a_reader_that_pauses_in_a_drain_loses_the_rest_of_its_answer() {
    let (_origin, program) = filled().await;
    let mut reader = narrow(&program).await;
    reader.send(get(CALL)).await;
    until_asked(&program, 1).await;
    // It has nothing to wait for.
    let mut other = program.raw_connection().await;
    other.send(get(CALL)).await;
    other.read_head().await;
    other.read_exact(BODY).await;
    program.terminate();
    assert_eq!(other.read_to_end().await, "");
    for _ in 0..20 {
        // Time enough to end the reader's connection like that one, and then itself.
        let _ = tokio::net::TcpStream::connect(program.admin).await;
    }
    reader.read_head().await;
    assert_eq!(reader.read_to_end().await.len(), BODY);
}
