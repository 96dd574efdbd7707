//! Clients that request large responses and do not read them.

use super::{CALL, connect_narrow, fill, get};
use crate::support::h2::{self, END_HEADERS, END_STREAM, HEADERS};
use crate::support::{Origin, Program, Reply, wait_until};

const READERS: u32 = 500;
const BODY: usize = 8_000_000;

/// Memory allowed per stalled reader: its connection and buffers, but no copy of the body.
const ALLOWED: u64 = 32 << 10;

async fn start_filled() -> (Origin, Program) {
    let origin = Origin::start().await;
    let variables = [("LOG__ACCESS", "false"), ("CACHE__CAPACITY", "64MiB")];
    let program = Program::start(&origin, &variables).await;
    let reply = Reply::json(&format!("\"{}\"", "x".repeat(BODY - 2)));
    origin.reply(CALL, reply.header("cache-control", "max-age=600"));
    fill(&program, CALL).await;
    (origin, program)
}

/// Waits until `count` hits are in flight or done.
async fn until_hits(program: &Program, count: u32) {
    let hits =
        "stuut_cache_request_duration_seconds_count{outcome=\"hit\",route=\"/v1/calls/{call_id}\"}";
    wait_until("a hit per reader", async || {
        let in_flight = program.metric("stuut_cache_in_flight").await;
        program.metric(hits).await + in_flight >= f64::from(count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_stalled_readers_of_a_large_hit_share_one_body() {
    let (_origin, program) = start_filled().await;
    let before = (program.peak_memory(), program.descriptors().await);
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = connect_narrow(program.address).await;
        reader.send(get(CALL)).await;
        readers.push(reader);
    }
    until_hits(&program, READERS).await;
    let grown = (program.peak_memory() - before.0) / u64::from(READERS);
    eprintln!("{grown} bytes per reader");
    assert!(grown < ALLOWED, "{grown} bytes per reader");
    // Other clients are served meanwhile.
    let mut other = program.raw_connection().await;
    other.send(get(CALL)).await;
    assert!(other.read_head().await.contains("; hit"));
    other.read_exact(BODY).await;
    drop(other);

    drop(readers);
    program.wait_for_metric("stuut_cache_connections", 0).await;
    // The client that reads the metrics has connections too.
    let now = program.descriptors().await;
    assert!(
        now <= before.1 + 3.0,
        "{} descriptors before, {now} now",
        before.1
    );
}

/// The kernel held up to 4 MiB of the response for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_readers_of_a_large_hit_hold_little_of_it_in_the_kernel() {
    const SLOW: usize = 100;
    /// Unsent bytes of a connection; the last segment may exceed the bound.
    const MOST: u64 = (128 + 64) << 10;
    let (_origin, program) = start_filled().await;
    let mut readers = Vec::new();
    for _ in 0..SLOW {
        let mut reader = connect_narrow(program.address).await;
        reader.send(get(CALL)).await;
        readers.push(reader);
    }
    wait_until("full send queues", async || {
        let full = send_queues(&program).filter(|&queued| queued > 64 << 10);
        full.count() == SLOW
    })
    .await;
    let mut other = program.raw_connection().await;
    other.send(get(CALL)).await;
    assert!(other.read_head().await.starts_with("HTTP/1.1 200"));
    other.read_exact(BODY).await;
    let most = send_queues(&program).max().expect("connections");
    assert!(most <= MOST, "{most} bytes in a send queue");
    // A slow reader gets the whole response.
    let mut reader = readers.pop().expect("readers");
    reader.read_head().await;
    reader.read_exact(BODY).await;
}

/// The bytes in the kernel's send queues of the program's connections.
fn send_queues(program: &Program) -> impl Iterator<Item = u64> {
    let connections = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let port = format!(":{:04X}", program.address.port());
    let queues = connections.lines().filter_map(|line| {
        let fields = line.split_whitespace().collect::<Vec<_>>();
        // Local address, state (established), and the two queues.
        let is_ours = fields[1].ends_with(&port) && fields[3] == "01";
        let (sending, _) = fields[4].split_once(':')?;
        is_ours.then(|| u64::from_str_radix(sending, 16).expect("a number"))
    });
    queues.collect::<Vec<_>>().into_iter()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_http2_streams_share_one_body() {
    const CONNECTIONS: u32 = 20;
    const STREAMS: u32 = 100;
    let (_origin, program) = start_filled().await;
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
        let requests = (0..STREAMS).flat_map(|n| {
            h2::frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                2 * n + 1,
                &h2::field_block(&fields),
            )
        });
        reader.send(h2::preface()).await;
        reader.send(requests.collect::<Vec<_>>()).await;
        readers.push(reader);
    }
    until_hits(&program, CONNECTIONS * STREAMS).await;
    let grown = (program.peak_memory() - before) / u64::from(CONNECTIONS * STREAMS);
    eprintln!("{grown} bytes per stream");
    assert!(grown < ALLOWED, "{grown} bytes per stream");
    drop(readers);
    program.wait_for_metric("stuut_cache_in_flight", 0).await;
    program.wait_for_metric("stuut_cache_connections", 0).await;
}

/// A response in the buffers of its connection is no longer in flight; the drain must wait for it
/// all the same.
#[tokio::test]
async fn a_reader_that_pauses_during_a_drain_gets_the_whole_response() {
    let (_origin, program) = start_filled().await;
    let mut reader = connect_narrow(program.address).await;
    reader.send(get(CALL)).await;
    until_hits(&program, 1).await;
    // Once `other` is closed, the drain has reached idle connections.
    let mut other = program.raw_connection().await;
    other.send(get(CALL)).await;
    other.read_head().await;
    other.read_exact(BODY).await;
    program.terminate();
    assert_eq!(other.read_to_end().await, "");
    for _ in 0..20 {
        // Long enough to close the reader's connection too, and to exit.
        let _ = tokio::net::TcpStream::connect(program.admin).await;
    }
    reader.read_head().await;
    assert_eq!(reader.read_to_end().await.len(), BODY);
}
