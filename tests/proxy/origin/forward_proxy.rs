//! A forward proxy on the way to the origin: tunnels, its refusals, and its environment variables.

use std::process::Command;
use std::time::Duration;

use http::Method;
use secrecy::SecretString;
use stuut_cache::config::{self, Config, Secret};

use crate::support::{
    Answer, Authority, ForwardProxy, Origin, Program, Proxy, TlsOrigin, run_with,
};

const CALL: &str = "/v1/calls/c1";
const OTHER: &str = "/v1/other";

/// A name that only the forward proxy resolves.
const NAME: &str = "api.stuut.test";
const URL: &str = "https://api.stuut.test";

const FAILURES: &str = "stuut_cache_upstream_proxy_failures_total";

/// A proxy for the origin at [`URL`], through a forward proxy.
async fn proxy_through(forward: &ForwardProxy, change: impl FnOnce(&mut Config)) -> Proxy {
    Proxy::in_front_of(URL, |config| {
        config.upstream.proxy = Some(forward.setting());
        config.upstream.retries = 0;
        change(config);
    })
    .await
}

/// The request for a tunnel to an address, with this field after `Host`.
fn connect(address: &str, field: &str) -> String {
    format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{field}\r\n")
}

#[tokio::test]
async fn requests_pass_through_a_tunnel_that_hides_them_from_the_proxy() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, NAME, &["http/1.1"], 1).await;
    let forward = ForwardProxy::start(Answer::Tunnel(origin.address())).await;
    let proxy = proxy_through(&forward, |config| {
        config.upstream.ca_file = Some(authority.file.path().to_owned());
        config.upstream.proxy_credentials = Some(Secret(SecretString::from("Basic dTpw")));
    })
    .await;

    let answer = proxy.get(CALL).bearer("t0ken").await.assert_miss();
    let fields = &answer.json()["fields"];
    assert_eq!(fields["authorization"], "Bearer t0ken", "{answer}");
    assert_eq!(fields["host"], NAME, "{answer}");
    assert_eq!(fields["proxy-authorization"], serde_json::Value::Null);
    proxy.get(CALL).bearer("t0ken").await.assert_hit();
    let write = proxy.request(Method::POST, OTHER).bearer("t0ken");
    write.body("s3cret body").await.assert_status(200);

    let credentials = "Proxy-Authorization: Basic dTpw\r\n";
    let expected = connect("api.stuut.test:443", credentials);
    for request in forward.requests() {
        assert_eq!(request, expected);
    }
    let seen = forward.tunnelled();
    assert!(seen.contains(NAME), "the name in the TLS handshake: {seen}");
    for secret in ["t0ken", "s3cret", "/v1/", "Basic"] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
    assert_eq!(proxy.metric(FAILURES).await.to_string(), "0");
}

/// The tunnel may lead anywhere: only the certificate shows that it is the origin.
#[tokio::test]
async fn a_certificate_in_the_tunnel_is_verified_for_the_origin() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "elsewhere.test", &["http/1.1"], 1).await;
    let forward = ForwardProxy::start(Answer::Tunnel(origin.address())).await;
    let proxy = proxy_through(&forward, |config| {
        config.upstream.ca_file = Some(authority.file.path().to_owned());
    })
    .await;
    let answer = proxy.get(CALL).bearer("a").await;
    answer.assert_problem(502, "tls_certificate_error");
    assert_eq!(proxy.metric(FAILURES).await.to_string(), "0");
}

#[tokio::test]
async fn an_origin_without_tls_is_reached_through_a_tunnel_too() {
    let origin = Origin::start().await;
    let forward = ForwardProxy::start(Answer::Tunnel(origin.address())).await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.proxy = Some(forward.setting());
    })
    .await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    let requests = origin.requests();
    assert!(
        requests[0]
            .head
            .starts_with("GET /v1/calls/c1 HTTP/1.1\r\n")
    );
    let expected = connect(&origin.address().to_string(), "");
    assert_eq!(forward.requests(), [expected]);
}

#[tokio::test]
async fn an_error_of_the_proxy_is_told_from_one_of_the_origin() {
    let status = |line: &str| Answer::Bytes(format!("HTTP/1.1 {line}\r\nserver: p\r\n\r\nsorry"));
    let refused = |code| format!("the proxy answers CONNECT with status {code} (upstream.proxy)");
    let broken = "no connection through the proxy (upstream.proxy)".to_owned();
    let configuration = (502, "proxy_configuration_error");
    for (answer, (code, error), detail) in [
        (status("407 Who Are You?"), configuration, refused(407)),
        (status("403 Forbidden"), configuration, refused(403)),
        (status("502 Bad Gateway"), configuration, refused(502)),
        (status("2000 OK"), configuration, broken.clone()),
        // The origin does not send before the client.
        (status("200 OK"), configuration, broken.clone()),
        (Answer::Bytes(String::new()), configuration, broken.clone()),
        (
            Answer::Bytes("SSH-2.0-x\r\n".to_owned()),
            configuration,
            broken.clone(),
        ),
        (
            status(&format!("200 {}", "x".repeat(9_000))),
            configuration,
            broken.clone(),
        ),
        (Answer::Silence, (504, "connection_timeout"), broken.clone()),
    ] {
        let forward = ForwardProxy::start(answer.clone()).await;
        let proxy = proxy_through(&forward, |config| {
            if matches!(answer, Answer::Silence) {
                config.upstream.connect_timeout = Duration::from_millis(100);
            }
        })
        .await;
        for target in [CALL, OTHER] {
            let problem = proxy.get(target).bearer("a").await;
            let problem = problem.assert_problem(code, error);
            assert_eq!(problem.json()["detail"], format!("upstream: {detail}"));
            let proxy_status = problem.header("proxy-status").unwrap_or_default();
            assert!(
                proxy_status.contains(&format!("error={error}; ")),
                "{problem}"
            );
        }
        assert_eq!(proxy.metric(FAILURES).await.to_string(), "2", "{answer:?}");
    }
}

#[tokio::test]
async fn failures_of_the_proxy_open_the_breaker() {
    let origin = Origin::start().await;
    let (address, _closed) = Origin::reserve_port();
    let forward = ForwardProxy::start(Answer::Bytes("HTTP/1.1 403 No\r\n\r\n".to_owned())).await;
    for (setting, error) in [
        (forward.setting(), "proxy_configuration_error"),
        (
            config::ForwardProxy::parse(&address.to_string()).expect("a proxy"),
            "connection_refused",
        ),
    ] {
        let proxy = Proxy::with(&origin, |config| {
            config.upstream.proxy = Some(setting);
            config.upstream.retries = 0;
        })
        .await;
        for _ in 0..5 {
            proxy.get(OTHER).await.assert_problem(502, error);
        }
        let shed = proxy.get(OTHER).await;
        shed.assert_problem(503, "destination_unavailable");
        if error == "proxy_configuration_error" {
            forward.set_answer(Answer::Tunnel(origin.address()));
            proxy.advance_seconds(1);
            proxy.get(OTHER).await.assert_status(200);
        }
    }
}

/// A program in front of an origin with this authority, with variables of other programs.
async fn program(authority: &Authority, url: &str, variables: &[(&str, &str)]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
    command
        .args(["--upstream", url])
        .env("STUUT_CACHE__UPSTREAM__CA_FILE", authority.file.path())
        .env("STUUT_CACHE__LOG__LEVEL", "trace")
        .envs(variables.iter().copied());
    Program::with_command(command, &Origin::start().await).await
}

#[tokio::test]
async fn the_environment_names_the_proxy_and_its_password_is_never_printed() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, NAME, &["http/1.1"], 1).await;
    let forward = ForwardProxy::start(Answer::Tunnel(origin.address())).await;
    let url = format!("http://user:pa55word@{}", forward.address);
    let program = program(&authority, URL, &[("https_proxy", &url)]).await;
    program.get(CALL).bearer("a").await.assert_miss();
    forward.set_answer(Answer::Bytes("HTTP/1.1 407 No\r\n\r\n".to_owned()));
    // A connection of its own.
    let negotiate = program.get(OTHER).header("authorization", "Negotiate eA==");
    negotiate
        .await
        .assert_problem(502, "proxy_configuration_error");
    let expected = connect(
        "api.stuut.test:443",
        "Proxy-Authorization: Basic dXNlcjpwYTU1d29yZA==\r\n",
    );
    assert_eq!(forward.requests()[0], expected);

    let mut printed = String::new();
    for page in ["/", "/metrics", "/status", "/stats"] {
        printed += &program.admin(Method::GET, page).await.text();
    }
    let log = tokio::task::spawn_blocking(|| program.stop()).await;
    printed += &log.expect("stopping does not panic");
    let through = format!("for {URL} through the proxy {}", forward.address);
    let refused = "the proxy answers CONNECT with status 407 (upstream.proxy)".to_owned();
    for expected in [through, refused] {
        assert!(printed.contains(&expected), "{expected} in {printed}");
    }
    for secret in ["pa55word", "dXNlcjpwYTU1d29yZA", "user:"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[tokio::test]
async fn no_proxy_exempts_the_origin() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, "localhost", &["http/1.1"], 1).await;
    let forward = ForwardProxy::start(Answer::Silence).await;
    let proxy = format!("http://{}", forward.address);
    let variables = [
        ("HTTPS_PROXY", &*proxy),
        ("NO_PROXY", "10.0.0.0/8,localhost"),
    ];
    let program = program(&authority, &origin.url(), &variables).await;
    program.get(CALL).bearer("a").await.assert_miss();
    assert_eq!(forward.requests(), [""; 0]);
}

#[tokio::test]
async fn an_unusable_variable_is_a_finding_of_the_configuration() {
    for value in [
        "socks5://user:pa55word@p:1080",
        "https://user:pa55word@p:443",
    ] {
        let output = run_with(&["check"], &[("HTTPS_PROXY", value)]).await;
        let output = output
            .assert_code(78)
            .assert_prints("HTTPS_PROXY: upstream.proxy: this is not the URL of a proxy");
        assert!(!format!("{output:?}").contains("pa55word"), "{output:?}");
    }
}
