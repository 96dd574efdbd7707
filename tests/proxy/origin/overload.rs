//! Load shedding: which requests get 503, which get an origin slot, and which a stored response.

use crate::support::{Origin, Pending, Proxy, RawConnection, RawOrigin, Reply};

const CALL: &str = "/v1/calls/c1";

fn shed(reason: &str) -> String {
    format!("stuut_cache_upstream_shed_total{{reason=\"{reason}\"}}")
}

/// Starts `count` misses of one token, which the origin does not answer.
async fn start_misses(origin: &Origin, proxy: &Proxy, token: &str, count: usize) -> Vec<Pending> {
    let before = origin.requests().len();
    let mut pending = Vec::new();
    for n in 0..count {
        let target = format!("/v1/calls/held-{token}-{n}");
        // Not released before the origin is dropped.
        let _ = origin.hold(&target);
        pending.push(proxy.get(&target).bearer(token).start());
    }
    origin.wait_for_requests(before + count).await;
    pending
}

#[tokio::test]
async fn one_token_cannot_take_more_than_its_share_of_origin_slots() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 8).await;
    proxy.get("/v1/calls/first").bearer("a").await.assert_miss();
    let _pending = start_misses(&origin, &proxy, "a", 4).await;
    let more = proxy.get("/v1/calls/more").bearer("a").await;
    more.assert_problem(503, "connection_limit_reached")
        .assert_header("retry-after", "1");
    proxy.wait_for_metric(&shed("share"), 1).await;
    // Forwarded requests have slots of their own.
    let other = proxy.get("/v1/other").bearer("a").await;
    other.assert_status(200);

    for token in ["b", "c", "d"] {
        let answer = proxy.get(CALL).bearer(token).await;
        answer.assert_status(200).assert_miss();
    }
    proxy.get("/v1/other").await.assert_status(200);
    proxy.wait_for_metric(&shed("in_flight"), 0).await;
}

#[tokio::test]
async fn under_overload_entries_are_served_and_other_requests_are_shed() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    let stale = Reply::json("{}").header("cache-control", "max-age=1");
    origin.reply(CALL, stale);
    origin.reply(
        "/v1/calls/strict",
        Reply::json("{}").header("cache-control", "max-age=1, must-revalidate"),
    );
    let fresh = Reply::json("{}").header("cache-control", "max-age=600");
    origin.reply("/v1/calls/fresh", fresh);
    for target in [CALL, "/v1/calls/strict", "/v1/calls/fresh"] {
        proxy.get(target).bearer("a").await.assert_miss();
    }
    proxy.advance_seconds(60);

    let _pending = start_misses(&origin, &proxy, "a", 1).await;
    for _ in 0..100 {
        proxy.get("/v1/calls/fresh").bearer("a").await.assert_hit();
    }
    let answer = proxy.get(CALL).bearer("a").await;
    answer.assert_stale("stale-if-error").assert_body("{}");
    // Stale is forbidden, or nothing is stored.
    for target in ["/v1/calls/strict", "/v1/calls/other"] {
        let answer = proxy.get(target).bearer("a").await;
        answer
            .assert_problem(503, "connection_limit_reached")
            .assert_header("retry-after", "1");
    }
    proxy.wait_for_metric(&shed("in_flight"), 3).await;
    origin.assert_requests(4);
}

#[tokio::test]
async fn origin_slots_are_released_however_requests_end() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 2).await;
    origin.reply("/v1/calls/reset", Reply::raw("nonsense\r\n\r\n"));
    origin.reply(
        "/v1/calls/truncated",
        Reply::json("{\"a\":1}").truncated_after(3),
    );
    for _ in 0..3 {
        for target in ["/v1/calls/reset", "/v1/calls/truncated", "/v1/other"] {
            proxy.get(target).bearer("a").await;
        }
        let before = origin.requests().len();
        let gate = origin.hold("/v1/calls/held");
        let aborted = proxy.get("/v1/calls/held").bearer("a").over_http2().start();
        origin.wait_for_requests(before + 1).await;
        aborted.hang_up().await;
        gate.open_for_all();
        proxy
            .wait_for_metric("stuut_cache_upstream_in_flight", 0)
            .await;
        proxy.advance_seconds(3_600);
    }
    proxy.wait_for_metric(&shed("share"), 0).await;
    proxy.wait_for_metric(&shed("in_flight"), 0).await;
}

/// A response whose body never ends.
fn endless(length: usize) -> Reply {
    Reply::raw_kept_open(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nbegin"
    ))
}

/// Streamed responses held no slot: over a few HTTP/2 connections they took every descriptor.
#[tokio::test]
async fn streamed_responses_take_no_slots_of_fetches() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.in_flight = 8;
        config.limits.streams = 8;
    })
    .await;
    let kept = Reply::json("{}").header("cache-control", "max-age=600");
    origin.reply("/v1/calls/kept", kept);
    for token in ["a", "b", "c", "d", "e"] {
        let kept = proxy.get("/v1/calls/kept").bearer(token).await;
        kept.assert_miss();
    }
    origin.reply("/v1/stream", endless(1_000));
    origin.reply("/v1/calls/large", endless(1 << 30));
    let mut streams = Vec::new();
    for (token, count) in [("a", 4), ("b", 2), ("c", 1), ("d", 1)] {
        for n in 0..count {
            // A response too large to store exchanges its slot when its head arrives.
            let target = if n == 0 {
                "/v1/calls/large"
            } else {
                "/v1/stream"
            };
            streams.push(proxy.get(target).bearer(token).over_http2().start());
            let held = "stuut_cache_upstream_slots{pool=\"streams\"}";
            let all = u32::try_from(streams.len()).expect("a few");
            proxy.wait_for_metric(held, all).await;
        }
    }
    proxy
        .wait_for_metric("stuut_cache_upstream_slots{pool=\"fetches\"}", 0)
        .await;
    for (target, token) in [("/v1/stream", "e"), ("/v1/calls/large", "e")] {
        let answer = proxy.get(target).bearer(token).over_http2().await;
        answer
            .assert_problem(503, "connection_limit_reached")
            .assert_header("retry-after", "1");
    }
    proxy.wait_for_metric(&shed("streams"), 2).await;
    proxy.get("/v1/calls/kept").bearer("a").await.assert_hit();
    for token in ["a", "e"] {
        let answer = proxy.get(CALL).bearer(token).await;
        answer.assert_status(200).assert_miss();
    }

    for stream in streams {
        stream.hang_up().await;
    }
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    proxy.get("/v1/other").bearer("e").await.assert_status(200);
}

/// Begins an upload of one byte per second, to which the origin has responded 401.
async fn begin_upload(origin: &RawOrigin, proxy: &Proxy, token: usize) -> [RawConnection; 2] {
    let mut client = proxy.raw_connection().await;
    let head = format!("POST /v1/other HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}");
    client
        .send(format!("{head}\r\ncontent-length: 100000000\r\n\r\nx"))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_until("\r\n\r\nx").await;
    upstream
        .send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 401"));
    [client, upstream]
}

/// Uploads held their slots, and those of fetches, as long as they sent 512 bytes per second.
#[tokio::test]
async fn uploads_are_cut_after_an_early_response_and_take_no_slots_of_fetches() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.limits.in_flight = 1;
        config.limits.uploads = 8;
    })
    .await;
    let uploads = "stuut_cache_upstream_slots{pool=\"uploads\"}";
    let mut held = Vec::new();
    for token in 0..3 {
        held.push(begin_upload(&origin, &proxy, token).await);
    }
    proxy.wait_for_metric(uploads, 3).await;
    for [client, upstream] in &mut held {
        client.send("x").await;
        upstream.read_until("x").await;
    }
    let miss = proxy.get(CALL).bearer("b").start();
    let mut upstream = origin.accept().await;
    upstream.read_request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    miss.await.assert_status(200).assert_miss();

    proxy.advance_waiters(5);
    proxy.wait_for_metric(uploads, 0).await;
    for [_, upstream] in held {
        assert_eq!(upstream.read_to_end().await, "");
    }
    // Also after 4 MiB, however fast they arrive.
    let [mut client, mut upstream] = begin_upload(&origin, &proxy, 3).await;
    let piece = vec![b'x'; 1 << 16];
    let sending = async { while client.try_send(&piece).await.is_ok() {} };
    let receiving = async {
        let mut received = 0;
        while let Some(bytes) = upstream.read_some().await {
            received += bytes.len();
        }
        received
    };
    let ((), received) = tokio::join!(sending, receiving);
    assert!(received <= 4 << 20, "{received} bytes");
    proxy.wait_for_metric(uploads, 0).await;
    proxy
        .wait_for_metric("stuut_cache_uploads_cut_total", 4)
        .await;
}
