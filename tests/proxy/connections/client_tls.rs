//! TLS with clients: real handshakes, renewed certificates, and what is no TLS.

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
        std::fs::write(self.path(name), text).expect("the file can be written");
    }

    /// Another certificate for the same name.
    fn renew(&self) {
        self.renew_until(2096);
    }

    /// One that expires as this year begins.
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

/// One request on a connection that is kept, and its answer.
async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
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

/// What the server has shown.
fn certificate(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let shown = stream.get_ref().1.peer_certificates();
    shown.expect("it has shown one")[0].to_vec()
}

#[tokio::test]
async fn http11_over_tls_is_answered_and_kept() {
    let (origin, files) = (Origin::start().await, Files::new());
    let proxy = Proxy::with(&origin, |config| files.set(config)).await;
    let mut stream = files
        .connect(&proxy, None, &["http/1.1"])
        .await
        .expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    for status in ["fwd=miss", "hit", "hit"] {
        let answer = ask(&mut stream).await.expect("an answer");
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
async fn http2_is_settled_on_by_alpn() {
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
        let response = client.send_request(request).await.expect("an answer");
        let told = response.headers()["cache-status"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(told.contains(status), "{told}");
        response.into_body().collect().await.expect("a whole body");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_ended_and_counted() {
    let (origin, files) = (Origin::start().await, Files::new());
    let proxy = Proxy::with(&origin, |config| {
        files.set(config);
        config.server.header_timeout = Duration::from_millis(50);
    })
    .await;
    let answer = proxy
        .raw(format!("GET {CALL} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .await;
    assert!(!answer.contains("HTTP"), "{answer}");
    proxy.wait_for_metric(REFUSED, 1).await;
    // A client that says nothing does not keep its place.
    assert_eq!(proxy.raw_connection().await.read_to_end().await, "");
    proxy.wait_for_metric(REFUSED, 2).await;
    // One that looks whether somebody listens is no fault.
    drop(proxy.connect().await);
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    proxy.wait_for_metric(REFUSED, 2).await;
    origin.assert_requests(0);
}

#[tokio::test]
async fn with_client_ca_only_known_clients_are_answered() {
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
        ask(&mut stream)
            .await
            .expect("an answer")
            .contains("200 OK")
    );
    let stranger = Authority::new().issue("billing");
    for (count, identity) in [(1, None), (2, Some(&stranger))] {
        // In TLS 1.3 the client is done before the server has seen its certificate.
        if let Ok(mut stream) = files.connect(&proxy, identity, &[]).await {
            ask(&mut stream).await.expect_err("nobody vouches for it");
        }
        proxy.wait_for_metric(REFUSED, count).await;
    }
    origin.assert_requests(1);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections_and_ends_no_old_one() {
    let (origin, files) = (Origin::start().await, Files::new());
    let mut proxy = Proxy::with(&origin, |config| files.set(config)).await;
    let mut old = files.connect(&proxy, None, &[]).await.expect("TLS");
    ask(&mut old).await.expect("an answer");

    files.renew();
    proxy.reload(|_| {}).expect("the files are good");
    let mut new = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_ne!(certificate(&old), certificate(&new));
    for stream in [&mut old, &mut new] {
        assert!(
            ask(stream)
                .await
                .expect("an answer")
                .contains("stuut-cache; hit")
        );
    }

    // Half of a renewal, as when the reload comes between the two files.
    let shown = certificate(&new);
    let (_, other_key) = files.authority.issue("localhost");
    files.write("key.pem", &other_key);
    let refused = proxy
        .reload(|_| {})
        .expect_err("they do not belong together");
    assert!(
        refused
            .to_string()
            .contains("does not go with server.tls.cert"),
        "{refused}"
    );
    let stream = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_eq!(certificate(&stream), shown);
    for (result, count) in [("applied", 1.0), ("refused", 1.0)] {
        let line = format!("stuut_cache_tls_reloads_total{{result=\"{result}\"}}");
        assert!((proxy.metric(&line).await - count).abs() < 0.1, "{line}");
    }
}

/// What is measured is what a client is shown, before and after a renewal, and not what was refused.
#[tokio::test]
async fn the_expiry_of_the_certificate_that_clients_see_is_measured() {
    const EXPIRY: &str = "stuut_cache_tls_certificate_expiry_timestamp_seconds";
    let (origin, files) = (Origin::start().await, Files::new());
    files.renew_until(2030);
    let mut proxy = Proxy::with(&origin, |config| files.set(config)).await;
    let first = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_metric(&proxy, EXPIRY, 1_893_456_000).await;

    files.renew_until(2031);
    proxy.reload(|_| {}).expect("the files are good");
    let second = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_ne!(certificate(&first), certificate(&second));
    assert_metric(&proxy, EXPIRY, 1_924_992_000).await;

    let (later, _) = files.authority.issue_until("localhost", 2032);
    files.write("cert.pem", &later);
    proxy.reload(|_| {}).expect_err("it is of another key");
    let third = files.connect(&proxy, None, &[]).await.expect("TLS");
    assert_eq!(certificate(&second), certificate(&third));
    assert_metric(&proxy, EXPIRY, 1_924_992_000).await;

    // Where no TLS is spoken, nothing expires.
    let plain = Proxy::start(&origin).await;
    assert_metric(&plain, EXPIRY, 0).await;
}

async fn assert_metric(proxy: &Proxy, line: &str, value: u32) {
    assert_eq!(proxy.metric(line).await.to_string(), value.to_string());
}

/// Runs a command-line client that may not be there.
fn outside(program: &str, arguments: &[&str]) -> Option<String> {
    let ran = Command::new(program).args(arguments).output();
    let Ok(ran) = ran else {
        eprintln!("{program} is not installed: this story was not told");
        return None;
    };
    let both = [ran.stdout, ran.stderr].concat();
    Some(String::from_utf8_lossy(&both).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_and_openssl_are_served_by_the_program() {
    let (origin, files) = (Origin::start().await, Files::new());
    let file = files.path("proxy.toml");
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let text = format!("[server.tls]\ncert = {cert:?}\nkey = {key:?}\n");
    std::fs::write(&file, text).expect("the file can be written");
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
        let Some(answer) = outside("curl", &arguments) else {
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
        let Some(answer) = outside("openssl", &all) else {
            break;
        };
        let established = answer.contains("CONNECTION ESTABLISHED");
        assert_eq!(established, accepted, "{arguments:?}: {answer}");
    }

    // A renewal is seen without a signal, too; with one it is seen at once.
    files.renew();
    program.signal("HUP");
    wait_until("a certificate read again", async || {
        program
            .metric("stuut_cache_tls_reloads_total{result=\"applied\"}")
            .await
            > 0.5
    })
    .await;
    let written = program.stop();
    assert!(!written.contains("PRIVATE KEY"), "{written}");
}
