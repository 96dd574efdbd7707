//! Truncated, close-delimited and large bodies of the origin: nothing truncated is stored or looks
//! complete to a client.

use http::Method;
use stuut_cache::config::ByteSize;

use super::failures::{CALL, OTHER, assert_failed, assert_nothing_stored, get};
use crate::support::{Origin, Proxy, RawOrigin, Reply};

/// The connection closed before the end of the response, and the client can tell.
#[track_caller]
fn assert_truncated(answer: &str) {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return assert_eq!(answer, "");
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        let length: usize = length.parse().expect("a length is a number");
        assert!(body.len() < length, "{answer}");
    } else {
        assert!(head.contains("transfer-encoding: chunked"), "{answer}");
        assert!(!body.ends_with("0\r\n\r\n"), "{answer}");
    }
}

/// Truncated and malformed bodies.
fn broken_bodies() -> [(&'static str, Reply); 5] {
    let complete = Reply::json("{\"a\":\"0123456789\"}");
    [
        (
            "shorter than its length",
            complete.clone().truncated_after(7),
        ),
        ("half a chunk", complete.clone().truncated_chunks_after(17)),
        ("no body after the head", complete.truncated_after(0)),
        (
            "a chunk without a size",
            Reply::raw(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nnonsense\r\n",
            ),
        ),
        (
            "a chunk longer than its size",
            Reply::raw(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}}}\r\n0\r\n\r\n",
            ),
        ),
    ]
}

#[tokio::test]
async fn a_reset_by_the_origin_is_502_or_a_truncated_body() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;

    let reset_after = async |bytes: &str| {
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        upstream.send(bytes).await;
        upstream.reset();
    };
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome";

    let (answer, ()) = tokio::join!(proxy.request(Method::POST, OTHER), reset_after(""));
    assert_failed(answer, 502, "connection_terminated");
    let (answer, ()) = tokio::join!(
        proxy.request(Method::POST, OTHER),
        reset_after("HTTP/1.1 200 OK\r\n")
    );
    assert_failed(answer, 502, "connection_terminated");
    let (answer, ()) = tokio::join!(proxy.get(CALL).bearer("a"), reset_after(half));
    assert!(answer.status() == 502, "{answer}");
    assert_nothing_stored(&proxy).await;

    let (answer, ()) = tokio::join!(proxy.get(OTHER), async {
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        upstream.send(half).await;
        // The proxy has forwarded the first bytes before the reset.
        proxy
            .wait_for_metric("stuut_cache_upstream_bytes_total", 8)
            .await;
        upstream.reset();
    });
    answer.assert_status(200).assert_truncated();
}

/// Such a body cannot be known to be complete.
#[tokio::test]
async fn a_close_delimited_body_is_forwarded_and_never_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for target in [CALL, OTHER] {
        origin.reply(target, Reply::json("{\"a\":1}").until_close());
        for _ in 0..2 {
            proxy
                .get(target)
                .bearer("a")
                .await
                .assert_status(200)
                .assert_no_header("connection")
                .assert_body("{\"a\":1}");
        }
    }
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=close-delimited");
    origin.assert_requests(5);
    assert_nothing_stored(&proxy).await;
}

/// Heads that forbid to store the response, and the reason reported.
const FORBIDDEN: [(&str, &str); 5] = [
    ("200 OK\r\ncache-control: no-store", "no-store"),
    (
        "200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\ncache-control: max-age=9",
        "event-stream",
    ),
    (
        "206 Partial Content\r\ncontent-range: bytes 0-9/20",
        "status",
    ),
    ("200 OK\r\nvary: *", "vary"),
    ("500 Oops\r\ncache-control: no-store", "no-store"),
];

#[tokio::test]
async fn what_the_head_forbids_to_store_is_streamed_at_once() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for (head, reason) in FORBIDDEN {
        for (framing, half, rest) in [
            ("content-length: 10", "first", " last"),
            (
                "transfer-encoding: chunked",
                "5\r\nfirst\r\n",
                "5\r\n last\r\n0\r\n\r\n",
            ),
            ("connection: close", "first", " last"),
        ] {
            let mut client = proxy.raw_connection().await;
            client.send(get(CALL)).await;
            let mut upstream = origin.accept().await;
            upstream.read_request().await;
            let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n{framing}\r\n\r\n");
            upstream.send(head + half).await;
            // The origin pauses, and no time passes.
            let received = client.read_until("first").await;
            assert!(
                received.contains(&format!("detail={reason}\r\n")),
                "{received}"
            );
            upstream.send(rest).await;
            drop(upstream);
            client.read_until("last").await;
        }
    }
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    assert_nothing_stored(&proxy).await;
}

#[tokio::test]
async fn streams_of_events_take_no_slot_of_other_calls() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.limits.in_flight = 1;
        config.limits.streams = 1;
    })
    .await;
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
    let mut client = proxy.raw_connection().await;
    client.send(get(CALL)).await;
    let mut upstream = origin.accept().await;
    upstream.read_request().await;
    upstream.send(events).await;
    client.read_until("data: 1").await;

    let respond = async |reply: &str| {
        let mut upstream = origin.accept().await;
        upstream.read_request().await;
        upstream.send(reply).await;
    };
    let other = proxy.get("/v1/calls/c2").bearer("b");
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let (other, ()) = tokio::join!(other, respond(reply));
    other.assert_miss().assert_body("{}");
    // All slots of the streams are taken.
    let second = proxy.get("/v1/calls/c3").bearer("b");
    let (second, ()) = tokio::join!(second, respond(events));
    assert_failed(second, 503, "connection_limit_reached");
    proxy.get("/v1/calls/c2").bearer("b").await.assert_hit();

    upstream.send("data: 2\n\n").await;
    client.read_until("data: 2").await;
}

#[tokio::test]
async fn a_body_over_max_entry_is_streamed_and_never_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.cache.max_entry = ByteSize(1_000)).await;
    let body = format!("\"{}\"", "x".repeat(100_000));
    for reply in [Reply::json(&body), Reply::json(&body).chunked(300)] {
        origin.reply(CALL, reply);
        for _ in 0..2 {
            proxy
                .get(CALL)
                .bearer("a")
                .await
                .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=too-large")
                .assert_body(&body);
        }
        assert_nothing_stored(&proxy).await;
    }
    origin.assert_requests(4);

    // A body of exactly `max_entry`.
    origin.reply(CALL, Reply::json(&body[..1_000]));
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn a_truncated_body_over_max_entry_never_looks_complete() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.cache.max_entry = ByteSize(1_000)).await;
    let body = "x".repeat(100_000);
    for truncated in [
        Reply::json(&body).truncated_after(50_000),
        Reply::json(&body).truncated_chunks_after(50_000),
    ] {
        origin.reply(CALL, truncated);
        assert_truncated(&proxy.raw(get(CALL)).await);
        assert_nothing_stored(&proxy).await;
    }
}

/// RFC 9112 §6.3: Transfer-Encoding overrides Content-Length.
#[tokio::test]
async fn a_response_with_both_length_and_chunks_is_read_as_chunks() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for fields in [
        "content-length: 2\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 20",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
        for target in [CALL, OTHER] {
            origin.reply(target, Reply::raw_kept_open(&answer));
            for _ in 0..2 {
                let answer = proxy.get(target).bearer("a").await.assert_body("body");
                let length = answer.header("content-length");
                assert!(length.is_none_or(|length| length == "4"), "{answer}");
            }
        }
        proxy
            .request(Method::HEAD, OTHER)
            .await
            .assert_no_header("content-length");
        proxy
            .admin(Method::POST, "/purge?all")
            .await
            .assert_status(200);
    }
}

/// Response desynchronisation: extra bytes could be read as the next response.
#[tokio::test]
async fn bytes_after_a_body_are_never_the_next_response() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for target in [CALL, OTHER] {
        for framing in [
            "content-length: 2\r\n\r\n{}",
            "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\ncache-control: no-store\r\n{framing}{poison}");
            origin.reply(target, Reply::raw_kept_open(&answer));
            for _ in 0..5 {
                proxy.get(target).bearer("a").await.assert_body("{}");
                let next = proxy.get("/v1/next").await;
                assert_eq!(next.json()["target"], "/v1/next", "{next}");
            }
        }
    }
}

#[tokio::test]
async fn a_failed_revalidation_keeps_the_stored_response() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, Reply::json("{}").header("cache-control", "max-age=1"));
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(60);
    for (what, reply) in broken_bodies() {
        origin.reply(CALL, reply);
        eprintln!("{what}");
        proxy
            .get(CALL)
            .bearer("a")
            .await
            .assert_stale("stale-if-error")
            .assert_body("{}");
    }
}
