//! TLS to the origin: trust, ALPN and pooling.

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{
    Authority, FRAGILE, Origin, Program, Proxy, RawOrigin, TlsOrigin, run_with, wait_until,
};

const CALL: &str = "/v1/calls/c1";
const OTHER: &str = "/v1/other";

/// A proxy that trusts this authority in addition to the system's.
async fn proxy_trusting(authority: &Authority, url: &str) -> Proxy {
    Proxy::in_front_of(url, |config| {
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
        let proxy_status = answer.header("proxy-status").unwrap_or_default();
        let expected = format!("stuut-cache; error={error}; ");
        assert!(proxy_status.starts_with(&expected), "{answer}");
    }
}

#[tokio::test]
async fn the_origin_gets_http1_even_if_it_prefers_http2() {
    let authority = Authority::new();
    for protocols in [&["http/1.1"][..], &["h2", "http/1.1"], &[]] {
        let origin = TlsOrigin::start(&authority, "localhost", protocols, 1).await;
        let proxy = proxy_trusting(&authority, &origin.url()).await;

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

/// One exchange per connection, so that a slow client delays no other; all of them are pooled.
#[tokio::test]
async fn concurrent_requests_have_a_connection_each_and_all_are_pooled() {
    const COUNT: usize = 130;
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["http/1.1"], COUNT).await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.upstream.ca_file = Some(authority.file.path().to_owned());
        // This many handshakes at once are slow on a busy machine.
        config.upstream.connect_timeout = Duration::from_mins(1);
        config.upstream.response_timeout = Duration::from_mins(1);
    })
    .await;

    // The origin answers none of them before it has all of them.
    let burst = async || {
        let answers = (0..COUNT).map(|_| proxy.get("/v1/together").into_future());
        for answer in join_all(answers).await {
            answer.assert_status(200);
        }
    };
    burst().await;
    assert!(origin.connections() >= COUNT);
    wait_until("a burst on pooled connections only", async || {
        let before = origin.connections();
        burst().await;
        origin.connections() == before
    })
    .await;
}

/// The `close_notify` alert is not a byte of a response.
#[tokio::test]
async fn a_get_on_a_closed_pooled_tls_connection_is_retried() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["http/1.1"], 1).await;
    let proxy = proxy_trusting(&authority, &origin.url()).await;
    proxy.get(OTHER).await.assert_status(200);
    proxy.get(FRAGILE).bearer("a").await.assert_miss();
    assert_eq!(origin.connections(), 2);
    let retries = "stuut_cache_upstream_retries_total{reason=\"pooled\"}";
    assert_eq!(proxy.metric(retries).await.to_string(), "1");
}

#[tokio::test]
async fn an_unknown_certificate_authority_is_rejected() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let origin = TlsOrigin::start(&unknown, "localhost", &["http/1.1"], 1).await;

    assert_fails(
        &Proxy::in_front_of(&origin.url(), |_| {}).await,
        "tls_certificate_error",
    )
    .await;
    assert_fails(
        &proxy_trusting(&known, &origin.url()).await,
        "tls_certificate_error",
    )
    .await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_rejected() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "elsewhere.test", &["http/1.1"], 1).await;

    assert_fails(
        &proxy_trusting(&authority, &origin.url()).await,
        "tls_certificate_error",
    )
    .await;
}

#[tokio::test]
async fn an_origin_that_speaks_plain_http_is_a_tls_error() {
    let origin = RawOrigin::start().await;
    let url = format!("https://localhost:{}", origin.address.port());
    let proxy = Proxy::in_front_of(&url, |_| {}).await;

    let plain = tokio::spawn(async move {
        loop {
            let mut upstream = origin.accept().await;
            // The ClientHello.
            upstream.read_some().await;
            upstream
                .send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    assert_fails(&proxy, "tls_protocol_error").await;
    plain.abort();
}

/// With two providers in one process rustls needs an explicit choice.
#[test]
fn ring_is_the_only_crypto_provider() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let lock = std::fs::read_to_string(lock).expect("the lock file");
    assert!(lock.contains("name = \"ring\""));
    assert!(!lock.contains("aws-lc"));
}

/// A minimal container image has no certificates, and may have an origin with plain HTTP.
#[tokio::test]
async fn an_http_origin_needs_no_trust_store() {
    let no_certificates = [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];
    let origin = Origin::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
    command.envs(no_certificates);
    let proxy = Program::with_command(command, &origin).await;
    proxy.get(CALL).bearer("a").await.assert_status(200);

    // The default origin has an https URL.
    run_with(&["check"], &no_certificates)
        .await
        .assert_code(1)
        .assert_prints("install the system's certificates");
}
