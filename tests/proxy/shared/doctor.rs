//! `doctor` checks replicas together.

use http::Method;
use stuut_cache::config::ScopeKey;
use stuut_simulator::demo;
use tempfile::NamedTempFile;

use super::operators::programs;
use crate::support::{CommandOutput, Engine, EngineProgram, Program, run, wait_until};

async fn doctor(programs: &[Program; 2], more: &[&str]) -> CommandOutput {
    let targets = programs.iter().flat_map(|program| {
        let proxy = format!("http://{}", program.address);
        [
            "--proxy".to_owned(),
            proxy,
            "--admin".to_owned(),
            program.admin.to_string(),
        ]
    });
    let targets: Vec<_> = targets.collect();
    let arguments = targets
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied());
    run(&[&["doctor"][..], &arguments.collect::<Vec<_>>()].concat()).await
}

/// Waits until the replicas know each other.
async fn grouped(programs: &[Program; 2]) {
    for program in programs {
        wait_until("the replicas know each other", async || {
            program.admin(Method::GET, "/status").await.json()["shared"]["replicas"] == 2
        })
        .await;
    }
}

/// The checks that fail.
fn failed(output: &CommandOutput) -> Vec<&str> {
    let lines = output.stdout.lines();
    lines
        .filter_map(|line| line.strip_prefix("FAIL")?.split_whitespace().next())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_checks_replicas_together() {
    let test = "doctor_checks_replicas_together";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let key = ScopeKey::random();
    let (programs, files) = programs([&engine; 2], [&key, &key]).await;
    grouped(&programs).await;
    let config = NamedTempFile::new().expect("a temporary file");
    let lines = format!(
        "scope.key_file = {:?}\nshared.url = [{:?}]\n",
        files[0].path(),
        engine.url()
    );
    std::fs::write(config.path(), lines).expect("the file is writable");
    let config = config.path().to_str().expect("a path of text");
    let output = doctor(&programs, &["--strict", "--engine-config", config]).await;
    let output = output.assert_code(0);
    let mut output = output.assert_prints("19 checks passed, 0 failed");
    for line in [
        "ok    group     2 of 2 replicas, in step, with one key",
        "ok    engine    redis 7",
        "ok    together  one fetch for 8 concurrent requests of a token",
        "ok    writes    a write through one replica is seen at every replica",
        "ok    revoked   a token that the origin refuses gets nothing at any replica",
        "ok    dump      no token, id or body in all ",
    ] {
        output = output.assert_prints(line);
    }

    engine.ask::<()>("CONFIG SET maxmemory 100mb").await;
    engine
        .ask::<()>("CONFIG SET maxmemory-policy allkeys-lru")
        .await;
    let leak = format!("SET stuut1:leak {}", demo::CALL);
    engine.ask::<()>(&leak).await;
    let output = doctor(&programs, &["--patience", "0s", "--engine-config", config]).await;
    let output = output
        .assert_code(1)
        .assert_prints("maxmemory-policy is allkeys-lru: allkeys-* evicts the log")
        .assert_prints("the engine has the id of a call in clear under stuut1");
    assert_eq!(failed(&output), ["engine", "dump"]);
}

/// After a split brain, the old primary would accept purges that others do not see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_fails_an_engine_that_a_split_brain_would_divide() {
    let test = "doctor_fails_an_engine_that_a_split_brain_would_divide";
    let Some(path) = EngineProgram::Redis7.path(test) else {
        return;
    };
    let primary = Engine::with(&path, "").await;
    let replica = Engine::with(&path, &format!("replicaof 127.0.0.1 {}", primary.port())).await;
    wait_until("the replica is one", async || {
        let state: String = replica.ask("INFO replication").await;
        state.contains("master_link_status:up")
    })
    .await;
    let key = ScopeKey::random();
    let (programs, _files) = programs([&primary; 2], [&key, &key]).await;
    grouped(&programs).await;
    let output = doctor(&programs, &["--patience", "0s"]).await;
    let output = output
        .assert_code(1)
        .assert_prints("the engine has replicas (1), but no min-replicas-to-write");
    assert_eq!(failed(&output), ["engine"]);
    primary
        .ask::<()>("CONFIG SET min-replicas-to-write 1")
        .await;
    wait_until("the replica counts", async || {
        let state: String = primary.ask("INFO replication").await;
        state.contains("min_slaves_good_slaves:1")
    })
    .await;
    let output = doctor(&programs, &["--patience", "0s"]).await;
    let output = output.assert_code(0);
    output.assert_prints("a primary with 1 replicas");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_fails_replicas_with_different_keys() {
    let test = "doctor_fails_replicas_with_different_keys";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let keys = [ScopeKey::random(), ScopeKey::random()];
    let (programs, _files) = programs([&engine; 2], [&keys[0], &keys[1]]).await;
    let output = doctor(&programs, &["--patience", "0s"]).await;
    let output = output
        .assert_code(1)
        .assert_prints("the replicas have different keys")
        .assert_prints("did not use a response that another replica has stored");
    assert_eq!(failed(&output), ["group", "shared", "together"]);
}

/// Entries, invalidations and refusals of one do not reach the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_fails_replicas_on_different_engines() {
    let test = "doctor_fails_replicas_on_different_engines";
    let start = async || Engine::start(EngineProgram::Redis7, test).await;
    let (Some(one), Some(other)) = (start().await, start().await) else {
        return;
    };
    let key = ScopeKey::random();
    let (programs, _files) = programs([&one, &other], [&key, &key]).await;
    let output = doctor(&programs, &["--patience", "0s"]).await;
    let output = output
        .assert_code(1)
        .assert_prints(
            "the replicas are not one group: is their engine, or shared.prefix, another?",
        )
        .assert_prints("serves a stored response to a token that the origin has refused");
    assert_eq!(
        failed(&output),
        ["group", "shared", "together", "purges", "writes", "revoked"]
    );
    // The same one twice has nothing to share.
    let admin = programs[0].admin.to_string();
    let proxy = format!("http://{}", programs[0].address);
    let twice = ["--proxy", &proxy, "--admin", &admin].repeat(2);
    let output = run(&[&["doctor", "--patience", "0s"][..], &twice].concat()).await;
    output
        .assert_code(1)
        .assert_prints("two of these addresses are one replica");
}
