//! HTTP/2 frame floods (CVE-2019-9512 to 9518, CVE-2023-44487, VU#421644): memory stays flat, other
//! clients are served, and most floods close their connection.

use std::time::Duration;

use super::{CALL, closed_by};
use crate::support::h2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
};
use crate::support::{Origin, Program, RawConnection, Reply};

/// Bytes sent per flood.
const FLOOD: usize = 8 << 20;

/// How long a flood waits to write before it stops, and how long its connection may take to close.
const STUCK: Duration = Duration::from_secs(1);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Memory growth allowed, for all floods together.
const ALLOWED: u64 = 8 << 20;

fn head(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
        ("authorization", "Bearer a"),
    ];
    h2::field_block(&fields)
}

/// A name, the frames of the nth repetition, and whether the flood closes its connection.
type Flood = (&'static str, fn(u32) -> Vec<u8>, bool);

#[rustfmt::skip]
const FLOODS: [Flood; 10] = [
    ("rapid reset of hits", |n| reset(n, CALL), true),
    ("rapid reset of misses", |n| reset(n, "/v1/calls/held"), true),
    ("endless continuations", |n| match n {
        0 => h2::frame(HEADERS, END_STREAM, 1, &head(CALL)),
        _ => h2::frame(CONTINUATION, 0, 1, &h2::field_block(&[("x", "y".repeat(1_000))])),
    }, true),
    ("empty continuations", |n| match n {
        0 => h2::frame(HEADERS, END_STREAM, 1, &head(CALL)),
        _ => h2::frame(CONTINUATION, 0, 1, b""),
    }, true),
    ("settings", |_| h2::frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]), false),
    ("pings", |_| h2::frame(PING, 0, 0, b"floods!!"), false),
    ("window updates", |n| h2::frame(8, 0, 0, &(n % 2 + 1).to_be_bytes()), false),
    ("priorities", |n| h2::frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 16]), false),
    ("empty data", |n| match n {
        0 => post(),
        _ => h2::frame(DATA, 0, 1, b""),
    }, true),
    ("HPACK bomb", |n| match n {
        0 => h2::frame(HEADERS, 0, 1, &[&head(CALL)[..], &[0x40, 1, b'x', 127, 129, 30], &[b'y'; 4_096 - 128]].concat()),
        _ => h2::frame(CONTINUATION, 0, 1, &[0xbe; 16_000]),
    }, true),
];

fn reset(n: u32, path: &str) -> Vec<u8> {
    let stream = 2 * n + 1;
    let get = h2::frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(path));
    [get, h2::frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
}

fn post() -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/held"),
    ];
    h2::frame(HEADERS, END_HEADERS, 1, &h2::field_block(&fields))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frame_floods_use_no_memory_and_do_not_delay_other_clients() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[("LOG__ACCESS", "false")]).await;
    let stored = Reply::echo().header("cache-control", "max-age=600");
    origin.reply(CALL, stored);
    let _gates = ["/v1/calls/held", "/v1/held"].map(|target| origin.hold(target));
    program.get(CALL).bearer("a").await.assert_status(200);
    let before = program.peak_memory();
    let mut ended = 0;
    for (name, frames, ends) in FLOODS {
        let mut client = program.raw_connection().await;
        client.send(h2::preface()).await;
        flood(&mut client, frames).await;
        if ends {
            let close = async { while client.read_frame().await.is_some() {} };
            let closed = tokio::time::timeout(CLOSE_TIMEOUT, close).await;
            assert!(closed.is_ok(), "{name}: the connection stays open");
        }
        let grown = (program.peak_memory() - before) >> 10;
        eprintln!("{name}: memory grew by {grown} KiB");
        ended += u32::from(ends);
        program.get(CALL).bearer("a").await.assert_hit();
    }
    program
        .wait_for_metric(&closed_by("protocol_error"), ended)
        .await;
    program.wait_for_metric("stuut_cache_in_flight", 0).await;
    let grown = program.peak_memory() - before;
    assert!(grown < ALLOWED, "memory grew by {grown} bytes");
}

/// Sends `FLOOD` bytes, or until the proxy closes; reads nothing meanwhile.
async fn flood(client: &mut RawConnection, frames: fn(u32) -> Vec<u8>) {
    let (mut sent, mut n) = (0, 0);
    while sent < FLOOD {
        let mut batch = Vec::new();
        while batch.len() < 64 << 10 {
            batch.extend(frames(n));
            n += 1;
        }
        sent += batch.len();
        // With its replies unread, the proxy stops reading: the flood is over, too.
        match tokio::time::timeout(STUCK, client.try_send(&batch)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
