//! Callers: which tokens send requests, and those that have names.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use http::Method;
use serde_json::Value;

use crate::support::{Origin, Program, Reply, run, wait_until};

const CALL: &str = "/v1/calls/c1";

/// The callers of `/stats`, once this many requests are counted.
async fn callers(program: &Program, requests: u64) -> Vec<Value> {
    let callers = async || {
        let stats = program.admin(Method::GET, "/stats?callers=1").await.json();
        stats["callers"].as_array().cloned().unwrap_or_default()
    };
    wait_until("counts of all requests", async || {
        let counts = callers().await;
        let counts = counts
            .iter()
            .filter_map(|caller| caller["requests"].as_u64());
        counts.sum::<u64>() == requests
    })
    .await;
    callers().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_has_the_busiest_scopes_and_with_the_token_paths() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "correct-horse").expect("it is written");
    let token = token.to_str().expect("a path of text");
    let program = Program::start(&origin, &[("ADMIN__TOKEN_FILE", token)]).await;
    for _ in 0..3 {
        program.get(CALL).bearer("a").await;
    }
    program.get("/v1/other").bearer("b").await;
    let callers = callers(&program, 4).await;
    let stats = program.admin(Method::GET, "/stats?keys=1");
    let stats = stats.bearer("correct-horse").await.json();
    let requests = |list: &[Value]| -> Vec<_> {
        let counts = list.iter();
        let counts = counts.map(|of| (of["requests"].clone(), of["origin_requests"].clone()));
        counts.collect()
    };
    let expected = [(3.into(), 1.into()), (1.into(), 1.into())];
    assert_eq!(requests(&callers), expected);
    assert_eq!(
        requests(stats["keys"].as_array().expect("a list")),
        expected
    );
    assert_eq!(stats["keys"][0]["path"], CALL);
    let without = program.admin(Method::GET, "/stats?keys=1").await.json();
    assert_eq!(without["keys"], "hidden: needs the admin token");
    assert_eq!(without["callers"], stats["callers"]);
}

/// The request has not ended, so it is not counted as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_only_request_waits_is_listed() {
    let origin = Origin::start().await;
    origin.default_reply(Reply::json(r#"{"id":"c1","status":"in_progress"}"#));
    let program = Program::start(&origin, &[]).await;
    let target = format!("{CALL}?wait=status:completed");
    let _waiting = program.get(&target).bearer("a").start();
    program.wait_for_metric("stuut_cache_waiting", 1).await;
    let callers = callers(&program, 0).await;
    assert_eq!((&callers[0]["waiting"], callers.len()), (&1.into(), 1));
}

/// Names are given by a reload: nothing that is stored is lost, and no response is shared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_caller_is_shown_by_name_in_logs_statistics_and_metrics() {
    let origin = Origin::start().await;
    origin.default_reply(Reply::echo());
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it is written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        path.to_str().expect("a path of text").to_owned()
    };
    let key = file("key", "0123456789abcdef".repeat(4));
    let config = |names: &str| format!("[scope]\nkey_file = {key:?}\n[scope.names]\n{names}");
    let path = file("proxy.toml", config(""));
    let program = Program::with_config_file(&origin, path.as_ref()).await;
    program.get(CALL).bearer("a").await.assert_miss();
    let unnamed = callers(&program, 1).await;
    assert_eq!(unnamed[0]["name"], Value::Null);
    let scope = unnamed[0]["scope"].as_str().expect("a scope").to_owned();

    file(
        "proxy.toml",
        config(&format!("{scope} = \"billing\"\n00000001 = \"export\"")),
    );
    program.signal("HUP");
    program
        .wait_for_metric("stuut_cache_config_reloads_total{result=\"applied\"}", 1)
        .await;
    program.get(CALL).bearer("a").await.assert_hit();
    program.get(CALL).bearer("b").await.assert_miss();
    let view = format!("{CALL}?strip=authorization");
    program.get(&view).bearer("a").await.assert_status(200);
    origin.reply("/v1/other", Reply::new(429));
    program
        .get("/v1/other")
        .bearer("a")
        .await
        .assert_status(429);
    let callers = callers(&program, 5).await;
    let billing = &callers[0];
    assert_eq!(
        (&billing["name"], &billing["scope"]),
        (&"billing".into(), &(*scope).into())
    );
    assert_eq!(billing["requests"], 4);
    assert_eq!(billing["origin_requests"], 2);
    assert_eq!(billing["refused"]["429"], 1);
    assert_eq!(billing["views"][0], "strip=authorization");
    assert!(billing["last_seen"].is_u64(), "{billing}");
    let [stranger, export] = &callers[1..] else {
        panic!("three callers: {callers:?}");
    };
    assert_eq!(stranger["name"], Value::Null);
    assert_eq!(
        (&export["name"], &export["last_seen"]),
        (&"export".into(), &Value::Null)
    );

    let series = [
        ("requests_total{caller=\"billing\",outcome=\"hit\"}", 2),
        ("origin_requests_total{caller=\"billing\"}", 1),
        ("refused_total{caller=\"billing\",status=\"429\"}", 1),
        ("refused_total{caller=\"export\",status=\"401\"}", 0),
    ];
    for (series, count) in series {
        let series = format!("stuut_cache_caller_{series}");
        program.wait_for_metric(&series, count).await;
    }
    let metrics = program.admin(Method::GET, "/metrics").await.text();
    assert!(!metrics.contains(&scope), "only names are labels");

    let admin = program.admin.to_string();
    let table = run(&["callers", "--admin", &admin]).await.assert_code(0);
    let line = table
        .stdout
        .lines()
        .find(|line| line.starts_with("billing"));
    let line = line.expect("a line");
    assert!(
        line.contains(&scope) && line.ends_with("strip=authorization"),
        "{line}"
    );
    let json = run(&["callers", "--json", "--admin", &admin]).await;
    let list: Vec<Value> = serde_json::from_str(&json.assert_code(0).stdout).expect("a list");
    assert_eq!(list.len(), 3);

    let log = tokio::task::spawn_blocking(|| program.stop());
    let log = log.await.expect("the program exits");
    let named = log
        .lines()
        .filter(|line| line.contains("\"caller\":\"billing\""));
    let named: Vec<Value> = named
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(named.len(), 3, "{log}");
    assert!(named.iter().all(|line| line["scope"] == *scope), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_put_no_control_characters_on_a_terminal() {
    let origin = Origin::start().await;
    origin.default_reply(Reply::echo());
    let program = Program::start(&origin, &[]).await;
    // The escape character, and the one above ASCII that begins a sequence by itself.
    for view in ["%1B[31mred", "%C2%9B31mred"] {
        let target = format!("{CALL}?strip={view}");
        program.get(&target).bearer("a").await.assert_status(200);
    }
    callers(&program, 2).await;
    let mut texts = Vec::new();
    for target in ["/stats?callers=1", &format!("/explain?path={CALL}")] {
        texts.push(program.admin(Method::GET, target).await.text());
    }
    let admin = program.admin.to_string();
    let flags = ["--admin", &admin];
    for command in [
        &["callers"][..],
        &["callers", "--json"],
        &["explain", CALL],
        &["explain", "--json", CALL],
    ] {
        let ran = run(&[command, &flags].concat()).await.assert_code(0);
        texts.push(ran.stdout.clone());
    }
    for text in texts {
        assert!(text.contains("31mred"), "{text}");
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
}
