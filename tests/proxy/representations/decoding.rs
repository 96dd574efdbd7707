//! Compression by the origin: responses are decompressed before they are stored.

use stuut_cache::config::ByteSize;

use super::compression::{TARGET, call, gzip, wait_until_compressed};
use crate::support::{Origin, Proxy, Reply};

#[tokio::test]
async fn gzip_from_the_origin_is_stored_decompressed() {
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
        let response = proxy
            .get(TARGET)
            .bearer("a")
            .header("accept-encoding", accept)
            .await;
        response.assert_hit();
    }
    origin.assert_requests(1);

    // It is revalidated with the origin's tag, and keeps ours when renewed.
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

/// Gzip that cannot be decoded.
fn broken_gzip() -> Vec<Vec<u8>> {
    let whole = gzip(call());
    let mut changed = whole.clone();
    let at = changed.len() - 5;
    changed[at] ^= 1;
    vec![
        whole[..whole.len() - 9].to_vec(),
        changed,
        [&whole[..], b"garbage"].concat(),
        [&whole[..], &[0; 8]].concat(),
        [&whole[..], b"\n"].concat(),
        call().into(),
    ]
}

fn labelled_gzip(body: &[u8]) -> Reply {
    let reply = Reply::json("").body(body);
    reply.header("content-encoding", "gzip")
}

/// A client without gzip would have got the body as it is.
#[tokio::test]
async fn invalid_gzip_is_fetched_again_uncompressed() {
    for broken in broken_gzip() {
        let origin = Origin::start().await;
        let plain = Reply::json(&call()).header("cache-control", "max-age=60");
        origin.replies(TARGET, vec![labelled_gzip(&broken), plain]);
        let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
        let waiting = proxy.get(TARGET).bearer("a").start();
        proxy
            .get(TARGET)
            .bearer("a")
            .await
            .assert_status(200)
            .assert_body(call());
        waiting.await.assert_status(200).assert_body(call());
        assert_eq!(
            origin.last_request().header("accept-encoding").as_deref(),
            Some("identity")
        );
        proxy.get(TARGET).bearer("a").await.assert_hit();
        origin.assert_requests(2);
    }
}

#[tokio::test]
async fn invalid_gzip_twice_is_502_and_not_stored() {
    let origin = Origin::start().await;
    let broken = labelled_gzip(b"not gzip at all");
    let plain = Reply::json(&call());
    origin.replies(TARGET, vec![broken.clone(), broken, plain]);
    let proxy = Proxy::start(&origin).await;
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_problem(502, "http_response_content_coding");
    origin.assert_requests(2);
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_miss()
        .assert_body(call());
}

#[tokio::test]
async fn an_empty_body_with_content_encoding_is_accepted() {
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
async fn a_gzip_bomb_is_streamed_while_it_is_decompressed() {
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
        let response = proxy.get(TARGET).bearer("a").await;
        let response =
            response.assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=too-large");
        assert_eq!(response.body().len(), 16 << 20);
    }
}

#[tokio::test]
async fn a_truncated_gzip_bomb_gives_a_truncated_body() {
    let origin = Origin::start().await;
    let bomb = gzip(vec![b' '; 16 << 20]);
    let truncated = &bomb[..bomb.len() / 2];
    origin.reply(
        TARGET,
        Reply::json("")
            .body(truncated)
            .header("content-encoding", "gzip"),
    );
    let proxy = Proxy::with(&origin, |config| {
        config.cache.max_entry = ByteSize(64 << 10);
    })
    .await;
    proxy.get(TARGET).bearer("a").await.assert_truncated();
}

#[tokio::test]
async fn no_transform_gzip_is_fetched_again_uncompressed() {
    let origin = Origin::start().await;
    let undecodable = Reply::json("")
        .body(gzip(call()))
        .header("content-encoding", "gzip")
        .header("cache-control", "no-transform");
    let plain = Reply::json(&call()).header("cache-control", "no-transform");
    origin.replies(TARGET, vec![undecodable, plain]);
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
    let response = proxy
        .get(TARGET)
        .bearer("a")
        .header("accept-encoding", "gzip")
        .await;
    response
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
async fn a_tag_has_one_suffix_after_recompression() {
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
    wait_until_compressed(get)
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
async fn a_refusal_counts_even_if_its_gzip_may_not_be_decoded() {
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
async fn repeating_a_no_transform_request_takes_one_permit() {
    let origin = Origin::start().await;
    let undecodable = gzipped().header("cache-control", "no-transform");
    let plain = Reply::json(&call()).header("cache-control", "no-transform");
    origin.replies(TARGET, vec![undecodable, plain]);
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_miss()
        .assert_body(call());
}

#[tokio::test]
async fn digests_of_compressed_bytes_in_a_304_are_removed() {
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
async fn digests_of_compressed_bytes_in_trailers_are_removed() {
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
    let response = proxy.raw(request).await;
    assert!(
        response.contains("x-kept: 1"),
        "the trailers are forwarded: {response}"
    );
    assert!(!response.contains("sha-256"));
}

/// It names no coding, but the response had neither views nor compression.
#[tokio::test]
async fn a_content_encoding_of_identity_is_none() {
    for value in ["identity", "", "Identity, identity"] {
        let origin = Origin::start().await;
        let call = Reply::json("{\"a\":1,\"b\":2}").header("content-encoding", value);
        origin.reply("/v1/calls/c1", call);
        let proxy = Proxy::start(&origin).await;
        let view = proxy.get("/v1/calls/c1?strip=a").bearer("a").await;
        view.assert_body("{\"b\":2}")
            .assert_no_header("content-encoding");
    }
}
