//! File descriptor limits.

use std::process::Command;
use std::time::Instant;

use http::Method;

use super::{CALL, get};
use crate::support::h2::{self, END_HEADERS, END_STREAM, HEADERS};
use crate::support::{Origin, Program, RawConnection, Reply};

const DESCRIPTORS: u32 = 256;

/// Shells often set a low soft limit and a high hard limit.
#[tokio::test]
async fn the_soft_descriptor_limit_is_raised_to_the_hard_limit() {
    let origin = Origin::start().await;
    origin.reply(CALL, Reply::echo().header("cache-control", "max-age=600"));
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_stuut-cache");
    command.args(["-c", "ulimit -S -n 64 && exec \"$0\"", program]);
    let program = Program::with_command(command, &origin).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = program.raw_connection().await;
        client.send(get(CALL)).await;
        client.read_until("}").await;
        clients.push(client);
    }
}

#[tokio::test]
async fn a_low_hard_descriptor_limit_is_logged_at_start() {
    let origin = Origin::start().await;
    let program = Program::with_descriptors(&origin, DESCRIPTORS, &[]).await;
    let warning = "256 files may be open, and 13456 may be needed";
    assert!(program.output().contains(warning), "{}", program.output());
}

/// Each stream takes a descriptor to the origin, on few connections: no client could connect, nor a
/// health check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_not_read_leave_descriptors_to_others() {
    const ATTACKERS: u32 = 5;
    const STREAMS: u32 = 100;
    let origin = Origin::start().await;
    let variables = [("SERVER__MAX_CONNECTIONS", "200"), ("LOG__ACCESS", "false")];
    let program = Program::with_descriptors(&origin, 1024, &variables).await;
    let warning = "1024 files may be open, and 3656 may be needed";
    assert!(program.output().contains(warning), "{}", program.output());
    let stored = Reply::echo().header("cache-control", "max-age=600");
    origin.reply(CALL, stored);
    let endless = "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\nbegin";
    origin.reply("/v1/export", Reply::raw_kept_open(endless));
    let get = |token: &str| program.get(CALL).bearer(token);
    let mut attackers = Vec::new();
    for number in 0..ATTACKERS {
        // Accepted tokens: others may use only a part of the pool.
        let token = format!("attacker{number}");
        get(&token).await.assert_status(200);
        let mut client = program.raw_connection().await;
        let head = h2::field_block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/v1/export"),
            ("authorization", &format!("Bearer {token}")),
        ]);
        let streams = (0..STREAMS)
            .flat_map(|n| h2::frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head));
        let streams = streams.collect::<Vec<_>>();
        client.send([h2::preface(), streams].concat()).await;
        attackers.push(client);
    }
    let held = "stuut_cache_upstream_slots{pool=\"streams\"}";
    program.wait_for_metric(held, ATTACKERS * STREAMS).await;
    for number in 0..20 {
        get("victim").await.assert_status(200);
        get("victim").await.assert_hit();
        let miss = program.get(&format!("{CALL}{number}")).bearer("victim");
        miss.await.assert_status(200).assert_miss();
        let probe = program.admin(Method::GET, "/livez");
        probe.header("connection", "close").await.assert_status(200);
    }
    drop(attackers);
    program.wait_for_metric(held, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_open_connections_are_served_and_accept_recovers() {
    let origin = Origin::start().await;
    let program = Program::with_descriptors(&origin, DESCRIPTORS, &[]).await;
    let stored = Reply::echo().header("cache-control", "max-age=600");
    origin.reply(CALL, stored);
    program.get(CALL).bearer("a").await.assert_status(200);
    let mut open = program.raw_connection().await;
    open.send(get(CALL)).await;
    open.read_until("}").await;

    let start = Instant::now();
    let mut waiting: Vec<RawConnection> = Vec::new();
    for _ in 0..DESCRIPTORS + 50 {
        // The backlog takes the connections that the program does not accept.
        waiting.push(program.raw_connection().await);
    }
    crate::support::wait_until("a warning", async || {
        program.output().contains("cannot accept a connection")
    })
    .await;
    for _ in 0..100 {
        open.send(get(CALL)).await;
        assert!(open.read_head().await.contains("; hit"));
        open.read_until("}").await;
    }
    // Accept is retried every 50 ms, not in a busy loop.
    let failures = program
        .output()
        .matches("cannot accept a connection")
        .count();
    let periods = start.elapsed().as_millis() / 50 + 2;
    assert!(
        failures as u128 <= periods,
        "{failures} failures in {periods} periods of 50 ms"
    );

    // A connection in the backlog is served once a descriptor is free.
    let mut last = waiting.pop().expect("connections");
    last.send(get(CALL)).await;
    drop(waiting);
    assert!(last.read_head().await.contains("; hit"));
    let failures = program.metric("stuut_cache_accept_failures_total").await;
    assert!(failures >= 1.0, "{failures}");
    program.get("/v1/other").await.assert_status(200);
}
