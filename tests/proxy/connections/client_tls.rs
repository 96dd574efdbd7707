//! TLS with clients: handshakes, certificate renewal, client certificates, and bytes that are not TLS.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use stuut_cache::config::Config;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::{Authority, Origin, Program, Proxy, wait_until};

const CALL: &str = "/v1/calls/c1";
const REFUSED: &str = "stuut_cache_connections_closed_total{reason=\"tls_handshake\"}";

/// The files of `[server.tls]`.
struct Files {
    authority: Authority,
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let (authority, dir) = (Authority::new(), TempDir::new().expect("a directory"));
        let files = Self { authority, dir };
        files.renew();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the file is writable");
    }

    /// Issues a new certificate for the same name.
    fn renew(&self) {
        self.renew_until(2096);
    }

    /// The new certificate expires at the start of `year`.
    fn renew_until(&self, year: i32) {
        let (certificate, key) = self.authority.issue_until("localhost", year);
        self.write("cert.pem", &certificate);
        self.write("key.pem", &key);
    }

    fn set(&self, config: &mut Config) {
        config.server.tls.cert = Some(self.path("cert.pem"));
        config.server.tls.key = Some(self.path("key.pem"));
    }

    async fn connect(
        &self,
        proxy: &Proxy,
        identity: Option<&(String, String)>,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").expect("a name");
        let client = self.authority.client(identity, protocols);
        client.connect(name, proxy.connect().await).await
    }
}

/// Sends one request and returns its response; the connection stays open.
async fn send_get(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    let request = format!("GET {CALL} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = stream.read_buf(&mut answer).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The certificate that the server presented.
fn certificate(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let chain = stream.get_ref().1.peer_certificates();
    chain.expect("a server certificate")[0].to_vec()
}

#[tokio::test]
async fn http1_over_tls_is_served_with_keep_alive() {
    let (origin, files) = (Origin::start().await, Files::new());
    let proxy = Proxy::with(&origin, |config| files.set(config)).await;
    let mut stream = files
        .connect(&proxy, None, &["http/1.1"])
        .await
        .expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    for status in ["fwd=miss", "hit", "hit"] {
        let answer = send_get(&mut stream).await.expect("a response");
        assert!(
            answer.contains(&format!("stuut-cache; {status}")),
            "{answer}"
        );
        proxy
            .wait_for_metric("stuut_cache_connections_idle", 1)
            .await;
    }
}

#[tokio::test]
async fn http2_is_negotiated_by_alpn() {
    let (origin, files) = (Origin::start().await, Files::new());
    let proxy = Proxy::with(&origin, |config| files.set(config)).await;
    let stream = files
        .connect(&proxy, None, &["h2", "http/1.1"])
        .await
        .expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    for status in ["fwd=miss", "hit"] {
        let request = Request::get(format!("https://localhost{CALL}"))
            .header("authorization", "Bearer a")
            .body(Full::<bytes::Bytes>::default())
            .expect("a request");
        let response = client.send_request(request).await.expect("a response");
        let cache_status = response.headers()["cache-status"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(cache_status.contains(status), "{cache_status}");
        response
            .into_body()
            .collect()
            .await
            .expect("a complete body");
    }
}

#[tokio::test]
async fn failed_tls_handshakes_are_closed_and_counted() {
    let (origin, files) = (Origin::start().await, Files::new());
    let proxy = Proxy::with(&origin, |config| {
        files.set(config);
        config.server.header_timeout = Duration::from_millis(50);
    })
    .await;
    let answer = proxy.raw("no handshake").await;
    assert!(!answer.contains("HTTP"), "{answer}");
    proxy.wait_for_metric(REFUSED, 1).await;
    // A silent client times out.
    assert_eq!(proxy.raw_connection().await.read_to_end().await, "");
    proxy.wait_for_metric(REFUSED, 2).await;
    // A TCP health check, which connects and closes, is not counted.
    drop(proxy.connect().await);
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    proxy.wait_for_metric(REFUSED, 2).await;
    origin.assert_requests(0);
}

#[tokio::test]
async fn http_without_tls_is_answered_in_http() {
    let (origin, files) = (Origin::start().await, Files::new());
    let proxy = Proxy::with(&origin, |config| files.set(config)).await;
    let get = format!("GET {CALL} HTTP/1.1\r\nhost: a\r\n\r\n");
    for request in [&get, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "G"] {
        let answer = proxy.raw(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
        assert!(
            answer.contains("write https:// instead of http://"),
            "{answer}"
        );
    }
    proxy.wait_for_metric(REFUSED, 3).await;
    origin.assert_requests(0);
}

#[tokio::test]
async fn client_ca_rejects_clients_without_its_certificate() {
    let (origin, files) = (Origin::start().await, Files::new());
    let clients = Authority::new();
    let proxy = Proxy::with(&origin, |config| {
        files.set(config);
        config.server.tls.client_ca = Some(clients.file.path().to_owned());
    })
    .await;
    let known = clients.issue("billing");
    let mut stream = files.connect(&proxy, Some(&known), &[]).await.expect("TLS");
    assert!(
        send_get(&mut stream)
            .await
            .expect("a response")
            .contains("200 OK")
    );
    let stranger = Authority::new().issue("billing");
    for (count, identity) in [(1, None), (2, Some(&stranger))] {
        // In TLS 1.3 the client completes its handshake before the server has its certificate.
        if let Ok(mut stream) = files.connect(&proxy, identity, &[]).await {
            send_get(&mut stream)
                .await
                .expect_err("an untrusted client");
        }
        proxy.wait_for_metric(REFUSED, count).await;
    }
    origin.assert_requests(1);
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_connections_and_keeps_old_ones() {
    let (origin, files) = (Origin::start().await, Files::new());
    let mut proxy = Proxy::with(&origin, |config| files.set(config)).await;
    let mut old = files.connect(&proxy, None, &[]).await.expect("TLS");
    send_get(&mut old).await.expect("a response");

    files.renew();
    proxy.reload(|_| {}).expect("a valid configuration");
    let mut new = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_ne!(certificate(&old), certificate(&new));
    for stream in [&mut old, &mut new] {
        assert!(
            send_get(stream)
                .await
                .expect("a response")
                .contains("stuut-cache; hit")
        );
    }

    // A reload between the writes of the two files finds a key of another certificate.
    let served = certificate(&new);
    let (_, other_key) = files.authority.issue("localhost");
    files.write("key.pem", &other_key);
    let rejected = proxy.reload(|_| {}).expect_err("the key does not match");
    assert!(
        rejected
            .to_string()
            .contains("does not go with server.tls.cert"),
        "{rejected}"
    );
    let stream = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_eq!(certificate(&stream), served);
    for (result, count) in [("applied", 1.0), ("refused", 1.0)] {
        let line = format!("stuut_cache_tls_reloads_total{{result=\"{result}\"}}");
        assert!((proxy.metric(&line).await - count).abs() < 0.1, "{line}");
    }
}

/// The metric follows a renewal, and ignores a certificate that was rejected.
#[tokio::test]
async fn the_expiry_metric_follows_the_served_certificate() {
    const EXPIRY: &str = "stuut_cache_tls_certificate_expiry_timestamp_seconds";
    let (origin, files) = (Origin::start().await, Files::new());
    files.renew_until(2030);
    let mut proxy = Proxy::with(&origin, |config| files.set(config)).await;
    let first = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_metric(&proxy, EXPIRY, 1_893_456_000).await;

    files.renew_until(2031);
    proxy.reload(|_| {}).expect("a valid configuration");
    let second = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_ne!(certificate(&first), certificate(&second));
    assert_metric(&proxy, EXPIRY, 1_924_992_000).await;

    let (later, _) = files.authority.issue_until("localhost", 2032);
    files.write("cert.pem", &later);
    proxy.reload(|_| {}).expect_err("the key does not match");
    let third = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_eq!(certificate(&second), certificate(&third));
    assert_metric(&proxy, EXPIRY, 1_924_992_000).await;

    // Without TLS nothing expires.
    let plain = Proxy::start(&origin).await;
    assert_metric(&plain, EXPIRY, 0).await;
}

async fn assert_metric(proxy: &Proxy, line: &str, value: u32) {
    assert_eq!(proxy.metric(line).await.to_string(), value.to_string());
}

/// Runs a command-line client; `None` if it is not installed.
fn run_client(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output();
    let Ok(output) = output else {
        eprintln!("{program} is not installed: skipped");
        return None;
    };
    let both = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&both).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_and_openssl_connect_over_tls() {
    let (origin, files) = (Origin::start().await, Files::new());
    let file = files.path("proxy.toml");
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let text = format!("[server.tls]\ncert = {cert:?}\nkey = {key:?}\n");
    std::fs::write(&file, text).expect("the file is writable");
    let program = Program::with_config_file(&origin, &file).await;
    let port = program.address.port();
    let authority = files.authority.file.path().to_string_lossy().into_owned();
    let url = format!("https://localhost:{port}{CALL}");
    let resolve = format!("localhost:{port}:127.0.0.1");
    for version in ["--http1.1", "--http2"] {
        let arguments = [
            "-sSi",
            version,
            "--cacert",
            &authority,
            "--resolve",
            &resolve,
            "-H",
            "Authorization: Bearer a",
            &url,
        ];
        let Some(answer) = run_client("curl", &arguments) else {
            break;
        };
        assert!(answer.contains(" 200"), "{answer}");
        assert!(
            answer.to_lowercase().contains("cache-status: stuut-cache"),
            "{answer}"
        );
    }
    let address = format!("localhost:{port}");
    for (arguments, accepted) in [
        (["-tls1_3", "-brief"], true),
        (["-tls1_2", "-brief"], true),
        (["-tls1_1", "-brief"], false),
    ] {
        let mut all = vec!["s_client", "-connect", &address, "-CAfile", &authority];
        all.extend(["-verify_return_error", "-alpn", "h2,http/1.1"]);
        all.extend(arguments);
        let Some(answer) = run_client("openssl", &all) else {
            break;
        };
        let established = answer.contains("CONNECTION ESTABLISHED");
        assert_eq!(established, accepted, "{arguments:?}: {answer}");
    }

    // A renewal is also found without a signal, but only after a while.
    files.renew();
    program.signal("HUP");
    wait_until("a certificate reload", async || {
        program
            .metric("stuut_cache_tls_reloads_total{result=\"applied\"}")
            .await
            > 0.5
    })
    .await;
    let log = program.stop();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}
