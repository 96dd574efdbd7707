//! Tokens and bodies never appear in logs, metrics, status pages or errors.

use std::io::Write as _;

use http::Method;
use stuut_cache::clock::Clock;
use stuut_cache::in_transit::Ledger;
use stuut_cache::proxy::Arrived;
use stuut_cache::request::hide_credentials;
use stuut_cache::telemetry::RequestId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Origin, Program, Reply};

const CALL: &str = "/v1/calls/c1";

/// Markers contained in every secret of these tests.
const TOKEN: &str = "t0ken-of-a-client";
const ADMIN: &str = "t0ken-of-an-operator";
const BODY: &str = "marker-in-a-body";
const QUERY: &str = "marker-in-a-query";

const SECRETS: [&str; 4] = [TOKEN, ADMIN, BODY, QUERY];

/// All outputs that an operator or a reader of logs sees, by name.
#[derive(Default)]
struct Outputs(Vec<(String, String)>);

impl Outputs {
    fn add(&mut self, what: &str, text: impl Into<String>) {
        self.0.push((what.to_owned(), text.into()));
    }

    #[track_caller]
    fn assert_no_secret(&self) {
        for (what, text) in &self.0 {
            for secret in SECRETS {
                // A part of it or another case would leak it too.
                for part in [secret, &secret[2..secret.len() - 2], &secret.to_uppercase()] {
                    assert!(!text.contains(part), "{part} in {what}: {text}");
                }
            }
        }
    }
}

/// Sends raw bytes, half-closes, and reads the response.
async fn raw(program: &Program, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(program.address)
        .await
        .expect("the program accepts");
    // It may have closed already: an invalid request is not read to its end.
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let mut response = Vec::new();
    let _ = socket.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}

/// A call with secret content.
fn secret() -> String {
    format!("{{\"id\":\"{BODY}\",\"partner\":{{\"name\":\"{BODY}\"}}}}")
}

/// Every outcome of a request, with secrets in every possible position.
async fn all_outputs(origin: &Origin, program: &Program) -> Outputs {
    let mut outputs = Outputs::default();
    ordinary_requests(origin, program).await;
    odd_credentials(program, &mut outputs).await;
    broken_responses(origin, program, &mut outputs).await;
    refused_requests(program, &mut outputs).await;
    invalid_requests(program, &mut outputs).await;
    admin_requests(program, &mut outputs).await;
    outputs
}

/// Hit, miss, view, bypass, write and refusal.
async fn ordinary_requests(origin: &Origin, program: &Program) {
    let secret = secret();
    for n in 0..6 {
        let reply = Reply::json(&secret).header("x-secret", BODY);
        origin.reply(&format!("/v1/calls/c{n}?q={QUERY}"), reply);
    }
    origin.reply(CALL, Reply::json(&secret));
    let get = |target: &str| program.get(target).bearer(TOKEN);

    get(CALL).await.assert_miss();
    get(CALL).await.assert_hit();
    get(&format!("/v1/calls/c2?q={QUERY}&strip=partner"))
        .await
        .assert_miss();
    get(&format!("/v1/calls/c2?q={QUERY}&view=light"))
        .await
        .assert_hit();
    get(&format!("/v1/other?q={QUERY}"))
        .await
        .assert_status(200);
    program
        .request(Method::PATCH, CALL)
        .bearer(TOKEN)
        .body(secret.clone())
        .await
        .assert_status(200);
    program
        .request(Method::PUT, &format!("/v1/calls/c3?q={QUERY}"))
        .bearer(TOKEN)
        .header("cookie", TOKEN)
        .header("x-api-key", TOKEN)
        .header("proxy-authorization", &format!("Basic {TOKEN}"))
        .body(secret.clone())
        .await
        .assert_status(200);

    origin.reply(
        "/v1/me",
        Reply::new(401)
            .header("www-authenticate", BODY)
            .body(&secret),
    );
    get("/v1/me").await.assert_status(401);
    origin.reply("/v1/calls/c4", Reply::new(403).body(&secret));
    get("/v1/calls/c4").await.assert_status(403);
}

/// Malformed and unusual credentials are secret too.
async fn odd_credentials(program: &Program, outputs: &mut Outputs) {
    for credential in [
        format!("Bearer {TOKEN} {TOKEN}"),
        format!("Bearer {TOKEN},x"),
        format!("Bearer\t{TOKEN}"),
        format!("Basic {TOKEN}"),
        TOKEN.to_owned(),
        format!("Digest username=\"{TOKEN}\", uri=\"/\""),
        format!("Bearer {}", TOKEN.repeat(600)),
        format!("Bearer {TOKEN}é"),
    ] {
        program.get(CALL).header("authorization", &credential).await;
    }
    let twice = program
        .get(CALL)
        .bearer(TOKEN)
        .bearer(TOKEN)
        .await
        .assert_problem(400, "authorization-repeated");
    outputs.add("the problem of two credentials", twice.to_string());
}

async fn broken_responses(origin: &Origin, program: &Program, outputs: &mut Outputs) {
    let secret = secret();
    let get = |target: &str| program.get(target).bearer(TOKEN);
    for failure in [
        Reply::reset(),
        Reply::raw(format!("HTTP/1.1 {BODY}\r\n\r\n")),
        Reply::raw(format!("HTTP/1.1 200 OK\r\n{BODY}\r\n\r\n")),
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{BODY}\r\n"
        )),
        Reply::json(&secret).truncated_after(9),
        Reply::json(&secret).truncated_chunks_after(9),
        Reply::new(304).header("etag", &format!("\"{BODY}\"")),
    ] {
        let target = format!("/v1/calls/broken?q={QUERY}");
        origin.reply(&target, failure);
        let problem = get(&target).await.assert_status(502);
        outputs.add(
            "the problem of a broken origin",
            problem.to_string().replace(&target, ""),
        );
        // The same as a bypass, where the response may be truncated while it is forwarded.
        let bypass = format!(
            "POST {target} HTTP/1.1\r\nhost: p\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
        );
        raw(program, bypass.as_bytes()).await;
    }
}

async fn refused_requests(program: &Program, outputs: &mut Outputs) {
    let get = |target: &str| program.get(target).bearer(TOKEN);
    for query in [
        format!("strip=a..{QUERY}"),
        format!("view={QUERY}"),
        format!("fields=**.{QUERY}"),
        format!("q={QUERY}&strip=%zz"),
    ] {
        let target = format!("{CALL}?{query}");
        let problem = get(&target).await.assert_problem(400, "view");
        outputs.add(
            "the problem of a view",
            problem.to_string().replace(&target, ""),
        );
    }
    let only = get(CALL)
        .header("cache-control", "only-if-cached")
        .await
        .assert_problem(504, "only-if-cached");
    outputs.add("the problem of only-if-cached", only.to_string());
}

/// Invalid and incomplete requests.
async fn invalid_requests(program: &Program, outputs: &mut Outputs) {
    for bytes in [
        format!("GET {TOKEN}\r\n\r\n"),
        format!(
            "GET /x?{QUERY} HTTP/1.1\r\nhost: p\r\nhost: {TOKEN}\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n{TOKEN}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: p\r\nauthorization: Bearer {TOKEN}\0\r\n\r\n"),
        format!(
            "POST /v1/calls HTTP/1.1\r\nhost: p\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 99\r\n\r\n{BODY}"
        ),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{TOKEN}"),
    ] {
        let response = raw(program, bytes.as_bytes()).await;
        outputs.add("the response to an invalid request", response);
    }
}

async fn admin_requests(program: &Program, outputs: &mut Outputs) {
    for (token, status) in [(TOKEN, 401), (ADMIN, 200)] {
        let purged = program
            .admin(Method::POST, &format!("/purge?call={CALL}"))
            .bearer(token)
            .await;
        outputs.add("an invalid purge", purged.text());
        let purged = program
            .admin(Method::POST, "/purge?all")
            .bearer(token)
            .await
            .assert_status(status);
        outputs.add("a purge", purged.text());
    }
    program.get(CALL).bearer(TOKEN).await.assert_miss();
    for page in [
        "/",
        "/metrics",
        "/status",
        "/stats",
        "/explain?path=/v1/calls/c1",
        "/openapi.json",
        "/livez",
        "/readyz",
        "/nothing",
    ] {
        outputs.add(
            page,
            program.admin(Method::GET, page).bearer(ADMIN).await.text(),
        );
    }
}

#[tokio::test]
async fn no_token_and_no_body_appears_in_any_output() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(file, "{ADMIN}").expect("the file is writable");
    let token_file = file.path().to_str().expect("the path is UTF-8");
    for format in ["json", "text"] {
        let origin = Origin::start().await;
        let variables = [
            ("LOG__LEVEL", "trace"),
            ("LOG__FORMAT", format),
            ("ADMIN__TOKEN_FILE", token_file),
        ];
        let program = Program::start(&origin, &variables).await;
        let mut outputs = all_outputs(&origin, &program).await;
        let log = tokio::task::spawn_blocking(|| program.stop());
        let log = log.await.expect("stopping does not panic");
        // The log is not empty: otherwise the test would prove nothing.
        for word in [
            "hit",
            "bypass",
            "failed",
            "refused",
            "connection_terminated",
            "/v1/calls/c1",
            "without the admin token",
        ] {
            assert!(log.contains(word), "{word} is logged ({format}): {log}");
        }
        outputs.add("the log", log);
        outputs.assert_no_secret();
    }
}

/// The `Debug` output of a request or its parsed form has no credential.
#[test]
fn debug_of_a_request_hides_its_credentials() {
    let mut request = http::Request::get(CALL)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("proxy-authorization", format!("Basic {TOKEN}"))
        .header("cookie", format!("a={TOKEN}"))
        .header("cookie", format!("b={TOKEN}"))
        .body(())
        .expect("a request");
    hide_credentials(request.headers_mut());
    let mut outputs = Outputs::default();
    let (head, body) = request.into_parts();
    let arrived = Arrived {
        id: RequestId::of(None),
        at: Clock::system().now(),
        head,
        body,
        account: Ledger::unbounded().open(),
    };
    outputs.add("a request", format!("{arrived:?}"));
    outputs.assert_no_secret();
}
