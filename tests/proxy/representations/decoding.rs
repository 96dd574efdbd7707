//! Content codings of the origin: undone before a response is stored.

use stuut_cache::config::ByteSize;

use super::compression::{TARGET, call, gzip, until_coded};
use crate::support::{Origin, Proxy, Reply};

#[tokio::test]
async fn what_the_origin_sends_in_gzip_is_stored_without() {
    let origin = Origin::start().await;
    origin.reply(
        TARGET,
        Reply::json("")
            .body(gzip(call()))
            .header("content-encoding", "gzip")
            .header("vary", "Accept-Encoding")
            .header("content-digest", "sha-256=:x:")
            .header("cache-control", "max-age=10")
            .validating("\"1\""),
    );
    let proxy = Proxy::start(&origin).await;
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_miss()
        .assert_body(call())
        .assert_header("etag", "\"1--stuut-identity\"")
        .assert_header("content-length", &call().len().to_string())
        .assert_no_header("content-encoding")
        .assert_no_header("content-digest");
    assert_eq!(
        origin.last_request().header("accept-encoding").as_deref(),
        Some("gzip")
    );
    for accept in ["br", "identity", "gzip;q=0.3"] {
        let answer = proxy
            .get(TARGET)
            .bearer("a")
            .header("accept-encoding", accept)
            .await;
        answer.assert_hit();
    }
    origin.assert_requests(1);

    // It is asked about by the origin's own tag, and keeps ours when it is renewed.
    proxy.clock.advance(std::time::Duration::from_secs(11));
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_forwarded("stale")
        .assert_body(call())
        .assert_header("etag", "\"1--stuut-identity\"");
    assert_eq!(
        origin.last_request().header("if-none-match").as_deref(),
        Some("\"1\"")
    );
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_hit()
        .assert_body(call());
}

#[tokio::test]
async fn gzip_that_cannot_be_undone_is_an_error_and_not_stored() {
    let whole = gzip(call());
    let torn = &whole[..whole.len() - 9];
    let mut changed = whole.clone();
    let at = changed.len() - 5;
    changed[at] ^= 1;
    let behind = [&whole[..], b"garbage"].concat();
    for broken in [torn, &changed, &behind, b"not gzip at all"] {
        let origin = Origin::start().await;
        let reply = Reply::json("")
            .body(broken)
            .header("content-encoding", "gzip");
        origin.replies(TARGET, vec![reply, Reply::json(&call())]);
        let proxy = Proxy::start(&origin).await;
        proxy
            .get(TARGET)
            .bearer("a")
            .await
            .assert_problem(502, "http_response_content_coding");
        proxy
            .get(TARGET)
            .bearer("a")
            .await
            .assert_miss()
            .assert_body(call());
    }
}

#[tokio::test]
async fn an_empty_body_has_no_coding_to_undo() {
    let origin = Origin::start().await;
    origin.reply(TARGET, Reply::json("").header("content-encoding", "gzip"));
    let proxy = Proxy::start(&origin).await;
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_status(200)
        .assert_body("");
}

#[tokio::test]
async fn a_gzip_bomb_is_passed_on_as_it_unfolds() {
    let origin = Origin::start().await;
    let bomb = gzip(vec![b' '; 16 << 20]);
    origin.reply(
        TARGET,
        Reply::json("")
            .body(bomb)
            .header("content-encoding", "gzip"),
    );
    let proxy = Proxy::with(&origin, |config| {
        config.cache.max_entry = ByteSize(64 << 10);
    })
    .await;
    for _ in 0..2 {
        let answer = proxy.get(TARGET).bearer("a").await;
        let answer =
            answer.assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=too-large");
        assert_eq!(answer.body().len(), 16 << 20);
    }
}

#[tokio::test]
async fn a_gzip_bomb_that_is_torn_breaks_off() {
    let origin = Origin::start().await;
    let bomb = gzip(vec![b' '; 16 << 20]);
    let torn = &bomb[..bomb.len() / 2];
    origin.reply(
        TARGET,
        Reply::json("")
            .body(torn)
            .header("content-encoding", "gzip"),
    );
    let proxy = Proxy::with(&origin, |config| {
        config.cache.max_entry = ByteSize(64 << 10);
    })
    .await;
    proxy.get(TARGET).bearer("a").await.assert_truncated();
}

#[tokio::test]
async fn a_coding_that_nobody_may_undo_is_not_asked_for() {
    let origin = Origin::start().await;
    let locked = Reply::json("")
        .body(gzip(call()))
        .header("content-encoding", "gzip")
        .header("cache-control", "no-transform");
    let plain = Reply::json(&call()).header("cache-control", "no-transform");
    origin.replies(TARGET, vec![locked, plain]);
    let proxy = Proxy::start(&origin).await;
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_miss()
        .assert_body(call())
        .assert_no_header("vary");
    assert_eq!(
        origin.last_request().header("accept-encoding").as_deref(),
        Some("identity")
    );
    origin.assert_requests(2);
    let answer = proxy
        .get(TARGET)
        .bearer("a")
        .header("accept-encoding", "gzip")
        .await;
    answer
        .assert_hit()
        .assert_no_header("content-encoding")
        .assert_body(call());
}

fn gzipped() -> Reply {
    Reply::json("")
        .body(gzip(call()))
        .header("content-encoding", "gzip")
}

#[tokio::test]
async fn a_tag_of_what_was_decoded_and_coded_again_had_two_suffixes() {
    let origin = Origin::start().await;
    origin.reply(TARGET, gzipped().header("etag", "\"1\""));
    let proxy = Proxy::start(&origin).await;
    let get = || {
        proxy
            .get(TARGET)
            .bearer("a")
            .header("accept-encoding", "zstd")
    };
    get()
        .await
        .assert_miss()
        .assert_header("etag", "\"1--stuut-identity\"");
    until_coded(get)
        .await
        .assert_header("etag", "\"1--stuut-zstd\"");
    for tag in ["\"1\"", "\"1--stuut-identity\"", "\"1--stuut-zstd\""] {
        for accept in ["zstd", "identity"] {
            let again = proxy.get(TARGET).bearer("a").header("if-none-match", tag);
            let again = again.header("accept-encoding", accept).await;
            again.assert_status(304).assert_header("etag", tag);
        }
    }
}

#[tokio::test]
async fn a_refusal_in_a_coding_that_nobody_may_undo_was_forgotten() {
    let origin = Origin::start().await;
    let fresh = Reply::json(&call()).header("cache-control", "max-age=1, stale-if-error=600");
    let refused = Reply::new(403)
        .body(gzip("no"))
        .header("content-encoding", "gzip")
        .header("cache-control", "no-transform");
    origin.replies(TARGET, vec![fresh, refused, Reply::new(503)]);
    let proxy = Proxy::start(&origin).await;
    proxy.get(TARGET).bearer("a").await.assert_miss();
    proxy.clock.advance(std::time::Duration::from_secs(2));
    proxy.get(TARGET).bearer("a").await.assert_status(503);
}

#[tokio::test]
async fn a_coding_that_nobody_may_undo_took_two_places() {
    let origin = Origin::start().await;
    let locked = gzipped().header("cache-control", "no-transform");
    let plain = Reply::json(&call()).header("cache-control", "no-transform");
    origin.replies(TARGET, vec![locked, plain]);
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_miss()
        .assert_body(call());
}

#[tokio::test]
async fn a_304_brought_digests_of_the_coded_bytes() {
    let origin = Origin::start().await;
    let digest = |reply: Reply| {
        reply
            .header("etag", "\"1\"")
            .header("repr-digest", "sha-256=:gzip:")
            .header("accept-ranges", "bytes")
    };
    let first = digest(gzipped()).header("cache-control", "max-age=1");
    origin.replies(TARGET, vec![first, digest(Reply::new(304))]);
    let proxy = Proxy::start(&origin).await;
    proxy.get(TARGET).bearer("a").await.assert_miss();
    proxy.clock.advance(std::time::Duration::from_secs(2));
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_forwarded("stale")
        .assert_body(call())
        .assert_no_header("repr-digest")
        .assert_no_header("accept-ranges");
}

#[tokio::test]
async fn a_trailer_brought_a_digest_of_the_coded_bytes() {
    let origin = Origin::start().await;
    let body = gzip(call());
    let mut raw = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
         transfer-encoding: chunked\r\ntrailer: repr-digest, x-kept\r\n\r\n{:x}\r\n",
        body.len()
    )
    .into_bytes();
    raw.extend_from_slice(&body);
    raw.extend_from_slice(b"\r\n0\r\nrepr-digest: sha-256=:gzip:\r\nx-kept: 1\r\n\r\n");
    origin.reply(TARGET, Reply::raw(raw));
    let proxy = Proxy::with(&origin, |config| {
        config.cache.max_entry = ByteSize(4 << 10);
    })
    .await;
    let request = format!(
        "GET {TARGET} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\r\nte: trailers\r\n\
         connection: te, close\r\n\r\n"
    );
    let answer = proxy.raw(request).await;
    assert!(answer.contains("x-kept: 1"), "the trailers came: {answer}");
    assert!(!answer.contains("sha-256"));
}
