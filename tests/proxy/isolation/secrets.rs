//! A token is never written down, and neither is a call: not in logs, metrics, status or errors.

use std::io::Write as _;

use http::Method;
use stuut_cache::clock::Clock;
use stuut_cache::proxy::Arrived;
use stuut_cache::request::hide_credentials;
use stuut_cache::telemetry::RequestId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Origin, Program, Reply};

const CALL: &str = "/v1/calls/c1";

/// Parts that every secret of these stories has.
const TOKEN: &str = "t0ken-of-a-client";
const ADMIN: &str = "t0ken-of-an-operator";
const BODY: &str = "marker-in-a-body";
const QUERY: &str = "marker-in-a-query";

const SECRETS: [&str; 4] = [TOKEN, ADMIN, BODY, QUERY];

/// What an operator, or somebody who reads logs, gets to see.
#[derive(Default)]
struct Sight(Vec<(String, String)>);

impl Sight {
    fn of(&mut self, what: &str, text: impl Into<String>) {
        self.0.push((what.to_owned(), text.into()));
    }

    #[track_caller]
    fn assert_no_secret(&self) {
        for (what, text) in &self.0 {
            for secret in SECRETS {
                // Halves of it, and other letters, would be as bad.
                for part in [secret, &secret[2..secret.len() - 2], &secret.to_uppercase()] {
                    assert!(!text.contains(part), "{part} in {what}: {text}");
                }
            }
        }
    }
}

/// Sends bytes as they are, ends, and reads what comes back.
async fn raw(program: &Program, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(program.address)
        .await
        .expect("it accepts");
    // It may have closed already: what is not a request is not read to its end.
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A call that is nobody's business.
fn secret() -> String {
    format!("{{\"id\":\"{BODY}\",\"partner\":{{\"name\":\"{BODY}\"}}}}")
}

/// Everything that can happen to a request, with secrets wherever they can stand.
async fn everything(origin: &Origin, program: &Program) -> Sight {
    let mut sight = Sight::default();
    ordinary_requests(origin, program).await;
    odd_credentials(program, &mut sight).await;
    broken_answers(origin, program, &mut sight).await;
    refused_requests(program, &mut sight).await;
    no_requests(program, &mut sight).await;
    operators(program, &mut sight).await;
    sight
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

/// Whatever their form, they are credentials.
async fn odd_credentials(program: &Program, sight: &mut Sight) {
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
    sight.of("the problem of two credentials", twice.to_string());
}

async fn broken_answers(origin: &Origin, program: &Program, sight: &mut Sight) {
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
        sight.of(
            "the problem of a broken origin",
            problem.to_string().replace(&target, ""),
        );
        // The same past the cache, where an answer may break off on its way.
        let past = format!(
            "POST {target} HTTP/1.1\r\nhost: p\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
        );
        raw(program, past.as_bytes()).await;
    }
}

async fn refused_requests(program: &Program, sight: &mut Sight) {
    let get = |target: &str| program.get(target).bearer(TOKEN);
    for query in [
        format!("strip=a..{QUERY}"),
        format!("view={QUERY}"),
        format!("fields=**.{QUERY}"),
        format!("q={QUERY}&strip=%zz"),
    ] {
        let target = format!("{CALL}?{query}");
        let problem = get(&target).await.assert_problem(400, "view");
        sight.of(
            "the problem of a view",
            problem.to_string().replace(&target, ""),
        );
    }
    let only = get(CALL)
        .header("cache-control", "only-if-cached")
        .await
        .assert_problem(504, "only-if-cached");
    sight.of("the problem of only-if-cached", only.to_string());
}

/// What is not a request at all, and what breaks off.
async fn no_requests(program: &Program, sight: &mut Sight) {
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
        let answer = raw(program, bytes.as_bytes()).await;
        sight.of("the answer to no request", answer);
    }
}

async fn operators(program: &Program, sight: &mut Sight) {
    for (token, status) in [(TOKEN, 401), (ADMIN, 200)] {
        let purged = program
            .admin(Method::POST, &format!("/purge?call={CALL}"))
            .bearer(token)
            .await;
        sight.of("a purge without sense", purged.text());
        let purged = program
            .admin(Method::POST, "/purge?all")
            .bearer(token)
            .await
            .assert_status(status);
        sight.of("a purge", purged.text());
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
        sight.of(
            page,
            program.admin(Method::GET, page).bearer(ADMIN).await.text(),
        );
    }
}

#[tokio::test]
async fn no_token_and_no_body_is_ever_written_down() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(file, "{ADMIN}").expect("it takes a line");
    let token_file = file.path().to_str().expect("a path is text");
    for format in ["json", "text"] {
        let origin = Origin::start().await;
        let variables = [
            ("LOG__LEVEL", "trace"),
            ("LOG__FORMAT", format),
            ("ADMIN__TOKEN_FILE", token_file),
        ];
        let program = Program::start(&origin, &variables).await;
        let mut sight = everything(&origin, &program).await;
        let written = tokio::task::spawn_blocking(|| program.stop());
        let written = written.await.expect("it ends");
        // There is something to see, or this story proves nothing.
        for word in [
            "hit",
            "bypass",
            "failed",
            "refused",
            "connection_terminated",
            "/v1/calls/c1",
            "without the admin token",
        ] {
            assert!(
                written.contains(word),
                "{word} is logged ({format}): {written}"
            );
        }
        sight.of("the log", written);
        sight.assert_no_secret();
    }
}

/// Whoever prints a request, or what was read of it, prints no credential.
#[test]
fn debug_of_a_request_writes_its_credentials_down() {
    let mut request = http::Request::get(CALL)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("proxy-authorization", format!("Basic {TOKEN}"))
        .header("cookie", format!("a={TOKEN}"))
        .header("cookie", format!("b={TOKEN}"))
        .body(())
        .expect("a request");
    hide_credentials(request.headers_mut());
    let mut sight = Sight::default();
    let (head, body) = request.into_parts();
    let arrived = Arrived {
        id: RequestId::read(&head.headers),
        at: Clock::system().now(),
        head,
        body,
    };
    sight.of("a request", format!("{arrived:?}"));
    sight.assert_no_secret();
}
