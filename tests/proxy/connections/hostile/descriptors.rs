//! The system has no file descriptor to give.

use std::process::Command;
use std::time::Instant;

use super::{CALL, get};
use crate::support::{Origin, Program, RawConnection, Reply};

const DESCRIPTORS: u32 = 256;

/// A shell gives few, and would give more to who asks.
#[tokio::test]
async fn it_takes_as_many_descriptors_as_it_may_have() {
    let origin = Origin::start().await;
    origin.reply(CALL, Reply::echo().header("cache-control", "max-age=600"));
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_stuut-cache");
    command.args(["-c", "ulimit -S -n 64 && exec \"$0\"", program]);
    let program = Program::with_command(command, &origin).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let mut wire = program.raw_connection().await;
        wire.send(get(CALL)).await;
        wire.read_until("}").await;
        crowd.push(wire);
    }
}

/// A limit that nobody can raise is told of at the start.
#[tokio::test]
async fn too_few_descriptors_are_told_of_at_the_start() {
    let origin = Origin::start().await;
    let program = Program::with_descriptors(&origin, DESCRIPTORS).await;
    let warning = "256 files may be open, and 11152 may be needed";
    assert!(program.output().contains(warning), "{}", program.output());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_it_serves_who_is_connected_and_recovers() {
    let origin = Origin::start().await;
    let program = Program::with_descriptors(&origin, DESCRIPTORS).await;
    let stored = Reply::echo().header("cache-control", "max-age=600");
    origin.reply(CALL, stored);
    program.get(CALL).bearer("a").await.assert_status(200);
    let mut held = program.raw_connection().await;
    held.send(get(CALL)).await;
    held.read_until("}").await;

    let began = Instant::now();
    let mut crowd: Vec<RawConnection> = Vec::new();
    for _ in 0..DESCRIPTORS + 50 {
        // The system accepts on the program's behalf.
        crowd.push(program.raw_connection().await);
    }
    crate::support::wait_until("a line about it", async || {
        program.output().contains("cannot accept a connection")
    })
    .await;
    for _ in 0..100 {
        held.send(get(CALL)).await;
        assert!(held.read_head().await.contains("; hit"));
        held.read_until("}").await;
    }
    // It tries again, but not as fast as it can.
    let tries = program
        .output()
        .matches("cannot accept a connection")
        .count();
    let slots = began.elapsed().as_millis() / 50 + 2;
    assert!(
        tries as u128 <= slots,
        "{tries} tries in {slots} times 50 ms"
    );

    // One that waits is served as soon as there is a descriptor for it.
    let mut waiting = crowd.pop().expect("a crowd");
    waiting.send(get(CALL)).await;
    drop(crowd);
    assert!(waiting.read_head().await.contains("; hit"));
    let failures = program.metric("stuut_cache_accept_failures_total").await;
    assert!(failures >= 1.0, "{failures}");
    program.get("/v1/other").await.assert_status(200);
}
