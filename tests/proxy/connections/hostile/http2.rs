//! HTTP/2 frame floods (CVE-2019-9512 to 9518, CVE-2023-44487, VU#421644): memory stays flat, other
//! clients are served, and each flood closes its connection.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::{CALL, closed_by};
use crate::support::h2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
};
use crate::support::{Origin, Program, Proxy, RawConnection, RawOrigin, Reply, wait_until};

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

/// A name, the frames of the nth repetition, and the reason for closing the connection.
type Flood = (&'static str, fn(u32) -> Vec<u8>, &'static str);

#[rustfmt::skip]
const FLOODS: [Flood; 10] = [
    ("rapid reset of hits", |n| reset(n, CALL), "protocol_error"),
    ("rapid reset of misses", |n| reset(n, "/v1/calls/held"), "protocol_error"),
    ("endless continuations", |n| match n {
        0 => h2::frame(HEADERS, END_STREAM, 1, &head(CALL)),
        _ => h2::frame(CONTINUATION, 0, 1, &h2::field_block(&[("x", "y".repeat(1_000))])),
    }, "protocol_error"),
    ("empty continuations", |n| match n {
        0 => h2::frame(HEADERS, END_STREAM, 1, &head(CALL)),
        _ => h2::frame(CONTINUATION, 0, 1, b""),
    }, "protocol_error"),
    ("settings", |_| h2::frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]), "control_frames"),
    ("pings", |_| h2::frame(PING, 0, 0, b"floods!!"), "control_frames"),
    ("window updates", |n| h2::frame(8, 0, 0, &(n % 2 + 1).to_be_bytes()), "control_frames"),
    ("priorities", |n| h2::frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 16]), "control_frames"),
    ("empty data", |n| match n {
        0 => post(),
        _ => h2::frame(DATA, 0, 1, b""),
    }, "protocol_error"),
    ("HPACK bomb", |n| match n {
        0 => h2::frame(HEADERS, 0, 1, &[&head(CALL)[..], &[0x40, 1, b'x', 127, 129, 30], &[b'y'; 4_096 - 128]].concat()),
        _ => h2::frame(CONTINUATION, 0, 1, &[0xbe; 16_000]),
    }, "protocol_error"),
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
    for (name, frames, reason) in FLOODS {
        let closed = program.metric(&closed_by(reason)).await;
        let mut client = program.raw_connection().await;
        client.send(h2::preface()).await;
        flood(&mut client, frames).await;
        let close = async { while client.read_frame().await.is_some() {} };
        let close = tokio::time::timeout(CLOSE_TIMEOUT, close).await;
        assert!(close.is_ok(), "{name}: the connection stays open");
        wait_until(name, async || {
            program.metric(&closed_by(reason)).await > closed
        })
        .await;
        let grown = (program.peak_memory() - before) >> 10;
        eprintln!("{name}: memory grew by {grown} KiB");
        program.get(CALL).bearer("a").await.assert_hit();
    }
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

/// A change of the initial window is a pass over all open streams: such a flood delayed others by
/// more than a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_floods_with_open_streams_are_closed_while_others_are_served() {
    const ATTACKERS: u32 = 8;
    const STREAMS: u32 = 100;
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[("LOG__ACCESS", "false")]).await;
    origin.reply(CALL, Reply::echo().header("cache-control", "max-age=600"));
    program.get(CALL).bearer("a").await.assert_status(200);
    let held = "/v1/calls/held";
    let _gate = origin.hold(held);
    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let mut client = program.raw_connection().await;
        let requests = (0..STREAMS)
            .flat_map(|n| h2::frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head(held)));
        let requests = requests.collect::<Vec<_>>();
        client.send([h2::preface(), requests].concat()).await;
        attackers.push(client);
    }
    program
        .wait_for_metric("stuut_cache_in_flight", ATTACKERS * STREAMS)
        .await;
    let mut victim = program.raw_connection().await;
    for mut attacker in attackers {
        flood(&mut attacker, |n| {
            let window = (n % 2 + 65_535).to_be_bytes();
            h2::frame(SETTINGS, 0, 0, &[&[0, 4][..], &window].concat())
        })
        .await;
        for _ in 0..20 {
            victim.send(super::get(CALL)).await;
            let answer = victim.read_head().await;
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.contains("; hit"),
                "{answer}"
            );
            victim.read_until("}").await;
        }
        let mut last = None;
        while let Some(frame) = attacker.read_frame().await {
            last = Some(frame);
        }
        let last = last.expect("a GOAWAY frame");
        // ENHANCE_YOUR_CALM
        assert_eq!(
            (last.kind, &last.payload[4..]),
            (GOAWAY, &[0, 0, 0, 11][..])
        );
    }
    program
        .wait_for_metric(&closed_by("control_frames"), ATTACKERS)
        .await;
    program.wait_for_metric("stuut_cache_in_flight", 0).await;
}

/// It filled the window of the connection, and no upload of any other user of it advanced.
#[tokio::test]
async fn an_upload_that_the_origin_does_not_read_does_not_stop_others_on_its_connection() {
    const STALLED: usize = 20;
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.http2().await;
    let mut unread = Vec::new();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(client.send_request(post_of(16 << 20)));
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        unread.push(upstream);
    }
    let answer = client.send_request(post_of(300 << 10));
    let mut upstream = origin.accept().await;
    let request = upstream.read_request().await;
    assert_eq!(request.body.len(), 300 << 10);
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(answer.await.expect("an answer").status(), 200);
}

fn post_of(length: usize) -> Request<Full<Bytes>> {
    let body = Full::new(vec![b'x'; length].into());
    Request::post("http://a/v1/upload")
        .body(body)
        .expect("a request")
}
