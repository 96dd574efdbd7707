//! The origin over TLS: whom the proxy trusts, and what it speaks.

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{
    Authority, FRAGILE, Origin, Program, Proxy, RawOrigin, TlsOrigin, run_with, wait_until,
};

const CALL: &str = "/v1/calls/c1";
const OTHER: &str = "/v1/other";

/// A proxy that trusts this authority beside the system's.
async fn trusting(authority: &Authority, url: &str) -> Proxy {
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
        let said = answer.header("proxy-status").unwrap_or_default();
        let expected = format!("stuut-cache; error={error}; ");
        assert!(said.starts_with(&expected), "{answer}");
    }
}

#[tokio::test]
async fn the_origin_is_asked_over_http11_also_where_it_would_rather_speak_http2() {
    let authority = Authority::new();
    for protocols in [&["http/1.1"][..], &["h2", "http/1.1"], &[]] {
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

/// One exchange a connection, so that no client's slowness is another's; and all of them are kept,
/// for the next crowd.
#[tokio::test]
async fn concurrent_requests_have_a_connection_each() {
    const TOGETHER: usize = 130;
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["http/1.1"], TOGETHER).await;
    let proxy = Proxy::in_front_of(&origin.url(), |config| {
        config.upstream.ca_file = Some(authority.file.path().to_owned());
        // So many handshakes at once take their time on a busy machine.
        config.upstream.connect_timeout = Duration::from_mins(1);
        config.upstream.response_timeout = Duration::from_mins(1);
    })
    .await;

    // None of them is answered before all of them have come.
    let crowd = async || {
        let answers = (0..TOGETHER).map(|_| proxy.get("/v1/together").into_future());
        for answer in join_all(answers).await {
            answer.assert_status(200);
        }
    };
    crowd().await;
    assert!(origin.connections() >= TOGETHER);
    wait_until("a crowd that finds all its connections", async || {
        let before = origin.connections();
        crowd().await;
        origin.connections() == before
    })
    .await;
}

/// The alert that ends a session is no byte of an answer.
#[tokio::test]
async fn a_pooled_connection_that_dies_under_a_get_costs_one_more_try() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["http/1.1"], 1).await;
    let proxy = trusting(&authority, &origin.url()).await;
    proxy.get(OTHER).await.assert_status(200);
    proxy.get(FRAGILE).bearer("a").await.assert_miss();
    assert_eq!(origin.connections(), 2);
    let retries = "stuut_cache_upstream_retries_total{reason=\"pooled\"}";
    assert_eq!(proxy.metric(retries).await.to_string(), "1");
}

#[tokio::test]
async fn an_authority_that_nobody_knows_is_not_trusted() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let origin = TlsOrigin::start(&unknown, "localhost", &["http/1.1"], 1).await;

    assert_fails(
        &Proxy::in_front_of(&origin.url(), |_| {}).await,
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
    let origin = RawOrigin::start().await;
    let url = format!("https://localhost:{}", origin.address.port());
    let proxy = Proxy::in_front_of(&url, |_| {}).await;

    let plain = tokio::spawn(async move {
        loop {
            let mut line = origin.accept().await;
            // A greeting in a language it does not speak.
            line.read_some().await;
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
    let proxy = Program::with_command(command, &origin).await;
    proxy.get(CALL).bearer("a").await.assert_status(200);

    // The default origin speaks https.
    run_with(&["check"], &nothing)
        .await
        .assert_code(1)
        .assert_prints("install the system's certificates");
}
