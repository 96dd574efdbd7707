//! Clients that make the proxy hold bytes for them: all together stay within `limits.in_transit`, those
//! that hold the most for the longest are closed, and others are served meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};

use stuut_cache::config::ByteSize;

use super::{CALL, closed_by, connect_narrow, get, small_program};
use crate::support::h2::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, SETTINGS};
use crate::support::{Origin, Proxy, RawConnection, Reply, wait_until};

const BOUND: usize = 8 << 20;

/// An eighth, and the bytes of the largest attacker here, which may arrive before it is closed.
const OVERDRAFT: usize = BOUND / 8 + (4 << 20);

const SLOW: &str = "/v1/calls/slow";

/// A proxy with small bounds, and a client that it serves throughout.
struct Story {
    origin: Origin,
    proxy: Proxy,
    /// Requests of the victim.
    served: AtomicUsize,
}

impl Story {
    async fn start() -> Self {
        let origin = Origin::start().await;
        let proxy = Proxy::with(&origin, |config| {
            config.limits.in_transit = ByteSize(BOUND as u64);
            config.cache.capacity = ByteSize(4 << 20);
            config.cache.max_entry = ByteSize(2 << 20);
        })
        .await;
        origin.default_reply(Reply::echo().header("cache-control", "max-age=600"));
        let story = Self {
            origin,
            proxy,
            served: AtomicUsize::new(0),
        };
        story.serve_victim().await;
        story
    }

    /// A miss, a hit, a view and an upload, all answered; and the bytes in transit are within bounds.
    async fn serve_victim(&self) {
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        let call = format!("/v1/calls/victim{number}");
        let get = |target: &str| self.proxy.get(target).bearer("victim");
        get(&call).await.assert_status(200).assert_miss();
        // A hit, unless the attack has evicted it.
        get(&call).await.assert_status(200);
        let view = get(&format!("{call}?fields=method")).await;
        view.assert_status(200);
        let upload = self.proxy.request(http::Method::POST, "/v1/other");
        let upload = upload.bearer("victim").body("x".repeat(100_000)).await;
        upload.assert_status(200);
        let held = self.held().await;
        assert!(held <= BOUND + OVERDRAFT, "{held} bytes in transit");
    }

    /// The bytes in transit.
    async fn held(&self) -> usize {
        let text = self.proxy.admin(http::Method::GET, "/metrics").await.text();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("stuut_cache_in_transit_bytes{"));
        let values = lines.map(|line| line.rsplit(' ').next().expect("a value"));
        values
            .map(|value| value.parse::<usize>().expect("bytes"))
            .sum()
    }

    async fn closed(&self) -> f64 {
        self.proxy.metric(&closed_by("memory")).await
    }

    /// Waits until nothing is held any more.
    async fn end(self) {
        wait_until("an empty ledger", async || self.held().await == 0).await;
        self.serve_victim().await;
    }
}

/// Sends as much as the proxy reads: it may close the connection.
async fn send_to_end(mut client: RawConnection, bytes: Vec<u8>) -> RawConnection {
    let _ = client.try_send(bytes).await;
    client
}

/// The frames of a request with a large head.
fn request_frames(stream: u32, path: &str, name: &str, value: &str, is_whole: bool) -> Vec<u8> {
    let block = h2::field_block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
        ("authorization", "Bearer a"),
        (name, value),
    ]);
    let pieces = block.chunks(16_000).collect::<Vec<_>>();
    let last = pieces.len() - 1;
    let frames = pieces.into_iter().enumerate().flat_map(|(at, piece)| {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let end_stream = if at == 0 { END_STREAM } else { 0 };
        let end_headers = if at == last && is_whole {
            END_HEADERS
        } else {
            0
        };
        h2::frame(kind, end_stream | end_headers, stream, piece)
    });
    frames.collect()
}

/// Ten connections with 100 requests each, which wait for one slow call.
async fn waiters_story(path: &str, name: &str, length: usize) {
    let story = Story::start().await;
    let gate = story.origin.hold(path);
    let value = "x".repeat(length);
    let mut attackers = Vec::new();
    for _ in 0..10 {
        let requests = (0..100).flat_map(|n| request_frames(2 * n + 1, path, name, &value, true));
        let bytes = [h2::preface(), requests.collect()].concat();
        let client = story.proxy.raw_connection().await;
        attackers.push(send_to_end(client, bytes).await);
        story.serve_victim().await;
    }
    assert!(story.closed().await >= 1.0);
    gate.open_for_all();
    drop(attackers);
    story.end().await;
}

/// The field is dropped before the wait: only the state of the requests is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_with_large_unused_fields_are_bounded() {
    waiters_story(SLOW, "x-unused", 28 << 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_with_large_forwarded_fields_are_bounded() {
    waiters_story(SLOW, "accept", 28 << 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_with_large_targets_are_bounded() {
    let path = format!("{SLOW}?{}", "q".repeat(7 << 10));
    waiters_story(&path, "x-unused", 1).await;
}

/// Stores a large call for a client that does not read it, and evicts it by the next.
async fn stall(story: &Story, number: usize, bytes: usize) -> RawConnection {
    let target = format!("/v1/calls/large{number}");
    let body = format!("\"{}\"", "x".repeat(bytes - 2));
    let mut reply = Reply::json(&body).header("cache-control", "max-age=600");
    if number % 2 == 1 {
        reply = reply.chunked(60_000);
    }
    story.origin.reply(&target, reply);
    let mut client = connect_narrow(story.proxy.address).await;
    client.send(get(&target)).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stall_are_closed_for_those_that_come_later() {
    const BODY: usize = 1_000_000;
    const STEP: usize = 100_000;
    let story = Story::start().await;
    let mut attackers = Vec::new();
    for round in 0..6 {
        // It reads slowly, and all the time.
        let mut honest = stall(&story, 1_000 + round, BODY).await;
        for step in 1..10 {
            attackers.push(stall(&story, round * 10 + step, BODY).await);
            honest.read_exact(STEP).await;
            story.proxy.advance_seconds(1);
        }
        story.serve_victim().await;
        // The last piece, in chunks or not.
        honest.read_exact(STEP).await;
    }
    let closed = story.closed().await;
    assert!(closed >= 30.0, "{closed} of 54 are closed");
    drop(attackers);
    story.end().await;
}

/// Windows of one byte: hyper holds each response from its first byte on; without a window, from none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_a_window_hold_no_more_than_the_bound() {
    let story = Story::start().await;
    let mut attackers = Vec::new();
    for window in [0, 1] {
        let mut client = story.proxy.raw_connection().await;
        let settings = [&[0, 4][..], &u32::to_be_bytes(window)].concat();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        client
            .send([preface, h2::frame(SETTINGS, 0, 0, &settings)].concat())
            .await;
        for n in 0..100 {
            let target = format!("/v1/calls/window{window}-{n}");
            let body = format!("\"{}\"", "x".repeat(500_000));
            let reply = Reply::json(&body).header("cache-control", "max-age=600");
            story.origin.reply(&target, reply);
            let request = request_frames(2 * n + 1, &target, "x-unused", "x", true);
            if client.try_send(request).await.is_err() {
                break;
            }
            if n % 10 == 0 {
                story.serve_victim().await;
                // A body for which there is no room closes one that has been held for a second.
                story.proxy.advance_seconds(1);
            }
        }
        attackers.push(client);
    }
    story.proxy.wait_for_metric(&closed_by("memory"), 2).await;
    drop(attackers);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_heads_hold_at_most_half() {
    let story = Story::start().await;
    let filler = "x".repeat(28 << 10);
    let mut attackers = Vec::new();
    for number in 0..300 {
        let bytes = if number % 2 == 0 {
            format!("GET {CALL} HTTP/1.1\r\nhost: a\r\nx-filler: {filler}").into_bytes()
        } else {
            let block = request_frames(1, CALL, "x-filler", &filler, false);
            [h2::preface(), block].concat()
        };
        let client = story.proxy.raw_connection().await;
        attackers.push(send_to_end(client, bytes).await);
        if number % 20 == 0 {
            story.serve_victim().await;
            let others = "stuut_cache_in_transit_bytes{holder=\"other\"}";
            let others = story.proxy.metric(others).await;
            let most = u32::try_from(BOUND / 2 + BOUND / 8).expect("few bytes");
            assert!(others <= f64::from(most), "{others} bytes");
        }
    }
    wait_until("closed connections", async || story.closed().await >= 100.0).await;
    drop(attackers);
    story.end().await;
}

/// Otherwise stalled readers that fill the ledger would end caching for all.
#[tokio::test]
async fn a_fetch_without_room_is_streamed_and_makes_room_for_the_next() {
    let story = Story::start().await;
    let mut stalled = Vec::new();
    for number in 0..12 {
        stalled.push(stall(&story, 2 * number, 900_000).await);
    }
    wait_until("a full ledger", async || {
        story.held().await > BOUND - 2_000_000
    })
    .await;
    story.proxy.advance_seconds(2);
    let body = format!("\"{}\"", "x".repeat(2_000_000));
    story.origin.reply(
        CALL,
        Reply::json(&body).header("cache-control", "max-age=600"),
    );
    let streamed = story.proxy.get(CALL).bearer("victim").await;
    streamed.assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=too-large");
    wait_until("room", async || {
        let answer = story.proxy.get(CALL).bearer("victim").await;
        answer.cache_status().contains("; hit")
    })
    .await;
    drop(stalled);
    story.end().await;
}

/// All attacks together, on the real program: its memory stays within the formula of
/// docs/operations.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_attacks_together_stay_within_the_memory_formula() {
    const MIB: u64 = 1 << 20;
    const CONNECTIONS: u64 = 500;
    /// Of an HTTP/1.1 connection whose request waits.
    const CONNECTION: u64 = 40 << 10;
    let origin = Origin::start().await;
    let program = small_program(&origin).await;
    program.get(CALL).bearer("victim").await.assert_status(200);
    let gates = [SLOW].map(|target| origin.hold(target));
    let mut attackers = Vec::new();
    eprintln!("{} MiB at first", program.peak_memory() / MIB);
    for (name, length) in [("x-unused", 28 << 10), ("accept", 28 << 10)] {
        let value = "x".repeat(length);
        for _ in 0..20 {
            let requests =
                (0..100).flat_map(|n| request_frames(2 * n + 1, SLOW, name, &value, true));
            let bytes = [h2::preface(), requests.collect()].concat();
            let client = program.raw_connection().await;
            attackers.push(send_to_end(client, bytes).await);
        }
        eprintln!(
            "{} MiB after waiters with {name}",
            program.peak_memory() / MIB
        );
    }
    for number in 0..100 {
        let target = format!("/v1/calls/large{number}");
        let body = format!("\"{}\"", "x".repeat(1_000_000));
        let mut reply = Reply::json(&body).header("cache-control", "max-age=600");
        if number % 2 == 1 {
            reply = reply.chunked(60_000);
        }
        origin.reply(&target, reply);
        let mut client = connect_narrow(program.address).await;
        client.send(get(&target)).await;
        client.read_head().await;
        attackers.push(client);
        if number % 20 == 0 {
            let answer = program.get(CALL).bearer("victim").await;
            answer.assert_status(200);
        }
    }
    eprintln!("{} MiB after unread responses", program.peak_memory() / MIB);
    let head = format!(
        "GET {CALL} HTTP/1.1\r\nhost: a\r\nx-filler: {}",
        "x".repeat(28 << 10)
    );
    for _ in 0..CONNECTIONS {
        let client = program.raw_connection().await;
        attackers.push(send_to_end(client, head.clone().into_bytes()).await);
    }
    let answer = program.get("/v1/calls/last").bearer("victim").await;
    answer.assert_status(200);
    eprintln!("{} MiB after unfinished heads", program.peak_memory() / MIB);
    let most = 16 * MIB * 115 / 100 + 16 * MIB * 9 / 8 + CONNECTIONS * CONNECTION + 40 * MIB;
    eprintln!("{} MiB allowed", most / MIB);
    let peak = program.peak_memory();
    assert!(peak <= most, "{} MiB", peak / MIB);
    drop((attackers, gates));
}
