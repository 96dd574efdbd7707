//! `doctor` checks replicas together.

use http::Method;
use stuut_cache::config::ScopeKey;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_checks_replicas_together() {
    let test = "doctor_checks_replicas_together";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let key = ScopeKey::random();
    let (programs, _files) = programs(&engine, [&key, &key]).await;
    for program in &programs {
        wait_until("the replicas know each other", async || {
            program.admin(Method::GET, "/status").await.json()["shared"]["replicas"] == 2
        })
        .await;
    }
    let output = doctor(&programs, &["--strict"]).await;
    let output = output
        .assert_code(0)
        .assert_prints("15 checks passed, 0 failed");
    let group = "2 of 2 replicas, in step, with one key, on redis 7";
    let output = output.assert_prints(group);
    output.assert_prints("a write through one replica is seen at every replica");

    engine.ask::<()>("CONFIG SET maxmemory 100mb").await;
    engine
        .ask::<()>("CONFIG SET maxmemory-policy allkeys-lru")
        .await;
    let output = doctor(&programs, &[]).await;
    output
        .assert_code(1)
        .assert_prints("maxmemory-policy is allkeys-lru");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_fails_replicas_with_different_keys() {
    let test = "doctor_fails_replicas_with_different_keys";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let keys = [ScopeKey::random(), ScopeKey::random()];
    let (programs, _files) = programs(&engine, [&keys[0], &keys[1]]).await;
    let output = doctor(&programs, &[]).await;
    let output = output
        .assert_code(1)
        .assert_prints("the replicas have different keys");
    output.assert_prints("did not use a response that another replica has stored");
}
