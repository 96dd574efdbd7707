//! Compression for clients: made once per representation.

use std::io::{Read as _, Write as _};

use crate::support::{Origin, Proxy, Reply, Request, Response};

pub(super) const TARGET: &str = "/v1/calls/c1";

/// A compressible call: JSON of some 20 KB.
pub(super) fn call() -> String {
    let words = "the customer promises to pay the invoice by Friday; ".repeat(200);
    format!(r#"{{"id":"c1","transcript":"{words}","summary":"{words}"}}"#)
}

pub(super) fn gzip(body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer
        .write_all(body.as_ref())
        .expect("writing to a vector cannot fail");
    writer.finish().expect("writing to a vector cannot fail")
}

fn decompressed(response: &Response) -> String {
    let body = response.body();
    let mut text = String::new();
    let coding = response.header("content-encoding");
    let read = match coding.as_deref() {
        Some("gzip") => flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(&body[..], 4_096).read_to_string(&mut text),
        Some("zstd") => {
            zstd::Decoder::new(&body[..]).and_then(|mut zstd| zstd.read_to_string(&mut text))
        }
        other => panic!("unexpected content coding: {other:?}"),
    };
    read.expect("the body has the declared content coding");
    text
}

/// Repeats the request until its hit is compressed.
pub(super) async fn wait_until_compressed(mut get: impl FnMut() -> Request) -> Response {
    for _ in 0..10_000 {
        let response = get().await.assert_hit();
        if response.header("content-encoding").is_some() {
            return response;
        }
        tokio::task::yield_now().await;
    }
    panic!("the response was never compressed");
}

#[tokio::test]
async fn a_hit_is_compressed_as_the_client_prefers() {
    let origin = Origin::start().await;
    origin.reply(TARGET, Reply::json(&call()).header("etag", "\"1\""));
    let proxy = Proxy::start(&origin).await;
    let get = |accept: &str| {
        proxy
            .get(TARGET)
            .bearer("a")
            .header("accept-encoding", accept)
    };

    get("gzip, br, zstd")
        .await
        .assert_miss()
        .assert_no_header("content-encoding")
        .assert_header("vary", "accept-encoding")
        .assert_header("etag", "\"1\"")
        .assert_body(call());
    for (accept, coding) in [
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("gzip, br, zstd", "zstd"),
    ] {
        let response = wait_until_compressed(|| get(accept))
            .await
            .assert_header("content-encoding", coding)
            .assert_header("vary", "accept-encoding")
            .assert_header("etag", &format!("\"1--stuut-{coding}\""));
        assert!(response.body().len() < call().len() / 5);
        assert_eq!(decompressed(&response), call());
        let head = proxy
            .request(http::Method::HEAD, TARGET)
            .bearer("a")
            .header("accept-encoding", accept)
            .await;
        head.assert_header("content-encoding", coding)
            .assert_header("content-length", &response.body().len().to_string());
    }
    get("identity")
        .await
        .assert_hit()
        .assert_no_header("content-encoding")
        .assert_body(call());
    get("gzip")
        .header("cache-control", "no-transform")
        .await
        .assert_hit()
        .assert_no_header("content-encoding")
        .assert_body(call());
    proxy
        .get(TARGET)
        .bearer("a")
        .await
        .assert_hit()
        .assert_body(call());
    origin.assert_requests(1);
}

#[tokio::test]
async fn a_view_is_compressed_on_its_own() {
    let origin = Origin::start().await;
    origin.reply(TARGET, Reply::json(&call()));
    let proxy = Proxy::start(&origin).await;
    let view = format!("{TARGET}?strip=summary");
    let get = || {
        proxy
            .get(&view)
            .bearer("a")
            .header("accept-encoding", "zstd")
    };

    let plain = proxy.get(&view).bearer("a").await.assert_miss();
    let compressed = wait_until_compressed(get).await;
    assert_eq!(decompressed(&compressed), plain.text());
    assert_ne!(compressed.header("etag"), plain.header("etag"));
    // The tag of one content coding matches all others.
    let tag = compressed.header("etag").expect("a view has a tag");
    proxy
        .get(&view)
        .bearer("a")
        .header("if-none-match", &tag)
        .await
        .assert_status(304)
        .assert_header("etag", &tag);
}

#[tokio::test]
async fn a_304_has_the_tag_that_the_client_sent() {
    let origin = Origin::start().await;
    origin.reply(TARGET, Reply::json(&call()).header("etag", "\"1\""));
    let proxy = Proxy::start(&origin).await;
    let get = || {
        proxy
            .get(TARGET)
            .bearer("a")
            .header("accept-encoding", "gzip")
    };
    get().await.assert_miss();
    wait_until_compressed(get).await;
    for tag in ["\"1\"", "\"1--stuut-gzip\"", "\"1--stuut-br\""] {
        get()
            .header("if-none-match", tag)
            .await
            .assert_status(304)
            .assert_header("etag", tag)
            .assert_header("vary", "accept-encoding")
            .assert_no_header("content-encoding");
    }
    get()
        .header("if-none-match", "\"2\"")
        .await
        .assert_status(200);
    get()
        .header("if-none-match", "*")
        .await
        .assert_status(304)
        .assert_header("etag", "\"1--stuut-gzip\"");
}

#[tokio::test]
async fn if_match_on_a_write_is_sent_with_the_origins_tag() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    proxy
        .request(http::Method::PATCH, TARGET)
        .bearer("a")
        .header("if-match", "\"1--stuut-zstd\", W/\"2\"")
        .body("{}")
        .await;
    assert_eq!(
        origin.last_request().header("if-match").as_deref(),
        Some("\"1\", W/\"2\"")
    );
}

#[tokio::test]
async fn small_and_non_text_responses_are_not_compressed() {
    let origin = Origin::start().await;
    origin.reply("/v1/calls/small", Reply::json(r#"{"id":"small"}"#));
    let wav = Reply::new(200)
        .header("content-type", "audio/wav")
        .body(call());
    origin.reply("/v1/calls/wav", wav);
    let proxy = Proxy::start(&origin).await;
    for target in ["/v1/calls/small", "/v1/calls/wav"] {
        let get = || {
            proxy
                .get(target)
                .bearer("a")
                .header("accept-encoding", "gzip")
        };
        get().await.assert_miss().assert_no_header("vary");
        get().await.assert_hit().assert_no_header("vary");
    }
    let identity = "stuut_cache_content_coding_total{coding=\"identity\"}";
    proxy.wait_for_metric(identity, 2).await;
    proxy
        .wait_for_metric("stuut_cache_coding_duration_seconds_count", 0)
        .await;
}

#[tokio::test]
async fn compressed_bytes_count_towards_the_weight() {
    let origin = Origin::start().await;
    origin.reply(TARGET, Reply::json(&call()));
    let proxy = Proxy::start(&origin).await;
    let get = || {
        proxy
            .get(TARGET)
            .bearer("a")
            .header("accept-encoding", "gzip")
    };
    get().await.assert_miss();
    let weight = async || proxy.metric("stuut_cache_weight_bytes").await;
    let before = weight().await;
    let compressed = wait_until_compressed(get).await;
    let more = f64::from(u32::try_from(compressed.body().len()).expect("a small body"));
    // It is weighed right after it becomes available.
    for _ in 0..10_000 {
        if weight().await >= before + more {
            return;
        }
    }
    panic!("the compressed bytes are not weighed");
}

/// Waits for a compression of another call; returns the number made before it.
async fn compressions(proxy: &Proxy) -> f64 {
    let other = || {
        proxy
            .get("/v1/calls/other?x=1")
            .bearer("b")
            .header("accept-encoding", "gzip")
    };
    other().await.assert_miss();
    wait_until_compressed(other).await;
    proxy
        .metric("stuut_cache_coding_duration_seconds_count")
        .await
        - 1.0
}

#[tokio::test]
async fn shared_compressed_bytes_are_weighed_once() {
    let origin = Origin::start().await;
    origin.reply(TARGET, Reply::json(&call()));
    let proxy = Proxy::start(&origin).await;
    let weight = async || proxy.metric("stuut_cache_weight_bytes").await;
    let get = || {
        proxy
            .get(TARGET)
            .bearer("a")
            .header("accept-encoding", "gzip")
    };
    get().await.assert_miss();
    for number in 0..8 {
        let view = format!("{TARGET}?strip=nothing{number}");
        proxy.get(&view).bearer("a").await.assert_hit();
    }
    let before = weight().await;
    let compressed = wait_until_compressed(get).await;
    let bytes = f64::from(u32::try_from(compressed.body().len()).expect("a small body"));
    for _ in 0..10_000 {
        let more = weight().await - before;
        if more > 0.0 {
            // Its head is weighed too, about two kilobytes.
            assert!(more < bytes + 4_000.0, "{bytes} bytes weigh {more}");
            return;
        }
    }
    panic!("the compressed bytes are not weighed");
}

#[tokio::test]
async fn views_requested_once_are_not_compressed() {
    let origin = Origin::start().await;
    origin.reply(TARGET, Reply::json(&call()));
    origin.reply("/v1/calls/other?x=1", Reply::json(&call()));
    let proxy = Proxy::start(&origin).await;
    proxy.get(TARGET).bearer("a").await.assert_miss();
    for number in 0..30 {
        let view = format!("{TARGET}?fields=transcript,x{number}");
        let get = proxy.get(&view).bearer("a").header("accept-encoding", "br");
        get.await.assert_hit().assert_no_header("content-encoding");
    }
    assert!(compressions(&proxy).await.abs() < 0.5);
}

#[tokio::test]
async fn a_304_or_head_starts_no_compression() {
    let origin = Origin::start().await;
    origin.reply(TARGET, Reply::json(&call()).header("etag", "\"1\""));
    origin.reply("/v1/calls/other?x=1", Reply::json(&call()));
    let proxy = Proxy::start(&origin).await;
    proxy.get(TARGET).bearer("a").await.assert_miss();
    for _ in 0..5 {
        let get = proxy
            .get(TARGET)
            .bearer("a")
            .header("accept-encoding", "br");
        get.header("if-none-match", "\"1\"")
            .await
            .assert_status(304);
        let head = proxy.request(http::Method::HEAD, TARGET).bearer("a");
        head.header("accept-encoding", "br").await.assert_hit();
    }
    assert!(compressions(&proxy).await.abs() < 0.5);
}

#[tokio::test]
async fn no_transform_is_always_obeyed() {
    let origin = Origin::start().await;
    let length = call().len();
    let mut raw = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         cache-control: no-transform, x=\"\u{e9}\"\r\n\r\n"
    )
    .into_bytes();
    raw.extend_from_slice(call().as_bytes());
    origin.reply(TARGET, Reply::raw(raw));
    origin.reply("/v1/calls/c2", Reply::json(&call()));
    origin.reply("/v1/calls/other?x=1", Reply::json(&call()));
    let proxy = Proxy::with(&origin, |config| {
        config.freshness.client_directives = stuut_cache::config::ClientDirectives::Ignore;
    })
    .await;
    proxy.get(TARGET).bearer("a").await.assert_miss();
    proxy.get("/v1/calls/c2").bearer("a").await.assert_miss();
    for _ in 0..5 {
        for (target, directive) in [(TARGET, "max-age=60"), ("/v1/calls/c2", "no-transform")] {
            let get = proxy
                .get(target)
                .bearer("a")
                .header("accept-encoding", "br");
            get.header("cache-control", directive)
                .await
                .assert_hit()
                .assert_no_header("content-encoding");
        }
    }
    assert!(compressions(&proxy).await.abs() < 0.5);
}
