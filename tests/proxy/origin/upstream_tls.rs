//! The origin over TLS: whom the proxy trusts, and what it speaks.

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use stuut_cache::config::ByteSize;

use crate::support::h2::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS};
use crate::support::{
    Authority, ByHand, FRAGILE, Got, Origin, Program, Proxy, TlsOrigin, Wire, run_with, until,
};

const CALL: &str = "/v1/calls/c1";
const OTHER: &str = "/v1/other";

/// A proxy that trusts this authority beside the system's.
async fn trusting(authority: &Authority, url: &str) -> Proxy {
    Proxy::before(url, |config| {
        config.upstream.ca_file = Some(authority.file.path().to_owned());
    })
    .await
}

async fn assert_fails(proxy: &Proxy, error: &str) {
    for target in [CALL, OTHER] {
        let answer = proxy
            .get(target)
            .bearer("a")
            .await
            .assert_problem(502, error);
        let said = answer.header("proxy-status").unwrap_or_default();
        let expected = format!("stuut-cache; error={error}; ");
        assert!(said.starts_with(&expected), "{answer}");
    }
}

#[tokio::test]
async fn an_origin_that_ca_file_vouches_for_is_asked_over_http11() {
    let authority = Authority::new();
    for protocols in [&["http/1.1"][..], &[]] {
        let origin = TlsOrigin::start(&authority, "localhost", protocols, 1).await;
        let proxy = trusting(&authority, &origin.url()).await;

        let answer = proxy.get(CALL).bearer("a").await.assert_miss();
        assert_eq!(answer.json()["version"], "HTTP/1.1", "{answer}");
        proxy.get(CALL).bearer("a").await.assert_hit();
        // One connection is kept and used again.
        for _ in 0..3 {
            proxy.get(OTHER).await.assert_status(200);
        }
        assert_eq!(origin.connections(), 1);
    }
}

#[tokio::test]
async fn concurrent_requests_share_one_http2_connection() {
    const TOGETHER: usize = 50;
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["h2", "http/1.1"], TOGETHER).await;
    let proxy = trusting(&authority, &origin.url()).await;

    let answer = proxy.get(CALL).bearer("a").await.assert_miss();
    assert_eq!(answer.json()["version"], "HTTP/2.0", "{answer}");
    proxy.get(CALL).bearer("a").await.assert_hit();

    // None of them is answered before all of them have come.
    let answers = (0..TOGETHER).map(|_| proxy.get("/v1/together").into_future());
    for answer in join_all(answers).await {
        answer.assert_status(200);
    }
    assert_eq!(origin.connections(), 1);
}

/// The alert that ends a session is no byte of an answer; and where requests share a connection,
/// what others have heard is none of this one's.
#[tokio::test]
async fn a_pooled_connection_that_dies_under_a_get_costs_one_more_try() {
    let authority = Authority::new();
    for protocols in [&["http/1.1"][..], &["h2"]] {
        let origin = TlsOrigin::start(&authority, "localhost", protocols, 1).await;
        let proxy = trusting(&authority, &origin.url()).await;
        proxy.get(OTHER).await.assert_status(200);
        proxy.get(FRAGILE).bearer("a").await.assert_miss();
        assert_eq!(origin.connections(), 2);
        let retries = "stuut_cache_upstream_retries_total{reason=\"pooled\"}";
        assert_eq!(proxy.metric(retries).await.to_string(), "1");
    }
}

/// Without a reset, nobody told the client that its one connection was dead.
#[tokio::test]
async fn a_black_holed_http2_connection_fails_every_miss() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["h2"], 1).await;
    let proxy = Proxy::before(&origin.url(), |config| {
        config.upstream.ca_file = Some(authority.file.path().to_owned());
        config.upstream.connect_timeout = Duration::from_secs(1);
        config.upstream.response_timeout = Duration::from_secs(1);
    })
    .await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    origin.fall_silent();
    until("a new connection", async || {
        proxy.get(OTHER).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn what_passes_the_cache_by_is_the_same_over_http2() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["h2"], 1).await;
    let proxy = trusting(&authority, &origin.url()).await;

    let target = "/v1//other/../a%2Fb;c?&&d=%7e&";
    let answer = proxy
        .request(Method::PATCH, target)
        .bearer("a")
        .header("x-ask", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers")
        .body("a body")
        .await
        .assert_status(200)
        .assert_header("via", "2 stuut-cache");
    let said = answer.json();
    assert_eq!(said["target"], target);
    assert_eq!(said["body"], "a body");
    assert_eq!(
        said["authority"],
        origin.url().trim_start_matches("https://")
    );
    let fields = &said["fields"];
    assert_eq!(fields["authorization"], "Bearer a");
    assert_eq!(fields["x-ask"], "1");
    assert_eq!(fields["via"], "1.1 stuut-cache");
    for name in ["host", "keep-alive", "connection", "te"] {
        assert!(fields[name].is_null(), "{name}: {answer}");
    }

    for method in ["GET", "POST"] {
        let answer = proxy
            .raw(format!(
                "{method} {OTHER} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                 transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n\r\n"
            ))
            .await;
        assert!(answer.contains("\"body\":\"some\""), "{answer}");
    }
}

#[tokio::test]
async fn an_upload_over_the_limit_is_413_over_http2_too() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["h2"], 1).await;
    let proxy = Proxy::before(&origin.url(), |config| {
        config.upstream.ca_file = Some(authority.file.path().to_owned());
        config.limits.request_body = ByteSize(3);
    })
    .await;

    let answer = proxy
        .raw(format!(
            "POST {OTHER} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
             4\r\nsome\r\n0\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(
        answer.contains("larger than limits.request_body"),
        "{answer}"
    );
    // The connection outlives the request.
    proxy.get(OTHER).await.assert_status(200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_authority_that_nobody_knows_is_not_trusted() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let origin = TlsOrigin::start(&unknown, "localhost", &["h2", "http/1.1"], 1).await;

    assert_fails(
        &Proxy::before(&origin.url(), |_| {}).await,
        "tls_certificate_error",
    )
    .await;
    assert_fails(
        &trusting(&known, &origin.url()).await,
        "tls_certificate_error",
    )
    .await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "elsewhere.test", &["http/1.1"], 1).await;

    assert_fails(
        &trusting(&authority, &origin.url()).await,
        "tls_certificate_error",
    )
    .await;
}

#[tokio::test]
async fn an_origin_that_speaks_plain_http_is_a_tls_error() {
    let origin = ByHand::start().await;
    let url = format!("https://localhost:{}", origin.address.port());
    let proxy = Proxy::before(&url, |_| {}).await;

    let plain = tokio::spawn(async move {
        loop {
            let mut line = origin.accept().await;
            // A greeting in a language it does not speak.
            line.some().await;
            line.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    assert_fails(&proxy, "tls_protocol_error").await;
    plain.abort();
}

/// Two providers in one process would ask to be chosen between.
#[test]
fn ring_is_the_only_provider_of_cryptography() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let lock = std::fs::read_to_string(lock).expect("the lock file");
    assert!(lock.contains("name = \"ring\""));
    assert!(!lock.contains("aws-lc"));
}

/// An image without certificates, as small ones are, and an origin beside it that speaks http.
#[tokio::test]
async fn where_nobody_is_to_be_trusted_no_trust_store_is_needed() {
    let nothing = [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];
    let origin = Origin::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
    command.envs(nothing);
    let proxy = Program::by(command, &origin).await;
    proxy.get(CALL).bearer("a").await.assert_status(200);

    // The default origin speaks https.
    run_with(&["check"], &nothing)
        .await
        .assert_code(1)
        .assert_says("install the system's certificates");
}

/// Without `END_STREAM` an answer is not whole, whatever the reset says (RFC 9113 §8.1).
#[tokio::test]
async fn half_an_answer_whose_stream_was_reset_without_an_error_was_stored_as_a_whole() {
    let authority = Authority::new();
    for length in [None, Some("99")] {
        let origin = ByHand::start().await;
        let url = authority.before(origin.address, &["h2"]).await;
        let proxy = trusting(&authority, &url).await;
        let ask = |target| {
            proxy.raw_bytes(format!(
                "GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nconnection: close\r\n\r\n"
            ))
        };
        let mut head = vec![(":status", "200"), ("content-type", "application/json")];
        head.extend(length.map(|length| ("content-length", length)));

        let (fetched, mut line) = tokio::join!(ask(CALL), async {
            let mut line = origin.accept().await;
            line.until("SM\r\n\r\n").await;
            line.send(h2::frame(SETTINGS, 0, 0, b"")).await;
            answer_and_reset(&mut line, &head, 0).await;
            line
        });
        let Got::Whole(head_of_problem, _) = Got::of(&fetched) else {
            panic!("{}", String::from_utf8_lossy(&fetched));
        };
        assert!(head_of_problem.contains(" 502 "), "{head_of_problem}");
        let (forwarded, ()) = tokio::join!(ask(OTHER), answer_and_reset(&mut line, &head, 0));
        assert_eq!(Got::of(&forwarded), Got::Torn);
        // Behind a whole answer, the same reset says nothing (RFC 9113 §8.1).
        if length.is_none() {
            for target in [CALL, OTHER] {
                let whole = answer_and_reset(&mut line, &head, END_STREAM);
                let (whole, ()) = tokio::join!(ask(target), whole);
                assert!(matches!(Got::of(&whole), Got::Whole(head, _) if head.contains(" 200 ")));
            }
        }
        let entries = proxy.metric("stuut_cache_entries").await;
        assert_eq!(
            entries.to_string(),
            if length.is_none() { "1" } else { "0" }
        );
    }
}

/// Answers the next request with a body, and a reset with `NO_ERROR`.
async fn answer_and_reset(line: &mut Wire, head: &[(&str, &str)], end: u8) {
    let stream = loop {
        let frame = line.frame().await.expect("a request comes");
        if frame.kind == HEADERS {
            break frame.stream;
        }
    };
    for frame in [
        h2::frame(HEADERS, END_HEADERS, stream, &h2::block(head)),
        h2::frame(DATA, end, stream, b"{\"id\":"),
        h2::frame(RST_STREAM, 0, stream, &[0; 4]),
    ] {
        line.send(frame).await;
    }
}
