//! Memory: what the program takes is what it says it weighs.

use crate::support::{Origin, Program, Reply};

/// Calls that are stored, and the bytes of each.
const CALLS: usize = 2_000;
const BODY: usize = 40_000;

/// Memory over payload that is allowed: the weight of an entry is some 3 % more than its body,
/// the rest is the allocator's.
const ALLOWED: f64 = 1.15;

/// A response's fields came as slices of the buffer that its head was read into; stored, each
/// held on to the whole buffer, more than twice the memory that the entry weighed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::cast_precision_loss, reason = "a ratio of two sizes")]
async fn a_stored_response_takes_twice_the_memory_it_weighs() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[("LOG__ACCESS", "false")]).await;
    let body = format!("\"{}\"", "x".repeat(BODY - 2));
    let mut client = program.raw_connection().await;
    let mut before = 0;
    // The first tenth warms it up.
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
    eprintln!("{CALLS} responses of {BODY} bytes take {ratio:.3} bytes a byte");
    assert!(ratio < ALLOWED, "they take {ratio:.3} bytes a byte");
}
