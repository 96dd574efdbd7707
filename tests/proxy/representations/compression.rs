//! Compression for clients: made once per representation, for those who accept it.

use std::io::{Read as _, Write as _};

use crate::support::{Origin, Proxy, Reply, Request, Response};

pub(super) const TARGET: &str = "/v1/calls/c1";

/// A call that is worth a coding, in JSON of some 20 KB.
pub(super) fn call() -> String {
    let words = "the customer promises to pay the invoice by Friday; ".repeat(200);
    format!(r#"{{"id":"c1","transcript":"{words}","summary":"{words}"}}"#)
}

pub(super) fn gzip(body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(body.as_ref()).expect("a vector");
    writer.finish().expect("a vector")
}

fn decoded(answer: &Response) -> String {
    let body = answer.body();
    let mut text = String::new();
    let coding = answer.header("content-encoding");
    let read = match coding.as_deref() {
        Some("gzip") => flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(&body[..], 4_096).read_to_string(&mut text),
        Some("zstd") => {
            zstd::Decoder::new(&body[..]).and_then(|mut zstd| zstd.read_to_string(&mut text))
        }
        other => panic!("not a coding of ours: {other:?}"),
    };
    read.expect("the coding it is declared to be");
    text
}

/// Asks until the coding is made; what comes before is a hit without one.
pub(super) async fn until_coded(mut ask: impl FnMut() -> Request) -> Response {
    for _ in 0..10_000 {
        let answer = ask().await.assert_hit();
        if answer.header("content-encoding").is_some() {
            return answer;
        }
        tokio::task::yield_now().await;
    }
    panic!("no coding was made");
}

#[tokio::test]
async fn a_hit_comes_in_the_coding_that_its_client_prefers() {
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
        let answer = until_coded(|| get(accept))
            .await
            .assert_header("content-encoding", coding)
            .assert_header("vary", "accept-encoding")
            .assert_header("etag", &format!("\"1--stuut-{coding}\""));
        assert!(answer.body().len() < call().len() / 5);
        assert_eq!(decoded(&answer), call());
        let head = proxy
            .request(http::Method::HEAD, TARGET)
            .bearer("a")
            .header("accept-encoding", accept)
            .await;
        head.assert_header("content-encoding", coding)
            .assert_header("content-length", &answer.body().len().to_string());
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
async fn a_view_comes_in_a_coding_of_its_own() {
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
    let coded = until_coded(get).await;
    assert_eq!(decoded(&coded), plain.text());
    assert_ne!(coded.header("etag"), plain.header("etag"));
    // The tag of one coding is known in every other.
    let tag = coded.header("etag").expect("a view has a tag");
    proxy
        .get(&view)
        .bearer("a")
        .header("if-none-match", &tag)
        .await
        .assert_status(304)
        .assert_header("etag", &tag);
}

#[tokio::test]
async fn a_client_is_told_not_modified_by_the_tag_that_it_has() {
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
    until_coded(get).await;
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
async fn a_condition_on_a_write_names_the_tag_that_the_origin_knows() {
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
async fn what_is_small_or_no_text_gets_no_coding() {
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
async fn a_coding_weighs_what_it_holds() {
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
    let coded = until_coded(get).await;
    let more = f64::from(u32::try_from(coded.body().len()).expect("a small body"));
    // It is weighed right after it is at hand.
    for _ in 0..10_000 {
        if weight().await >= before + more {
            return;
        }
    }
    panic!("the coding weighs nothing");
}

/// How many codings were made, once another call's has been.
async fn codings_made(proxy: &Proxy) -> f64 {
    let other = || {
        proxy
            .get("/v1/calls/other?x=1")
            .bearer("b")
            .header("accept-encoding", "gzip")
    };
    other().await.assert_miss();
    until_coded(other).await;
    proxy
        .metric("stuut_cache_coding_duration_seconds_count")
        .await
        - 1.0
}

#[tokio::test]
async fn a_view_that_removes_nothing_weighed_the_codings_again() {
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
    let coded = until_coded(get).await;
    let bytes = f64::from(u32::try_from(coded.body().len()).expect("a small body"));
    for _ in 0..10_000 {
        let more = weight().await - before;
        if more > 0.0 {
            // Its head weighs too, about two kilobytes.
            assert!(more < bytes + 4_000.0, "{bytes} bytes weigh {more}");
            return;
        }
    }
    panic!("the coding weighs nothing");
}

#[tokio::test]
async fn views_that_are_asked_for_once_were_put_into_a_coding_each() {
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
    assert!(codings_made(&proxy).await.abs() < 0.5);
}

#[tokio::test]
async fn a_304_and_a_head_had_codings_made_that_nobody_got() {
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
    assert!(codings_made(&proxy).await.abs() < 0.5);
}

#[tokio::test]
async fn no_transform_was_missed_beside_other_bytes_and_without_cache_directives() {
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
        for (target, asked) in [(TARGET, "max-age=60"), ("/v1/calls/c2", "no-transform")] {
            let get = proxy
                .get(target)
                .bearer("a")
                .header("accept-encoding", "br");
            get.header("cache-control", asked)
                .await
                .assert_hit()
                .assert_no_header("content-encoding");
        }
    }
    assert!(codings_made(&proxy).await.abs() < 0.5);
}
