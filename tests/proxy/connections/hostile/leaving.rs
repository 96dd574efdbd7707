//! Clients that disconnect at every stage of a request.

use super::{CALL, closed_by, fill, get};
use crate::support::{Gate, Origin, Program, Proxy, RawConnection, Reply, h2};

/// Memory growth allowed: 22 calls are stored, the rest is fragmentation.
const ALLOWED: u64 = 4 << 20;

const LARGE: &str = "/v1/calls/large";
const HELD: &str = "/v1/calls/held";

/// The bytes sent before the client resets its connection.
fn beginnings(round: u32) -> [String; 8] {
    let upload = "POST /v1/other HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf";
    [
        String::new(),
        "GET /v1/ca".to_owned(),
        get(CALL),
        get(LARGE),
        get(&held(round)[0]),
        get(&held(round)[1]),
        upload.to_owned(),
        // Rejected; the client does not wait for the response.
        "no request\r\n\r\n".to_owned(),
    ]
}

/// A call and a forwarded path whose responses the origin holds back.
fn held(round: u32) -> [String; 2] {
    [format!("{HELD}{round}"), format!("/v1/held{round}")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_connection_resets_leak_nothing() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[("LOG__ACCESS", "false")]).await;
    let body = "x".repeat(1 << 20);
    origin.reply(
        LARGE,
        Reply::json(&body).header("cache-control", "max-age=600"),
    );
    let stored = Reply::echo().header("cache-control", "max-age=600");
    origin.reply(CALL, stored);
    for target in [CALL, LARGE] {
        fill(&program, target).await;
    }
    let round = async |round| {
        let gates = held(round).map(|target| origin.hold(&target));
        for _ in 0..10 {
            for bytes in beginnings(round) {
                let mut client = program.raw_connection().await;
                let is_large = bytes.contains(LARGE);
                client.send(bytes).await;
                if is_large {
                    // In the middle of the body.
                    client.read_exact(1_000).await;
                }
                client.reset();
            }
        }
        gates.iter().for_each(Gate::open_for_all);
        for gauge in ["in_flight", "upstream_in_flight"] {
            program
                .wait_for_metric(&format!("stuut_cache_{gauge}"), 0)
                .await;
        }
        program.wait_for_metric("stuut_cache_connections", 0).await;
    };
    // Warm-up: threads, pools, counters.
    for n in 0..3 {
        round(n).await;
    }
    let before = (program.peak_memory(), program.descriptors().await);
    for n in 3..25 {
        round(n).await;
    }
    let grown = program.peak_memory() - before.0;
    eprintln!("memory grew by {} KiB", grown >> 10);
    assert!(grown < ALLOWED, "memory grew by {grown} bytes");
    // Origin connections stay in the pool.
    let now = program.descriptors().await;
    assert!(
        now <= before.1 + 10.0,
        "{} descriptors before, {now} now",
        before.1
    );
    program.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_release_their_descriptors() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[("LOG__ACCESS", "false")]).await;
    let stored = Reply::echo().header("cache-control", "max-age=600");
    origin.reply(CALL, stored);
    fill(&program, CALL).await;
    let before = program.descriptors().await;
    for _ in 0..3_000 {
        let mut client = program.raw_connection().await;
        client.send(get(CALL)).await;
        assert!(client.read_head().await.contains("; hit"));
    }
    program.wait_for_metric("stuut_cache_connections", 0).await;
    // The client that reads the metrics has connections too.
    let now = program.descriptors().await;
    assert!(
        now <= before + 2.0,
        "{before} descriptors before, {now} now"
    );
}

/// Concurrent requests for one miss: the leader and half of the waiters disconnect.
#[tokio::test]
async fn waiters_whose_leader_disconnects_still_share_one_fetch() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let gate = origin.hold(HELD);
    let mut leader = proxy.raw_connection().await;
    leader.send(get(HELD)).await;
    origin.wait_for_requests(1).await;
    let mut waiters: Vec<RawConnection> = Vec::new();
    for _ in 0..200 {
        let mut client = proxy.raw_connection().await;
        client.send(get(HELD)).await;
        waiters.push(client);
    }
    proxy.wait_for_metric("stuut_cache_in_flight", 201).await;
    leader.reset();
    let remaining = waiters.split_off(100);
    waiters.into_iter().for_each(RawConnection::reset);
    gate.open();
    for mut client in remaining {
        assert!(client.read_head().await.starts_with("HTTP/1.1 200"));
        client.read_until("}").await;
    }
    proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
    origin.assert_requests(1);
}

/// The leader's client takes no byte of a response: its HTTP/2 window is closed, or it resets its stream; or its
/// request is behind a response that it does not read, so that it does not lead at all.
#[tokio::test]
async fn waiters_do_not_depend_on_the_client_of_the_leader() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.cache.max_entry.0 = 32 << 20).await;
    let large = Reply::json(&"x".repeat(16 << 20)).header("cache-control", "max-age=600");
    origin.reply(LARGE, large);
    proxy.get(LARGE).bearer("a").await.assert_status(200);
    let closed = h2::frame(h2::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let reset = h2::frame(h2::RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    for (round, is_leader) in [(0, true), (1, true), (2, false)] {
        let target = format!("{HELD}{round}");
        let gate = origin.hold(&target);
        let mut leader = proxy.raw_connection().await;
        if is_leader {
            let get = h2::get(&target, &[("authorization", "Bearer a")]);
            leader
                .send([h2::preface(), closed.clone(), get].concat())
                .await;
            origin.wait_for_requests(2 + round).await;
        } else {
            leader.send([get(LARGE), get(&target)].concat()).await;
            leader.read_exact(1_000).await;
        }
        let mut waiter = proxy.raw_connection().await;
        waiter.send(get(&target)).await;
        // The waiter leads if its request is the only one.
        origin.wait_for_requests(2 + round).await;
        if is_leader {
            proxy.wait_for_metric("stuut_cache_in_flight", 2).await;
        }
        if round == 1 {
            leader.send(&reset).await;
            proxy.wait_for_metric("stuut_cache_in_flight", 1).await;
        }
        gate.open_for_all();
        assert!(waiter.read_head().await.starts_with("HTTP/1.1 200"));
        waiter.read_until("}").await;
        origin.assert_requests(2 + round);
        leader.reset();
        proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
    }
}

/// hyper reads nothing while a request waits for the origin, so that it did not notice: the requests
/// kept their slots until the origin answered.
#[tokio::test]
async fn requests_of_clients_that_have_left_release_their_slots() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.streams = 200).await;
    let leave: [fn(RawConnection) -> Option<RawConnection>; 2] = [
        |client| {
            client.reset();
            None
        },
        |client| Some(client),
    ];
    for (round, leave) in leave.into_iter().enumerate() {
        let _gate = origin.hold("/v1/held");
        let mut left = Vec::new();
        for _ in 0..50 {
            let mut client = proxy.raw_connection().await;
            client.send(get("/v1/held")).await;
            if round == 1 {
                // It may only have half-closed: its request waits for another two seconds.
                client.half_close().await;
            }
            left.push(client);
        }
        origin.wait_for_requests((round + 1) * 50 + round).await;
        let _half_closed: Vec<_> = left.into_iter().filter_map(leave).collect();
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 0)
            .await;
        let answer = proxy.get(&format!("/v1/calls/{round}")).bearer("b").await;
        answer.assert_status(200).assert_miss();
    }
    proxy.wait_for_metric(&closed_by("half_closed"), 50).await;
}
