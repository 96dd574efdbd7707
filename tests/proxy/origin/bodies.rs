//! Bodies of the origin that are torn, too large or without an end: nothing torn is stored, and no
//! client takes it for whole.

use http::Method;
use stuut_cache::config::ByteSize;

use super::failures::{CALL, OTHER, assert_failed, assert_nothing_stored, get};
use crate::support::{Origin, Proxy, RawOrigin, Reply};

/// The connection ended before the answer did: no client can take it for whole.
#[track_caller]
fn assert_torn(what: &str, answer: &str) {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return assert_eq!(answer, "", "{what}");
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    if let Some(length) = length {
        let length: usize = length.parse().expect("a length is a number");
        assert!(body.len() < length, "{what}: {answer}");
    } else {
        assert!(
            head.contains("transfer-encoding: chunked"),
            "{what}: {answer}"
        );
        assert!(!body.ends_with("0\r\n\r\n"), "{what}: {answer}");
    }
}

/// Bodies that do not end as they should.
fn broken_bodies() -> Vec<(&'static str, Reply, &'static str)> {
    let whole = Reply::json("{\"a\":\"0123456789\"}");
    vec![
        (
            "torn length",
            whole.clone().truncated_after(7),
            "http_response_incomplete",
        ),
        (
            "torn chunks",
            whole.clone().truncated_chunks_after(17),
            "http_response_incomplete",
        ),
        (
            "nothing behind the head",
            whole.truncated_after(0),
            "http_response_incomplete",
        ),
        (
            "a chunk without a size",
            Reply::raw(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nnonsense\r\n",
            ),
            "http_protocol_error",
        ),
        (
            "a chunk longer than its size",
            Reply::raw(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}}}\r\n0\r\n\r\n",
            ),
            "http_protocol_error",
        ),
    ]
}

#[tokio::test]
async fn a_body_that_breaks_off_is_502_where_it_would_be_stored() {
    for (what, reply, error) in broken_bodies() {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        origin.replies(CALL, vec![reply, Reply::json("{}")]);
        let answer = proxy.get(CALL).bearer("a").await;
        eprintln!("{what}");
        assert_failed(answer, 502, error);
        assert_nothing_stored(&proxy).await;

        proxy.get(CALL).bearer("a").await.assert_miss();
        proxy.get(CALL).bearer("a").await.assert_hit();
    }
}

/// Not even the head needs to come: where the break is known before it is sent, it is not.
#[tokio::test]
async fn a_body_that_breaks_off_never_looks_whole_where_it_is_forwarded() {
    for (what, reply, _) in broken_bodies() {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        origin.reply(OTHER, reply);
        assert_torn(what, &proxy.raw(get(OTHER)).await);
        assert_nothing_stored(&proxy).await;

        origin.reply(OTHER, Reply::json("{}"));
        proxy.get(OTHER).await.assert_body("{}");
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_is_502_or_a_broken_body() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;

    let reset_after = async |bytes: &str| {
        let mut line = origin.accept().await;
        line.read_request().await;
        line.send(bytes).await;
        line.reset();
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
        let mut line = origin.accept().await;
        line.read_request().await;
        line.send(half).await;
        // The proxy has passed the beginning on before it meets the reset.
        proxy
            .wait_for_metric("stuut_cache_upstream_bytes_total", 8)
            .await;
        line.reset();
    });
    answer.assert_status(200).assert_truncated();
}

/// Nobody can say whether such a body is whole.
#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_delivered_and_never_stored() {
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

#[tokio::test]
async fn a_body_over_the_largest_entry_is_streamed_whole_and_never_stored() {
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

    // Exactly as large as allowed.
    origin.reply(CALL, Reply::json(&body[..1_000]));
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn a_large_body_that_breaks_off_never_looks_whole() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.cache.max_entry = ByteSize(1_000)).await;
    let body = "x".repeat(100_000);
    for torn in [
        Reply::json(&body).truncated_after(50_000),
        Reply::json(&body).truncated_chunks_after(50_000),
    ] {
        origin.reply(CALL, torn);
        assert_torn("large", &proxy.raw(get(CALL)).await);
        assert_nothing_stored(&proxy).await;
    }
}

/// RFC 9112 §6.3: the chunks are the body.
#[tokio::test]
async fn an_answer_with_length_and_chunks_loses_the_length_and_keeps_the_body() {
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

/// What comes behind a body could be taken for the answer to the next request.
#[tokio::test]
async fn bytes_behind_a_body_never_answer_the_next_request() {
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
async fn a_failed_refresh_leaves_what_is_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, Reply::json("{}").header("cache-control", "max-age=1"));
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(60);
    for (what, reply, _) in broken_bodies() {
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
