//! The memory of requests that wait, in a process of its own.

use http::Method;

use super::call;
use crate::support::{Origin, Program, RawConnection, h2};

const COUNT: u64 = 5_000;

/// Of the requests that are not measured: buffers and tasks are reused.
const WARM_UP: u64 = 500;

const TARGET: &str = "/v1/calls/c1?wait=change&wait_timeout=60s";

async fn start(origin: &Origin) -> Program {
    origin.default_reply(call("completed", "a"));
    Program::start(
        origin,
        &[("LOG__ACCESS", "false"), ("LIMITS__WAITING", "20000")],
    )
    .await
}

async fn is_waiting(program: &Program, count: u64) {
    let count = u32::try_from(count).expect("a few thousand");
    program.wait_for_metric("stuut_cache_waiting", count).await;
}

#[track_caller]
fn assert_takes(what: &str, grown: u64, most: u64) {
    let each = grown / COUNT;
    eprintln!("a waiting request over {what} takes {each} bytes");
    assert!(each <= most, "{each} bytes over {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_request_over_http1_takes_at_most_24_kib() {
    let origin = Origin::start().await;
    let program = start(&origin).await;
    let mut clients = Vec::new();
    let mut before = 0;
    for number in 1..=WARM_UP + COUNT {
        let mut client = program.raw_connection().await;
        let request =
            format!("GET {TARGET} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n");
        client.send(request).await;
        clients.push(client);
        if number % WARM_UP == 0 {
            is_waiting(&program, number).await;
            if number == WARM_UP {
                before = program.peak_memory();
            }
        }
    }
    assert_takes("HTTP/1.1", program.peak_memory() - before, 24 << 10);
    finish(&origin, &program).await;
}

/// All of them are answered.
async fn finish(origin: &Origin, program: &Program) {
    origin.default_reply(call("completed", "b"));
    let purge = program.admin(Method::POST, "/purge?call=c1");
    purge.await.assert_status(200);
    is_waiting(program, 0).await;
    let left = program.metric("stuut_cache_waits_left_total").await;
    assert_eq!(left.to_string(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_request_over_http2_takes_at_most_8_kib() {
    const STREAMS: u64 = 100;
    let origin = Origin::start().await;
    let program = start(&origin).await;
    let mut clients = Vec::<RawConnection>::new();
    let mut before = 0;
    for connection in 1..=(WARM_UP + COUNT) / STREAMS {
        let mut client = program.raw_connection().await;
        client.send(h2::preface()).await;
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", TARGET),
            ("authorization", "Bearer a"),
        ];
        let block = h2::field_block(&fields);
        let flags = h2::END_HEADERS | h2::END_STREAM;
        let streams = (0..STREAMS).map(|n| u32::try_from(2 * n + 1).expect("a number"));
        let frames = streams.flat_map(|stream| h2::frame(h2::HEADERS, flags, stream, &block));
        client.send(frames.collect::<Vec<_>>()).await;
        clients.push(client);
        is_waiting(&program, connection * STREAMS).await;
        if connection * STREAMS == WARM_UP {
            before = program.peak_memory();
        }
    }
    assert_takes("HTTP/2", program.peak_memory() - before, 8 << 10);
    finish(&origin, &program).await;
}
