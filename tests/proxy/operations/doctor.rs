//! `doctor` passes a proxy that isolates tokens, and fails every other.

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

use crate::support::{Origin, Program, Reply, run};

/// Short enough to wait until a call becomes stale.
const SHORT: [(&str, &str); 1] = [("FRESHNESS__SETTLING", "2s")];

/// Starts the program in front of the simulated API.
async fn start() -> Program {
    let listener = stuut_cache::server::listen("the simulator", (Ipv4Addr::LOCALHOST, 0).into());
    let listener = listener.expect("a port is free");
    let url = format!(
        "http://{}",
        listener
            .local_addr()
            .expect("a bound socket has an address")
    );
    let options = Options {
        // Long enough to purge during a fetch.
        latency: Duration::from_millis(80),
        ..Options::default()
    };
    let simulator = Simulator::new(options, SystemTime::now);
    tokio::spawn(serve(listener, simulator, CancellationToken::new()));
    Program::in_front_of(&url, &SHORT).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_passes_all_its_checks_on_the_proxy() {
    let program = start().await;
    let (proxy, admin) = (
        format!("http://{}", program.address),
        program.admin.to_string(),
    );
    let output = run(&["doctor", "--strict", "--proxy", &proxy, "--admin", &admin])
        .await
        .assert_code(0)
        .assert_prints("no token got the other token's response: 11 checks passed, 0 failed");
    let checks: Vec<_> = output
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

/// Nothing was ever stored, and nothing said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_names_the_cookie_that_forbids_storing() {
    let origin = Origin::start().await;
    let reply = Reply::json("{}").header("set-cookie", "AWSALB=1; Path=/");
    origin.default_reply(reply.header("set-cookie", "__cf_bm=2"));
    let program = Program::start(&origin, &[]).await;
    let proxy = format!("http://{}", program.address);
    let admin = program.admin.to_string();
    run(&["doctor", "--proxy", &proxy, "--admin", &admin, "--patience", "0s"])
        .await
        .assert_prints("skip  hit       the call is not stored, because each response sets AWSALB, __cf_bm; a balancer's or a CDN's cookie can be listed in cache.ignore_set_cookie");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skipped_checks_are_reported_and_fail_only_with_strict() {
    let program = start().await;
    let proxy = format!("http://{}", program.address);
    let unused = "127.0.0.1:1";
    // Not a young call: on a slow machine it could become stale before doctor reads its ttl.
    let arguments = [
        "doctor",
        "--proxy",
        &proxy,
        "--admin",
        unused,
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

/// Two tokens of one organisation get the same bytes: only `Cache-Status` shows a leak.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_leaks_between_tokens_that_see_the_same_call() {
    let program = start().await;
    let admin = program.admin.to_string();
    let [first, second] = [demo::TOKEN, demo::SECOND_TOKEN].map(|token| {
        let mut file = NamedTempFile::new().expect("a temporary file");
        writeln!(file, "{token}").expect("the file is writable");
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
        let output = run(&[
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
        let output = output.assert_code(code).assert_prints(line);
        assert!(!output.stdout.contains(demo::TOKEN), "{output:#?}");
    }
    // A single token would be compared with one of the simulator.
    run(&["doctor", "--first-token-file", &first])
        .await
        .assert_code(2);
}

/// The fault of a proxy in front of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leak {
    /// No fault, as a control.
    Nothing,
    /// Serves a stored response to every token.
    Hits,
    /// Coalesces requests of different tokens.
    Collapsing,
    /// Serves a stored view to every token.
    Views,
    /// Answers 304 to a known entity tag of any token.
    Validators,
    /// Serves a stale response to every token.
    Stale,
    /// Serves a purged response.
    Purged,
    /// Stores a fetch that began before a purge.
    Fenced,
    /// Serves the last good response to an invalid token.
    Strangers,
    /// Serves stored responses, but reports a miss.
    Lying,
}

#[derive(Debug)]
struct Leaky {
    leak: Leak,
    upstream: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
    /// Responses and the time when they were stored, by key.
    stored: Mutex<HashMap<String, (Stored, Instant)>>,
    in_flight: Mutex<HashMap<String, Arc<OnceCell<Stored>>>>,
}

type Stored = Response<Bytes>;

impl Leaky {
    async fn start(leak: Leak, upstream: SocketAddr) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let leaky = Arc::new(Self {
            leak,
            upstream,
            client: Client::builder(TokioExecutor::new()).build_http(),
            stored: Mutex::default(),
            in_flight: Mutex::default(),
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

    async fn answer(&self, request: &Request<Incoming>) -> Stored {
        let target = request.uri().to_string();
        let token = request.headers().get(AUTHORIZATION);
        let token_key = format!("{token:?} {target}");
        let is_reference = target.contains("canary=baseline");
        match self.leak {
            _ if is_reference => self.forward(request).await,
            Leak::Hits => self.cached(&target, Duration::ZERO, request).await,
            Leak::Views if target.contains("fields=") => {
                self.cached(&target, Duration::ZERO, request).await
            }
            Leak::Collapsing => {
                let flight = Arc::clone(
                    self.in_flight
                        .lock()
                        .expect("no poison")
                        .entry(target.clone())
                        .or_default(),
                );
                let answer = flight.get_or_init(|| self.forward(request)).await.clone();
                self.in_flight.lock().expect("no poison").remove(&target);
                answer
            }
            Leak::Validators => {
                let answer = self.forward(request).await;
                if let Some(tag) = answer.headers().get(ETAG) {
                    let tag = tag.to_str().expect("a tag is text").to_owned();
                    let stored = (answer.clone(), Instant::now());
                    self.stored.lock().expect("no poison").insert(tag, stored);
                }
                let known = request.headers().get(IF_NONE_MATCH);
                let known = known.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
                if self.stored.lock().expect("no poison").contains_key(known) {
                    let mut answer = Response::new(Bytes::new());
                    *answer.status_mut() = StatusCode::NOT_MODIFIED;
                    return answer;
                }
                answer
            }
            Leak::Stale if target.contains("canary=stale") => {
                self.cached(&target, Duration::from_secs(1), request).await
            }
            Leak::Purged if target.contains("canary=purge") => {
                self.cached(&token_key, Duration::ZERO, request).await
            }
            Leak::Fenced if target.contains("canary=race") => {
                self.cached(&token_key, Duration::ZERO, request).await
            }
            Leak::Strangers => {
                let answer = self.forward(request).await;
                if answer.status() != StatusCode::UNAUTHORIZED {
                    let stored = (answer.clone(), Instant::now());
                    self.stored
                        .lock()
                        .expect("no poison")
                        .insert(target, stored);
                    return answer;
                }
                let stored = self.stored.lock().expect("no poison");
                stored
                    .get(&target)
                    .map_or(answer, |(response, _)| response.clone())
            }
            Leak::Lying => {
                let mut answer = self.cached(&target, Duration::ZERO, request).await;
                let status = HeaderValue::from_static(
                    "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=9",
                );
                answer.headers_mut().insert("cache-status", status);
                answer
            }
            _ => self.forward(request).await,
        }
    }

    /// Serves the success stored under this key, from this age on; else forwards and stores.
    async fn cached(&self, key: &str, age: Duration, request: &Request<Incoming>) -> Stored {
        let found = self.stored.lock().expect("no poison").get(key).cloned();
        match found {
            Some((mut answer, since)) if since.elapsed() >= age => {
                let status = HeaderValue::from_static("stuut-cache; hit; ttl=0");
                answer.headers_mut().insert("cache-status", status);
                answer
            }
            found => {
                let answer = self.forward(request).await;
                if answer.status().is_success() && found.is_none() {
                    let stored = (answer.clone(), Instant::now());
                    self.stored
                        .lock()
                        .expect("no poison")
                        .insert(key.to_owned(), stored);
                }
                answer
            }
        }
    }

    /// Forwards to the real proxy.
    async fn forward(&self, request: &Request<Incoming>) -> Stored {
        let target = format!("http://{}{}", self.upstream, request.uri());
        let mut forwarded = Request::get(target).body(Empty::new()).expect("a request");
        *forwarded.headers_mut() = request.headers().clone();
        forwarded.headers_mut().remove(HOST);
        let answer = self
            .client
            .request(forwarded)
            .await
            .expect("the proxy answers");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a complete body").to_bytes();
        let mut response = Response::from_parts(head, body);
        response.headers_mut().remove("transfer-encoding");
        response
    }
}

/// The check for each fault fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_detects_every_kind_of_leak() {
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
    // Concurrently, since each waits until a call becomes stale.
    join_all(cases.map(|(leak, expected)| assert_detected(leak, expected))).await;
}

async fn assert_detected(leak: Leak, expected: &[&str]) {
    let program = start().await;
    let proxy = format!("http://{}", Leaky::start(leak, program.address).await);
    let admin = program.admin.to_string();
    let output = run(&["doctor", "--proxy", &proxy, "--admin", &admin])
        .await
        .assert_code(i32::from(!expected.is_empty()));
    let failed: Vec<_> = output
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("FAIL")?.split_whitespace().next())
        .collect();
    for check in expected {
        assert!(failed.contains(check), "{leak:?}: {output:#?}");
    }
    assert!(
        !expected.is_empty() || failed.is_empty(),
        "{leak:?}: {output:#?}"
    );
}
