//! `doctor`: content with a proxy that keeps tokens apart, and with no other.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, ETAG, HOST, IF_NONE_MATCH};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use stuut_simulator::{Options, Simulator, demo, serve};
use tempfile::NamedTempFile;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::support::{Program, run};

/// Short enough to see a call become stale.
const SHORT: [(&str, &str); 1] = [("FRESHNESS__SETTLING", "2s")];

/// The real program in front of the simulated API.
async fn program() -> Program {
    let listener = stuut_cache::server::listen("the simulator", (Ipv4Addr::LOCALHOST, 0).into());
    let listener = listener.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let options = Options {
        // Long enough to purge in between.
        latency: Duration::from_millis(80),
        ..Options::default()
    };
    let simulator = Simulator::new(options, SystemTime::now);
    tokio::spawn(serve(listener, simulator, CancellationToken::new()));
    Program::in_front_of(&url, &SHORT).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_nothing_wrong_with_the_proxy() {
    let program = program().await;
    let (proxy, admin) = (
        format!("http://{}", program.address),
        program.admin.to_string(),
    );
    let said = run(&["doctor", "--strict", "--proxy", &proxy, "--admin", &admin])
        .await
        .assert_code(0)
        .assert_prints("no token got the other token's response: 11 checks passed, 0 failed");
    let checks: Vec<_> = said
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("ok")?.split_whitespace().next())
        .collect();
    assert_eq!(
        checks,
        [
            "reach", "hit", "collapse", "view", "304", "validate", "stranger", "stale", "purge",
            "race", "secrets"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_tried_is_told_and_fails_only_who_is_strict() {
    let program = program().await;
    let proxy = format!("http://{}", program.address);
    let nobody = "127.0.0.1:1";
    // No young one: a slow machine would see that become stale before it is asked for how long.
    let arguments = [
        "doctor",
        "--proxy",
        &proxy,
        "--admin",
        nobody,
        "--patience",
        "0s",
        "--young-call",
        demo::CALL,
    ];
    run(&arguments)
        .await
        .assert_code(0)
        .assert_prints("skip  purge     cannot reach 127.0.0.1:1")
        .assert_prints("skip  stale     /v1/calls/call_acme_0001 is fresh for another")
        .assert_prints("7 checks passed, 0 failed, 4 skipped");
    run(&[&arguments[..], &["--strict"]].concat())
        .await
        .assert_code(1);
    run(&["doctor", "--proxy", "http://127.0.0.1:1"])
        .await
        .assert_code(1)
        .assert_prints("FAIL  reach     cannot reach http://127.0.0.1:1");
    run(&["doctor", "--proxy", "127.0.0.1:8080"])
        .await
        .assert_code(1);
    let wrong = ["--call", "call_globex_0001"];
    run(&[&["doctor", "--proxy", &proxy][..], &wrong].concat())
        .await
        .assert_code(1)
        .assert_prints("name a call that it may see (--call)");
}

/// Two tokens of one organisation get the same bytes: what `Cache-Status` says is told apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_from_files_may_see_the_same_call() {
    let program = program().await;
    let admin = program.admin.to_string();
    let [first, second] = [demo::TOKEN, demo::SECOND_TOKEN].map(|token| {
        let mut file = NamedTempFile::new().expect("a temporary file");
        writeln!(file, "{token}").expect("it can be written");
        file
    });
    let path = |file: &NamedTempFile| file.path().to_str().expect("a path of text").to_owned();
    let (first, second) = (path(&first), path(&second));
    let leaky = Leaky::start(Leak::Hits, program.address).await;
    for (address, code, line) in [
        (
            program.address,
            0,
            "skip  304       both tokens get the same bytes",
        ),
        (
            leaky,
            1,
            "FAIL  hit       the second token's first request was a hit",
        ),
    ] {
        let proxy = format!("http://{address}");
        let said = run(&[
            "doctor",
            "--admin",
            &admin,
            "--proxy",
            &proxy,
            "--call",
            demo::CALL,
            "--first-token-file",
            &first,
            "--second-token-file",
            &second,
        ])
        .await;
        let said = said.assert_code(code).assert_prints(line);
        assert!(!said.stdout.contains(demo::TOKEN), "{said:#?}");
    }
    // One alone would be compared with a token of the simulator.
    run(&["doctor", "--first-token-file", &first])
        .await
        .assert_code(2);
}

/// A proxy in front of the proxy, with one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leak {
    /// None: what the doctor finds with the others is their fault.
    Nothing,
    /// What was answered once is answered to everybody.
    Hits,
    /// Who asks while somebody asks gets the same answer.
    Collapsing,
    /// A view that was shown once is shown to everybody.
    Views,
    /// A tag that is known is not modified, whoever asks.
    Validators,
    /// What is past its time is served to everybody.
    Stale,
    /// What a token was answered once it is answered again, purged or not.
    Purged,
    /// The same, where a fetch was in the air.
    Fenced,
    /// Whoever has no good token gets the last good answer.
    Strangers,
    /// It keeps answers, and says that they come from the origin.
    Lying,
}

#[derive(Debug)]
struct Leaky {
    leak: Leak,
    behind: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
    /// Answers by what they are kept under, and since when.
    kept: Mutex<HashMap<String, (Kept, Instant)>>,
    in_the_air: Mutex<HashMap<String, Arc<OnceCell<Kept>>>>,
}

type Kept = Response<Bytes>;

impl Leaky {
    async fn start(leak: Leak, behind: SocketAddr) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let leaky = Arc::new(Self {
            leak,
            behind,
            client: Client::builder(TokioExecutor::new()).build_http(),
            kept: Mutex::default(),
            in_the_air: Mutex::default(),
        });
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let leaky = Arc::clone(&leaky);
                let service = service_fn(move |request| {
                    let leaky = Arc::clone(&leaky);
                    async move {
                        let answer = leaky.answer(&request).await;
                        Ok::<_, Infallible>(answer.map(Full::new))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                tokio::spawn(connection);
            }
        });
        address
    }

    async fn answer(&self, request: &Request<Incoming>) -> Kept {
        let target = request.uri().to_string();
        let token = request.headers().get(AUTHORIZATION);
        let of_token = format!("{token:?} {target}");
        let is_reference = target.contains("canary=truth");
        match self.leak {
            _ if is_reference => self.pass(request).await,
            Leak::Hits => self.keep(&target, Duration::ZERO, request).await,
            Leak::Views if target.contains("fields=") => {
                self.keep(&target, Duration::ZERO, request).await
            }
            Leak::Collapsing => {
                let flight = Arc::clone(
                    self.in_the_air
                        .lock()
                        .expect("no poison")
                        .entry(target.clone())
                        .or_default(),
                );
                let answer = flight.get_or_init(|| self.pass(request)).await.clone();
                self.in_the_air.lock().expect("no poison").remove(&target);
                answer
            }
            Leak::Validators => {
                let answer = self.pass(request).await;
                if let Some(tag) = answer.headers().get(ETAG) {
                    let tag = tag.to_str().expect("a tag is text").to_owned();
                    let kept = (answer.clone(), Instant::now());
                    self.kept.lock().expect("no poison").insert(tag, kept);
                }
                let asked = request.headers().get(IF_NONE_MATCH);
                let asked = asked.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
                if self.kept.lock().expect("no poison").contains_key(asked) {
                    let mut answer = Response::new(Bytes::new());
                    *answer.status_mut() = StatusCode::NOT_MODIFIED;
                    return answer;
                }
                answer
            }
            Leak::Stale if target.contains("canary=stale") => {
                self.keep(&target, Duration::from_secs(1), request).await
            }
            Leak::Purged if target.contains("canary=purge") => {
                self.keep(&of_token, Duration::ZERO, request).await
            }
            Leak::Fenced if target.contains("canary=race") => {
                self.keep(&of_token, Duration::ZERO, request).await
            }
            Leak::Strangers => {
                let answer = self.pass(request).await;
                if answer.status() != StatusCode::UNAUTHORIZED {
                    let kept = (answer.clone(), Instant::now());
                    self.kept.lock().expect("no poison").insert(target, kept);
                    return answer;
                }
                let kept = self.kept.lock().expect("no poison");
                kept.get(&target).map_or(answer, |(kept, _)| kept.clone())
            }
            Leak::Lying => {
                let mut answer = self.keep(&target, Duration::ZERO, request).await;
                let status = HeaderValue::from_static(
                    "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=9",
                );
                answer.headers_mut().insert("cache-status", status);
                answer
            }
            _ => self.pass(request).await,
        }
    }

    /// Answers a success that was kept under this name, once it is so old.
    async fn keep(&self, name: &str, age: Duration, request: &Request<Incoming>) -> Kept {
        let found = self.kept.lock().expect("no poison").get(name).cloned();
        match found {
            Some((mut answer, since)) if since.elapsed() >= age => {
                let status = HeaderValue::from_static("stuut-cache; hit; ttl=0");
                answer.headers_mut().insert("cache-status", status);
                answer
            }
            found => {
                let answer = self.pass(request).await;
                if answer.status().is_success() && found.is_none() {
                    let kept = (answer.clone(), Instant::now());
                    self.kept
                        .lock()
                        .expect("no poison")
                        .insert(name.to_owned(), kept);
                }
                answer
            }
        }
    }

    /// Asks the real proxy.
    async fn pass(&self, request: &Request<Incoming>) -> Kept {
        let target = format!("http://{}{}", self.behind, request.uri());
        let mut passed = Request::get(target).body(Empty::new()).expect("a request");
        *passed.headers_mut() = request.headers().clone();
        passed.headers_mut().remove(HOST);
        let answer = self
            .client
            .request(passed)
            .await
            .expect("the proxy answers");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let mut kept = Response::from_parts(head, body);
        kept.headers_mut().remove("transfer-encoding");
        kept
    }
}

/// Each fault is found, by the check that is there for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_what_a_leaky_proxy_leaks() {
    let cases: [(Leak, &[&str]); 10] = [
        (Leak::Nothing, &[]),
        (Leak::Hits, &["hit", "view"]),
        (Leak::Collapsing, &["collapse"]),
        (Leak::Views, &["view"]),
        (Leak::Validators, &["304"]),
        (Leak::Stale, &["stale"]),
        (Leak::Purged, &["purge"]),
        (Leak::Fenced, &["race"]),
        (Leak::Strangers, &["stranger"]),
        (Leak::Lying, &["hit"]),
    ];
    // Each with a proxy of its own, all at once: they wait for a call to become stale.
    join_all(cases.map(|(leak, expected)| examine(leak, expected))).await;
}

async fn examine(leak: Leak, expected: &[&str]) {
    let program = program().await;
    let proxy = format!("http://{}", Leaky::start(leak, program.address).await);
    let admin = program.admin.to_string();
    let said = run(&["doctor", "--proxy", &proxy, "--admin", &admin])
        .await
        .assert_code(i32::from(!expected.is_empty()));
    let failed: Vec<_> = said
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("FAIL")?.split_whitespace().next())
        .collect();
    for check in expected {
        assert!(failed.contains(check), "{leak:?}: {said:#?}");
    }
    assert!(
        !expected.is_empty() || failed.is_empty(),
        "{leak:?}: {said:#?}"
    );
}
