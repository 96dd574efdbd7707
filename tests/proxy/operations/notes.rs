//! The notes of `/status` and `/stats`, and the banner of the dashboard, in each state that a client or
//! the origin can bring about. `src/admin/notes/tests.rs` has the others.

use std::any::Any;
use std::pin::Pin;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use stuut_cache::config::{CacheMode, Config};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{Authority, Origin, Page, Proxy, Reply, wait_until};

const CALL: &str = "/v1/calls/c1";

/// A proxy in a state, and what keeps it there.
struct Scene(Proxy, Vec<Box<dyn Any>>);

impl Scene {
    fn of(proxy: Proxy) -> Self {
        Self(proxy, Vec::new())
    }
}

async fn idle_since(origin: &Origin, change: impl FnOnce(&mut Config), seconds: u64) -> Proxy {
    let proxy = Proxy::with(origin, change).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(seconds);
    proxy
}

async fn not_used() -> Scene {
    Scene::of(Proxy::start(&Origin::start().await).await)
}

async fn answered(seconds: u64) -> Scene {
    Scene::of(idle_since(&Origin::start().await, |_| {}, seconds).await)
}

/// Stale, while it is refreshed in the background.
async fn revalidating() -> Scene {
    let origin = Origin::start().await;
    let lifetime = "max-age=1, stale-while-revalidate=60";
    origin.reply(CALL, Reply::json("{}").header("cache-control", lifetime));
    let proxy = idle_since(&origin, |_| {}, 10).await;
    let stale = proxy.get(CALL).bearer("a").await;
    stale.assert_stale("stale-while-revalidate");
    Scene::of(proxy)
}

/// Stale, because connections to the origin fail.
async fn failing_over() -> Scene {
    let origin = Origin::start().await;
    let reply = Reply::json("{}").header("cache-control", "max-age=1");
    origin.reply(CALL, reply.closing());
    let proxy = idle_since(&origin, |config| config.upstream.retries = 0, 10).await;
    origin.stop_listening().await;
    let stale = proxy.get(CALL).bearer("a").await;
    stale.assert_stale("stale-if-error");
    Scene::of(proxy)
}

async fn answering(status: u16, field: (&str, &str), requests: u16) -> Scene {
    let origin = Origin::start().await;
    origin.default_reply(Reply::new(status).header(field.0, field.1));
    let proxy = Proxy::start(&origin).await;
    for number in 0..requests {
        let target = format!("/v1/calls/c{number}");
        let answer = proxy.get(&target).bearer("a").await;
        answer.assert_status(status);
    }
    Scene::of(proxy)
}

/// The origin was down, and nothing has been sent to it since.
async fn failed_last() -> Scene {
    let Scene(proxy, kept) = answering(500, ("x", "y"), 1).await;
    proxy.advance_seconds(1);
    wait_until("a point of the history", async || {
        let stats = proxy.admin(Method::GET, "/stats?after=0").await.json();
        stats["history"]["seconds"][0].is_object()
    })
    .await;
    proxy.advance_seconds(120);
    Scene(proxy, kept)
}

async fn breaker_open() -> Scene {
    let (address, socket) = Origin::reserve_port();
    let url = format!("http://{address}");
    let proxy = Proxy::in_front_of(&url, |config| config.upstream.retries = 0).await;
    for number in 0..5 {
        let target = format!("/v1/calls/c{number}");
        let answer = proxy.get(&target).bearer("a").await;
        answer.assert_problem(502, "connection_refused");
    }
    Scene(proxy, vec![Box::new(socket)])
}

/// Five TLS handshakes fail, and the sixth, of the probe, gets no answer.
async fn breaker_half_open() -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let url = format!("https://{address}");
    let proxy = Proxy::in_front_of(&url, |config| config.upstream.retries = 0).await;
    for number in 0..5 {
        let target = format!("/v1/calls/c{number}");
        let request = proxy.get(&target).bearer("a").start();
        drop(listener.accept().await.expect("a connection"));
        request.await.assert_status(502);
    }
    proxy.advance_seconds(2);
    let probe = proxy.get(CALL).bearer("a").start();
    let connection = listener.accept().await.expect("a connection");
    Scene(proxy, vec![Box::new(probe), Box::new(connection)])
}

async fn shedding() -> Scene {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    let gate = origin.hold(CALL);
    let pending = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(1).await;
    let shed = proxy.get("/v1/calls/c2").bearer("b").await;
    shed.assert_problem(503, "connection_limit_reached");
    Scene(proxy, vec![Box::new(gate), Box::new(pending)])
}

/// The certificate ends with the year 2027, that of the test's clock.
async fn days_later(days: u64) -> Scene {
    let (authority, dir) = (Authority::new(), TempDir::new().expect("a directory"));
    let (certificate, key) = authority.issue_until("localhost", 2028);
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("the file is writable");
        Some(path)
    };
    let (cert, key) = (write("cert.pem", &certificate), write("key.pem", &key));
    let proxy = Proxy::with(&Origin::start().await, |config| {
        (config.server.tls.cert, config.server.tls.key) = (cert, key);
    })
    .await;
    proxy.advance(Duration::from_hours(24 * days));
    Scene(proxy, vec![Box::new(dir)])
}

async fn off() -> Scene {
    let origin = Origin::start().await;
    Scene::of(Proxy::with(&origin, |config| config.cache.mode = CacheMode::Off).await)
}

async fn many_connections() -> Scene {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.server.max_connections = 10).await;
    let mut connections: Vec<Box<dyn Any>> = Vec::new();
    for _ in 0..9 {
        connections.push(Box::new(proxy.connect().await));
    }
    wait_until("nine connections", async || {
        proxy.metric("stuut_cache_connections").await > 8.5
    })
    .await;
    Scene(proxy, connections)
}

async fn other_clock() -> Scene {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let reply = Reply::json("{}").header("date", &proxy.date(45));
    origin.reply(CALL, reply);
    proxy.get(CALL).bearer("a").await.assert_miss();
    Scene::of(proxy)
}

type Expected = (&'static str, &'static [&'static str]);
type Case = (Pin<Box<dyn Future<Output = Scene>>>, Expected);

/// Each state, the severity of its first note, and the titles of all.
fn cases() -> Vec<Case> {
    const FAILING: &str = "The origin is failing";
    const FAILED: &str = "Some requests to the origin failed";
    const ERRORS: &str = "Clients get errors";
    macro_rules! cases {
        ($( $scene:expr => $severity:literal $titles:expr; )+) => {
            vec![$( (Box::pin($scene) as _, ($severity, $titles as &[_])), )+]
        };
    }
    cases! {
        not_used() => "neutral" &["No response of the origin yet"];
        answered(3) => "good" &["All is well"];
        answered(720) => "neutral" &["No request to the origin lately"];
        revalidating() => "good" &["All is well"];
        failing_over() => "warning" &[FAILED, "Stale responses replace errors"];
        answering(500, ("x", "y"), 1) => "warning" &[FAILED];
        answering(500, ("x", "y"), 3) => "bad" &[FAILING];
        failed_last() => "warning" &["The origin failed last"];
        breaker_open() => "bad" &["The origin cannot be reached", ERRORS];
        breaker_half_open() => "bad" &["The origin cannot be reached", ERRORS];
        shedding() => "bad" &[ERRORS, "Requests are shed"];
        answering(429, ("retry-after", "5"), 1) => "warning" &["The origin limits the rate"];
        answering(401, ("x", "y"), 3) => "warning" &["The origin refuses tokens"];
        days_later(340) => "warning" &["The TLS certificate expires soon"];
        days_later(360) => "bad" &["The TLS certificate has expired"];
        off() => "warning" &["Caching is off"];
        many_connections() => "warning" &["Connections are near their limit"];
        other_clock() => "warning" &["The clocks differ"];
    }
}

/// The dashboard was green with an open breaker, and amber for ever with a healthy origin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_banner_tells_the_truth_in_each_state() {
    let mut page = Page::open("notes: the banner of the dashboard");
    for (scene, (severity, titles)) in cases() {
        let Scene(proxy, _kept) = scene.await;
        for path in ["/status", "/stats"] {
            let notes = proxy.admin(Method::GET, path).await.json()["notes"].clone();
            let notes = notes.as_array().expect("notes").clone();
            let shown: Vec<_> = notes.iter().map(|note| note["title"].clone()).collect();
            assert_eq!(json!(shown), json!(titles), "{path}: {notes:?}");
            assert_eq!(notes[0]["severity"], severity, "{path}: {notes:?}");
        }
        let Some(page) = &mut page else { continue };
        page.navigate(&format!("http://{}/", proxy.admin));
        page.wait_until("document.documentElement.dataset.polls >= 1");
        assert_eq!(page.text("#state"), titles[0]);
        let class = page.evaluate("document.querySelector('#state').className");
        assert_eq!(class, json!(format!("pill {severity}")));
        let listed =
            page.evaluate("[...document.querySelectorAll('#attention b')].map(it => it.innerText)");
        assert_eq!(listed, json!(titles));
        assert_eq!(page.console_errors(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn status_has_the_facts_of_the_notes() {
    let Scene(proxy, _kept) = breaker_open().await;
    proxy.advance_seconds(7);
    let status = proxy.admin(Method::GET, "/status").await.json();
    let origin = &status["origin"];
    assert_eq!(origin["breaker"], "open");
    assert_eq!(origin["failing_seconds"], 7);
    assert_eq!(origin["probe_seconds"], 0);
    let note = status["notes"][0]["runbook"].as_str();
    assert_eq!(note, Some("docs/runbook.md#stuutcachebreakeropen"));
    assert_eq!(origin["failed_seconds_ago"], 7);
    assert_eq!(origin["good_seconds_ago"], Value::Null);
    assert_eq!(status["limits"]["connections"], 10_000);
    let Scene(proxy, _) = answering(429, ("retry-after", "5"), 1).await;
    let status = proxy.admin(Method::GET, "/status").await.json();
    let held = ["held_tokens", "held_calls", "held_seconds"].map(|key| &status["origin"][key]);
    assert_eq!(held, [&json!(1), &json!(0), &json!(5)]);
    let Scene(proxy, _) = answering(401, ("x", "y"), 2).await;
    let status = proxy.admin(Method::GET, "/status").await.json();
    assert_eq!(status["last_minute"]["tokens_refused"], 2);
}
