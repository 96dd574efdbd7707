//! The commands that call the admin listener of a running proxy.

use std::cell::RefCell;
use std::io::Write as _;
use std::process::Stdio;

use http::Method;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::support::{Origin, Program, Proxy, run, run_with, wait_until};

const CALL: &str = "/v1/calls/c1";

/// An address without a listener.
fn unused_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .to_string()
}

fn file(line: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    writeln!(file, "{line}").expect("the file is writable");
    file
}

#[tokio::test]
async fn healthcheck_reports_readiness_by_its_exit_code() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let admin = proxy.admin.to_string();
    run(&["healthcheck", "--admin", &admin])
        .await
        .assert_code(0)
        .assert_prints("/readyz is ok");
    // As in a container, whose environment has the listen address.
    let wildcard = format!("0.0.0.0:{}", proxy.admin.port());
    run_with(
        &["healthcheck"],
        &[("STUUT_CACHE__ADMIN__LISTEN", &wildcard)],
    )
    .await
    .assert_code(0);
    run(&["healthcheck", "--admin", &unused_address()])
        .await
        .assert_code(1)
        .assert_prints("is the proxy up, and is this its admin.listen?");
    // The proxy port is not an admin listener.
    run(&["healthcheck", "--admin", &proxy.address.to_string()])
        .await
        .assert_code(1)
        .assert_prints("is not an admin listener");
    run(&["healthcheck", "--admin", "9090"])
        .await
        .assert_code(2)
        .assert_prints("write a host and a port");
}

#[tokio::test]
async fn a_draining_proxy_is_live_but_not_ready() {
    let origin = Origin::start().await;
    let gate = origin.hold(CALL);
    let mut program = Program::start(&origin, &[]).await;
    let admin = program.admin.to_string();
    let waiting = program.get(CALL).bearer("a").start();
    origin.wait_for_requests(1).await;
    program.terminate();
    wait_until("a failing readiness check", async || {
        program.admin(Method::GET, "/readyz").await.status() == 503
    })
    .await;
    run(&["healthcheck", "--admin", &admin])
        .await
        .assert_code(1)
        .assert_prints("responded with 503 Service Unavailable: draining");
    run(&["healthcheck", "--live", "--admin", &admin])
        .await
        .assert_code(0);
    gate.open();
    waiting.await.assert_status(200);
    assert!(program.wait().success());
}

#[tokio::test]
async fn purge_takes_a_call_a_path_or_all() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let admin = proxy.admin.to_string();
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get("/v1/calls/c2").bearer("a").await.assert_miss();
    run(&["purge", "--call", "c1", "--admin", &admin])
        .await
        .assert_code(0)
        .assert_prints("invalidated: call=c1 (stored: 1, in flight: 0)");
    let again = ["purge", "--call", "c1", "--admin", &admin];
    run(&again)
        .await
        .assert_code(0)
        .assert_prints("nothing of it was stored here");
    run(&[&again[..], &["--expect-match"]].concat())
        .await
        .assert_code(1);
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get("/v1/calls/c2").bearer("a").await.assert_hit();
    run(&["purge", "--path", "/v1/calls/c2", "--admin", &admin])
        .await
        .assert_code(0);
    proxy.get("/v1/calls/c2").bearer("a").await.assert_miss();
    run(&["purge", "--all", "--admin", &admin])
        .await
        .assert_code(0);
    proxy.get(CALL).bearer("a").await.assert_miss();
    // The proxy rejects an invalid digest; the command line, a missing or repeated selector.
    run(&["purge", "--scope", "x", "--admin", &admin])
        .await
        .assert_code(1)
        .assert_prints("400 Bad Request: specify one of");
    for arguments in [vec!["purge"], vec!["purge", "--all", "--call", "c1"]] {
        run(&arguments).await.assert_code(2);
    }
    run(&["purge", "--call", "a&all", "--admin", &admin])
        .await
        .assert_code(1)
        .assert_prints("--call: write it as in a request");
    proxy.get(CALL).bearer("a").await.assert_hit();
    run(&["purge", "--all", "--admin", &unused_address()])
        .await
        .assert_code(69);
}

#[tokio::test]
async fn purge_reads_the_admin_token_from_a_file_and_never_prints_it() {
    let origin = Origin::start().await;
    let (right, wrong) = (file("correct-horse"), file("battery-staple"));
    let path = |file: &NamedTempFile| file.path().to_str().expect("a path of text").to_owned();
    let (right, wrong) = (path(&right), path(&wrong));
    let program = Program::start(&origin, &[("ADMIN__TOKEN_FILE", &right)]).await;
    let admin = program.admin.to_string();
    let purge = ["purge", "--all", "--admin", &admin];
    program.get(CALL).bearer("a").await.assert_miss();
    for more in [vec![], vec!["--token-file", wrong.as_str()]] {
        let output = run(&[&purge[..], &more].concat()).await.assert_code(77);
        let output = output.assert_prints("this request needs the token of admin.token_file");
        assert!(!output.stderr.contains("battery-staple"), "{output:#?}");
    }
    // A token given instead of its file is not printed.
    let output = run(&[&purge[..], &["--token-file", "correct-horse"]].concat())
        .await
        .assert_code(1)
        .assert_prints("--token-file: the file cannot be read");
    assert!(!output.stderr.contains("correct-horse"), "{output:#?}");
    program.get(CALL).bearer("a").await.assert_hit();
    run(&[&purge[..], &["--token-file", &right]].concat())
        .await
        .assert_code(0);
    program.get(CALL).bearer("a").await.assert_miss();
    run_with(&purge, &[("STUUT_CACHE__ADMIN__TOKEN_FILE", &right)])
        .await
        .assert_code(0);
    program.get(CALL).bearer("a").await.assert_miss();
}

#[tokio::test]
async fn stats_sends_the_token_that_reading_needs() {
    let origin = Origin::start().await;
    let token = file("correct-horse");
    let token = token.path().to_str().expect("a path of text");
    let variables = [("ADMIN__TOKEN_FILE", token), ("ADMIN__TOKEN_FOR", "all")];
    let program = Program::start(&origin, &variables).await;
    let admin = program.admin.to_string();
    let stats = ["stats", "--admin", &admin];
    run(&stats).await.assert_code(77);
    let with = [&stats[..], &["--token-file", token]].concat();
    run(&with).await.assert_code(0);
    run(&["healthcheck", "--admin", &admin])
        .await
        .assert_code(0);
}

#[tokio::test]
async fn stats_prints_a_table_or_json() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let admin = proxy.admin.to_string();
    proxy.get(CALL).bearer("a").await.assert_miss();
    for _ in 0..3 {
        proxy.get(CALL).bearer("a").await.assert_hit();
    }
    let output = run(&["stats", "--admin", &admin]).await.assert_code(0);
    let first = output.stdout.lines().next();
    assert!(
        first.is_some_and(|line| line.starts_with("✓ All is well. The origin answered")),
        "{first:?}"
    );
    let last_column = |name: &str| {
        let line = output.stdout.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name}: {}", output.stdout));
        line.split_whitespace().next_back().map(str::to_owned)
    };
    assert_eq!(last_column("  hit").as_deref(), Some("3"));
    assert_eq!(last_column("  miss").as_deref(), Some("1"));
    assert_eq!(last_column("requests").as_deref(), Some("4"));
    let output = run(&["stats", "--json", "--admin", &admin])
        .await
        .assert_code(0);
    let stats: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(stats["total"]["requests"]["hit"], 3);
    assert!(stats["history"]["seconds"].is_array(), "{stats}");
    run(&["stats", "--admin", &unused_address()])
        .await
        .assert_code(69);
}

#[tokio::test]
async fn explain_prints_sentences_or_json() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let admin = proxy.admin.to_string();
    proxy.get(CALL).bearer("a").await.assert_miss();
    let explain = ["explain", CALL, "--admin", &admin];
    run(&explain)
        .await
        .assert_code(0)
        .assert_prints("  route /v1/calls/{call_id}\n")
        .assert_prints("  next request: hit, for another 1 min 0 s\n")
        .assert_prints("request that was not a hit, 0 s ago: nothing was stored for it (absent)");
    let json = run(&[&explain[..], &["--json"]].concat())
        .await
        .assert_code(0);
    let document: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let scope = document["stored"][0]["scope"].as_str().expect("a scope");
    let other = run(&[&explain[..], &["--scope", "00000000"]].concat()).await;
    assert!(!other.assert_code(0).stdout.contains(scope));
    run(&["explain", "/v1/calls/c1?x=1", "--admin", &admin])
        .await
        .assert_code(2)
        .assert_prints("for '<PATH>': write a path as in a request, without the query");
    run(&[&explain[..], &["--scope", "f7"]].concat())
        .await
        .assert_code(2)
        .assert_prints("for '--scope <DIGEST>': write at least 8 hex digits");
}

/// Paths are sensitive; the lines do not depend on `log.access`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_prints_the_lines_that_its_filter_selects() {
    let origin = Origin::start().await;
    let token = file("correct-horse");
    let token = token.path().to_str().expect("a path of text");
    let variables = [("ADMIN__TOKEN_FILE", token), ("LOG__ACCESS", "false")];
    let program = Program::start(&origin, &variables).await;
    let admin = program.admin.to_string();
    run(&["tail", "--admin", &admin])
        .await
        .assert_code(77)
        .assert_prints("this request needs the token of admin.token_file");
    let tail = ["tail", "--admin", &admin, "--token-file", token];
    run(&[&tail[..], &["--status", "6xx"]].concat())
        .await
        .assert_code(2)
        .assert_prints("for '--status <STATUS>': write a status such as 404, or a class");
    let reader = std::process::Command::new("sh")
        .args([
            "-c",
            "\"$0\" \"$@\" | head -n 2",
            env!("CARGO_BIN_EXE_stuut-cache"),
        ])
        .args([&tail[..], &["--outcome", "hit"]].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let reader = RefCell::new(reader);
    program.get(CALL).bearer("a").await.assert_miss();
    // Until the reader has subscribed, and the command notices that `head` has enough.
    wait_until("the end of the reader", async || {
        program.get(CALL).bearer("a").await.assert_hit();
        reader.borrow_mut().try_wait().expect("a child").is_some()
    })
    .await;
    let output = reader.into_inner().wait_with_output().expect("its output");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let lines = String::from_utf8(output.stdout).expect("text");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for line in lines.lines() {
        assert!(
            line.contains(" GET 200 hit ") && line.ends_with(CALL),
            "{line}"
        );
    }
    assert!(
        !program.output().contains("\"access\""),
        "log.access is false"
    );
}
