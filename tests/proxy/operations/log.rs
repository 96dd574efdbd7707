//! The log: nobody waits for it, and its last lines are not lost.

use http::Method;

use crate::support::{Origin, Program, RawOrigin, wait_until};

/// Lines that fill the pipe of somebody who does not read: 64 KiB.
const MANY: usize = 600;

/// Log events were written by whoever had something to say, and the end waited for its last
/// lines to be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stops_requests_and_the_end() {
    let gone = RawOrigin::start().await;
    let url = gone.url();
    drop(gone);
    let settings = [
        ("UPSTREAM__RETRIES", "0"),
        ("UPSTREAM__BREAKER_FAILURES", "0"),
    ];
    let mut program = Program::with_unread_stdout(&url, &settings).await;
    let mut client = program.raw_connection().await;
    // Each is an event and an access line.
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
    let ended = tokio::task::spawn_blocking(move || program.wait());
    assert!(ended.await.expect("it ends").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_lines_of_the_log_are_written_in_order() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[]).await;
    for _ in 0..MANY {
        program.get("/v1/calls/c1").bearer("a").await;
    }
    let written = tokio::task::spawn_blocking(|| program.stop());
    let written = written.await.expect("it ends");
    let lines: Vec<serde_json::Value> = written
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

/// Whoever went away before the answer, or was cut off by the drain, left no trace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_an_answer_is_neither_counted_nor_logged() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[("SERVER__DRAIN_TIMEOUT", "100ms")]).await;
    let _gates = ["/v1/slow?reset", "/v1/slow?drain"].map(|target| origin.hold(target));
    let reset = program.get("/v1/slow?reset").over_http2().start();
    origin.wait_for_requests(1).await;
    reset.hang_up().await;
    let counted = "outcome=\"aborted\",route=\"other\",status=\"none\"} 1";
    wait_until("a count", async || {
        let metrics = program.admin(Method::GET, "/metrics").await.text();
        metrics.contains(counted)
    })
    .await;

    let _drained = program.get("/v1/slow?drain").over_http2().start();
    origin.wait_for_requests(2).await;
    let written = tokio::task::spawn_blocking(|| program.stop());
    let written = written.await.expect("it ends");
    let aborted = written.lines().filter(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        line["outcome"] == "aborted" && line["status"] == 0 && line["path"] == "/v1/slow"
    });
    assert_eq!(aborted.count(), 2, "{written}");
}

/// The head that stands in for a refused one was logged as if a client had asked for
/// `/uri-too-long`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_was_refused_unread_is_logged_without_a_path() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[]).await;
    let mut client = program.raw_connection().await;
    let long = "x".repeat(9_000);
    client
        .send(format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 414"), "{head}");
    client.read_until("}").await;
    drop(client);
    let written = tokio::task::spawn_blocking(|| program.stop());
    let written = written.await.expect("it ends");
    let refused = written.lines().find(|line| line.contains("uri-too-long"));
    let line: serde_json::Value =
        serde_json::from_str(refused.expect("a line")).expect("a line is JSON");
    assert_eq!(
        (&line["method"], &line["path"], &line["detail"]),
        (&"!".into(), &"".into(), &"uri-too-long".into()),
        "{line}"
    );
}
