//! Responses that the store evicts while a slow origin revalidates them: they are not held meanwhile,
//! and their clients get whole responses in the end.

use http::Method;

use super::{CALL, small_program};
use crate::support::{Origin, Reply};

const MIB: u64 = 1 << 20;

/// More than the formula allows, if all of them were held.
const CALLS: usize = 120;
const BODY: usize = 1_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evicted_responses_are_not_held_for_their_revalidation() {
    let origin = Origin::start().await;
    let program = small_program(&origin).await;
    let body = format!("\"{}\"", "x".repeat(BODY - 2));
    let large = Reply::json(&body).header("cache-control", "max-age=600");
    let large = large.validating("\"1\"");
    let (mut gates, mut revalidated) = (Vec::new(), Vec::new());
    for number in 0..CALLS {
        let target = format!("/v1/calls/large{number}");
        origin.reply(&target, large.clone());
        let get = || program.get(&target).bearer(&format!("t{}", number % 6));
        get().await.assert_status(200);
        gates.push(origin.hold(&target));
        let before = origin.requests().len();
        revalidated.push(get().header("cache-control", "no-cache").start());
        origin.wait_for_requests(before + 1).await;
        // Removed from the store; so there is room for the next one.
        let write = program.request(Method::POST, &format!("{target}/approve"));
        write.bearer("writer").await.assert_status(200);
        let victim = program.get(CALL).bearer("victim").await;
        victim.assert_status(200);
    }
    // Capacity, bytes in transit, requests to the origin, and the process itself.
    let requests = u64::try_from(CALLS).expect("few") * (96 << 10);
    let most = 16 * MIB * 115 / 100 + 16 * MIB * 9 / 8 + requests + 40 * MIB;
    let assert_bounded = || {
        let (peak, most) = (program.peak_memory() / MIB, most / MIB);
        assert!(peak <= most, "{peak} MiB of {most}");
    };
    assert_bounded();
    for (gate, pending) in gates.iter().zip(revalidated) {
        gate.open_for_all();
        let response = pending.await;
        response.assert_status(200).assert_body(&body);
    }
    assert_bounded();
}
