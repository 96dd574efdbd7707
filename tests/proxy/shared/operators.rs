//! Operators see the state of the shared level.

use std::io::Write as _;

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use stuut_cache::config::ScopeKey;
use stuut_simulator::{Options, Simulator, demo, serve};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use crate::support::{Engine, EngineProgram, Page, Program, Replicas, Reply, wait_until};

const CALL: &str = "/v1/calls/c1";

#[tokio::test]
async fn the_status_has_the_group_and_the_engine() {
    let test = "the_status_has_the_group_and_the_engine";
    let Some(mut replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let [one, other] = [0, 1].map(|n| replicas[n].admin(Method::GET, "/status"));
    let [one, other] =
        [one.await.json(), other.await.json()].map(|status| status["shared"].clone());
    assert_eq!(one["state"], "in_step", "{one}");
    assert_eq!(one["replicas"], 2);
    assert_eq!(one["queued"], 0);
    assert!(one["lease_left_ms"].as_u64() > Some(0), "{one}");
    assert!(one["reachable_seconds"].is_u64(), "{one}");
    for field in ["key", "members", "replicas"] {
        assert_eq!(one[field], other[field], "{field}");
    }
    assert_ne!(one["member"], other["member"]);
    let engine = &one["engine"];
    assert!(
        engine["version"]
            .as_str()
            .is_some_and(|text| text.starts_with("redis ")),
        "{one}"
    );
    assert_eq!(engine["role"], "master");
    assert_eq!(engine["eviction_policy"], "noeviction");
    let stats = replicas[0].admin(Method::GET, "/stats").await.json();
    assert_eq!(stats["shared"]["state"], "in_step");
    assert!(stats["shared"]["engine"].is_null(), "{stats}");

    replicas.engine.kill();
    replicas[0].advance_seconds(5);
    let read = async || replicas[0].admin(Method::GET, "/status").await.json();
    wait_until("the replica is alone", async || {
        let shared = read().await["shared"].clone();
        shared["state"] == "alone" && shared["reachable_seconds"].is_null()
    })
    .await;
    let alone = read().await["shared"].clone();
    assert_eq!(alone["lease_left_ms"], 0, "{alone}");
    assert!(alone["engine"]["error"].is_string(), "{alone}");
}

#[tokio::test]
async fn explain_says_whether_the_shared_level_has_a_response_and_why_it_is_not_used() {
    let test = "explain_says_whether_the_shared_level_has_a_response";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let explain = async |path: &str| {
        let explained = replicas[0].admin(Method::GET, &format!("/explain?path={path}"));
        explained.await.assert_status(200).json()
    };
    let is_at = async |text: &str| {
        wait_until(text, async || {
            explain(CALL).await["stored"][0]["shared"] == text
        })
        .await;
    };
    replicas.origin.default_reply(Reply::echo());
    let empty = explain(CALL).await;
    let summary = empty["summary"].as_str().unwrap_or_default();
    assert!(summary.contains("another replica"), "{empty}");
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    is_at("stored there").await;

    // Both stores keep what a purge of it has made unusable, until they are swept.
    let keys = replicas.engine.ask::<Vec<String>>("KEYS *:e").await;
    let [key] = &keys[..] else {
        panic!("one entry: {keys:?}");
    };
    let entry: Vec<u8> = replicas
        .engine
        .send(&[b"GET", key.as_bytes()])
        .await
        .expect("an entry");
    let purged = replicas[1].admin(Method::POST, "/purge?call=c1").await;
    assert_eq!(purged.assert_status(200).json()["confirmed"], 2);
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    is_at("stored there").await;
    replicas
        .engine
        .send::<()>(&[b"SET", key.as_bytes(), &entry])
        .await
        .expect("it is set");
    is_at("stored there, and not used: invalidated since").await;
    let mut other_era = entry.clone();
    other_era[1] ^= 1;
    replicas
        .engine
        .send::<()>(&[b"SET", key.as_bytes(), &other_era])
        .await
        .expect("it is set");
    is_at("stored there, and not used: it is from before the log began anew").await;
    replicas
        .engine
        .send::<()>(&[b"SET", key.as_bytes(), b"\x02"])
        .await
        .expect("it is set");
    is_at("stored there by another version: not used").await;
    replicas
        .engine
        .send::<()>(&[b"DEL", key.as_bytes()])
        .await
        .expect("it is removed");
    is_at("not stored there").await;
}

#[tokio::test]
async fn each_of_many_purges_counts_what_it_has_invalidated_itself() {
    let test = "each_of_many_purges_counts_what_it_has_invalidated_itself";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    let call = |n: u32| format!("/v1/calls/c{n}");
    for (n, replica) in (0..24).flat_map(|n| replicas.iter().map(move |one| (n, one))) {
        replica.get(&call(n)).bearer("a").await.assert_status(200);
    }
    // Writes, of which most responses are not swept yet: that is done once a second.
    for n in 12..24 {
        let write = replicas[0].request(Method::PATCH, &call(n)).bearer("a");
        write.await.assert_status(200);
    }
    let purges = (0..12).map(async |n| {
        let purge = replicas[0].admin(Method::POST, &format!("/purge?call=c{n}"));
        purge.await.assert_status(200).json()
    });
    for purge in join_all(purges).await {
        assert_eq!(purge["stored"], 1, "{purge}");
        let others = purge["others"].as_object().expect("counts");
        assert!(others.values().eq([&Value::from(1)]), "{purge}");
    }
    let all = replicas[0].admin(Method::POST, "/purge?all").await.json();
    assert_eq!(all["stored"], 0, "{all}");
}

/// Two programs in front of one simulated API; each with its own engine or key if these differ.
pub async fn programs(
    engines: [&Engine; 2],
    keys: [&ScopeKey; 2],
) -> ([Program; 2], [NamedTempFile; 2]) {
    let listener = stuut_cache::server::listen("the simulator", ([127, 0, 0, 1], 0).into());
    let listener = listener.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let options = Options {
        latency: std::time::Duration::from_millis(80),
        ..Options::default()
    };
    let simulator = Simulator::new(options, std::time::SystemTime::now);
    tokio::spawn(serve(listener, simulator, CancellationToken::new()));
    let files = keys.map(|key| {
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(key.hex().as_bytes())
            .expect("the file is writable");
        file
    });
    let start = async |engine: &Engine, file: &NamedTempFile| {
        let engine = engine.url();
        let path = file.path().to_str().expect("a path of text");
        let variables = [
            ("SHARED__URL", engine.as_str()),
            // A busy machine must not make an operation fail.
            ("SHARED__TIMEOUT", "900ms"),
            ("SCOPE__KEY_FILE", path),
            ("FRESHNESS__SETTLING", "2s"),
        ];
        Program::in_front_of(&url, &variables).await
    };
    let programs = [
        start(engines[0], &files[0]).await,
        start(engines[1], &files[1]).await,
    ];
    (programs, files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_shows_the_state_of_the_shared_level() {
    let test = "the_dashboard_shows_the_state_of_the_shared_level";
    let (Some(mut page), Some(mut engine)) = (
        Page::open(test),
        Engine::start(EngineProgram::Redis7, test).await,
    ) else {
        return;
    };
    let key = ScopeKey::random();
    let (programs, _files) = programs([&engine; 2], [&key, &key]).await;
    programs[0]
        .get(&format!("/v1/calls/{}", demo::CALL))
        .bearer(demo::TOKEN)
        .await
        .assert_miss();
    page.navigate(&format!("http://{}/", programs[0].admin));
    page.wait_until("document.querySelector('#shared-state').innerText === 'in step'");
    page.wait_until("document.querySelector('#shared-more').innerText.startsWith('2 replicas')");
    // Each replica reports of itself: the request was at one of the two.
    page.wait_until("document.querySelectorAll('#replicas tr').length === 2");
    page.wait_until("document.querySelector('#replicas').innerText.includes('0 %')");
    let own = "[...document.querySelectorAll('#replicas th')].filter(it => it.innerText.includes('this replica')).length";
    assert_eq!(page.evaluate(own), 1);
    for (name, width, scheme) in [
        ("shared-light", 1_280, "light"),
        ("shared-dark", 1_280, "dark"),
        ("shared-phone", 390, "dark"),
    ] {
        page.set_window(width, 900, scheme);
        let wide = page.evaluate("document.documentElement.scrollWidth");
        assert_eq!(
            wide,
            serde_json::json!(width),
            "{name}: it scrolls horizontally"
        );
        page.screenshot(name);
    }
    // A replica that is frozen does not replace what another program writes in the place of its report.
    programs[1].freeze().await;
    let status = programs[0].admin(Method::GET, "/status").await.json();
    let members = status["shared"]["members"].as_array().expect("members");
    let own = &status["shared"]["member"];
    let other = members.iter().find(|member| *member != own);
    let other = other.and_then(Value::as_str).expect("another member");
    let names: Vec<String> = engine.ask(&format!("KEYS *:report:{other}")).await;
    let big = "x".repeat(1 << 20);
    let long = format!("{{\"host\":\"{big}\"}}");
    for value in [
        "\u{1}garbage",
        "[]",
        "{}",
        r#"{"host":{"a":1},"last_minute":{"hit_seconds":{"p50":"x"}}}"#,
        &big,
        &long,
    ] {
        let set = [&b"SET"[..], names[0].as_bytes(), value.as_bytes()];
        engine.send::<()>(&set).await.expect("it is set");
        let status = programs[0].admin(Method::GET, "/status").await.json();
        let reports = status["shared"]["reports"].as_array().expect("reports");
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert_eq!(reports[0]["member"], *own);
    }
    page.wait_until("document.querySelectorAll('#replicas tr').length === 1");
    assert_eq!(page.text("#shared-state"), "in step");
    programs[1].signal("CONT");
    page.wait_until("document.querySelectorAll('#replicas tr').length === 2");
    engine.kill();
    page.wait_until("document.querySelector('#shared-state').innerText === 'alone'");
    page.wait_until("document.querySelector('#attention').innerText.includes('does not answer')");
    assert_eq!(page.console_errors(), Vec::<String>::new());
}
