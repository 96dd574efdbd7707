//! The log: writing never blocks, and the last lines are not lost.

use http::Method;

use crate::support::{Origin, Program, wait_until};

/// Lines that fill an unread pipe of 64 KiB.
const MANY: usize = 600;

/// A synchronous write to a full pipe would block requests, and the flush at exit, the shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unread_log_blocks_neither_requests_nor_shutdown() {
    let (address, _reserved) = Origin::reserve_port();
    let url = format!("http://{address}");
    let settings = [
        ("UPSTREAM__RETRIES", "0"),
        ("UPSTREAM__BREAKER_FAILURES", "0"),
    ];
    let mut program = Program::with_unread_stdout(&url, &settings).await;
    let mut client = program.raw_connection().await;
    // Each request logs an event and an access line.
    for _ in 0..MANY {
        client
            .send("GET /v1/other HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        client.read_until("}").await;
    }
    drop(client);
    program.terminate();
    let exit = tokio::task::spawn_blocking(move || program.wait());
    assert!(exit.await.expect("the program exits").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_complete_and_in_order_at_exit() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[]).await;
    for _ in 0..MANY {
        program.get("/v1/calls/c1").bearer("a").await;
    }
    let log = tokio::task::spawn_blocking(|| program.stop());
    let log = log.await.expect("the program exits");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let message = |line: &serde_json::Value| line["message"].as_str().unwrap_or("").to_owned();
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    assert!(message(first).contains("listens on"), "{first}");
    assert_eq!(message(last), "stopped");
    let requests = lines.iter().filter(|line| line["target"] == "access");
    assert_eq!(requests.count(), MANY);
}

/// The client disconnects before the response, or the drain cuts it off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_request_is_counted_and_logged() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[("SERVER__DRAIN_TIMEOUT", "100ms")]).await;
    let _gates = ["/v1/slow?reset", "/v1/slow?drain"].map(|target| origin.hold(target));
    let reset = program.get("/v1/slow?reset").over_http2().start();
    origin.wait_for_requests(1).await;
    reset.hang_up().await;
    let counted = "outcome=\"aborted\",route=\"other\",status=\"none\"} 1";
    wait_until("a counted abort", async || {
        let metrics = program.admin(Method::GET, "/metrics").await.text();
        metrics.contains(counted)
    })
    .await;

    let _drained = program.get("/v1/slow?drain").over_http2().start();
    origin.wait_for_requests(2).await;
    let log = tokio::task::spawn_blocking(|| program.stop());
    let log = log.await.expect("the program exits");
    let aborted = log.lines().filter(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        line["outcome"] == "aborted" && line["status"] == 0 && line["path"] == "/v1/slow"
    });
    assert_eq!(aborted.count(), 2, "{log}");
}

/// The request that replaces a rejected one in hyper has the path `/uri-too-long`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_request_head_is_logged_without_a_path() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[]).await;
    let mut client = program.raw_connection().await;
    let path = "x".repeat(9_000);
    client
        .send(format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 414"), "{head}");
    client.read_until("}").await;
    drop(client);
    let log = tokio::task::spawn_blocking(|| program.stop());
    let log = log.await.expect("the program exits");
    let rejected = log.lines().find(|line| line.contains("uri-too-long"));
    let line: serde_json::Value =
        serde_json::from_str(rejected.expect("a line")).expect("a line is JSON");
    assert_eq!(
        (&line["method"], &line["path"], &line["detail"]),
        (&"!".into(), &"".into(), &"uri-too-long".into()),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_line_names_the_client_the_view_and_the_error() {
    let origin = Origin::start().await;
    let trusted = [("SERVER__TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#)];
    let program = Program::start(&origin, &trusted).await;
    let targets = [
        "/v1/calls/c1?strip=b,a.c,b",
        "/v1/calls/c1?strip=b,a.c",
        "/v1/other",
        "/v1/calls/c1?strip=a..b",
    ];
    for target in targets {
        let request = program.get(target).bearer("a");
        let request = request.header("user-agent", &format!("billing/{}", "1".repeat(300)));
        request
            .header("x-forwarded-for", "127.0.0.9, 203.0.113.7")
            .await;
    }
    let log = tokio::task::spawn_blocking(|| program.stop());
    let log = log.await.expect("the program exits");
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"));
    let lines: Vec<serde_json::Value> = lines.collect();
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| line["target"] == "access")
        .collect();
    let [miss, hit, forwarded, refused] = lines[..] else {
        panic!("{log}");
    };
    for line in [miss, hit, forwarded, refused] {
        assert_eq!(line["client"], "203.0.113.7", "{line}");
        assert_eq!(line["http_version"], "HTTP/1.1", "{line}");
        assert_eq!(
            line["user_agent"].as_str().map(str::len),
            Some(256),
            "{line}"
        );
    }
    for line in [miss, hit] {
        assert_eq!(line["view"], "strip=a.c,b", "{line}");
        assert_eq!(line["route"], "/v1/calls/{call_id}", "{line}");
    }
    assert!(miss["upstream_seconds"].is_f64() && forwarded["upstream_seconds"].is_f64());
    assert_eq!(
        (hit.get("upstream_seconds"), hit.get("error")),
        (None, None)
    );
    assert_eq!(
        (refused["detail"].as_str(), refused.get("view")),
        (Some("view"), None)
    );
    let error = refused["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("strip: character 3: "), "{refused}");
}
