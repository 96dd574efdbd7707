//! Memory use: an entry takes little more memory than its weight.

use crate::support::{Origin, Program, Reply};

/// The number of stored calls, and the bytes of each.
const CALLS: usize = 2_000;
const BODY: usize = 40_000;

/// The allowed ratio of memory to body bytes: an entry weighs some 3 % more than its body, the rest
/// is overhead of the allocator.
const ALLOWED: f64 = 1.15;

/// Fields are slices of hyper's read buffer: unless copied, each entry keeps a whole buffer alive,
/// more than twice its weight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::cast_precision_loss, reason = "a ratio of two sizes")]
async fn a_stored_response_does_not_keep_its_read_buffer() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[("LOG__ACCESS", "false")]).await;
    let body = format!("\"{}\"", "x".repeat(BODY - 2));
    let mut client = program.raw_connection().await;
    let mut before = 0;
    // Warm-up: the first tenth.
    for call in 0..CALLS + CALLS / 10 {
        if call == CALLS / 10 {
            before = program.peak_memory();
        }
        let target = format!("/v1/calls/c{call}");
        let reply = Reply::json(&body).header("cache-control", "max-age=600");
        origin.reply(&target, reply);
        client
            .send(format!(
                "GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n"
            ))
            .await;
        let head = client.read_head().await;
        assert!(head.contains("; stored"), "{head}");
        client.read_exact(BODY).await;
    }
    let grown = program.peak_memory() - before;
    let ratio = grown as f64 / (CALLS * BODY) as f64;
    eprintln!("{CALLS} responses of {BODY} bytes take {ratio:.3} bytes per byte");
    assert!(ratio < ALLOWED, "they take {ratio:.3} bytes per byte");
}
