//! Requests that wait for a change of a call at several replicas.

use futures_util::future::join;
use http::Method;
use stuut_cache::config::Freshness;

use crate::support::{Engine, EngineProgram, Proxy, Replicas, Reply, Response};

const CALL: &str = "/v1/calls/c1";

fn call(status: &str, summary: &str) -> Reply {
    Reply::json(&format!(r#"{{"status":"{status}","summary":"{summary}"}}"#))
}

/// Two replicas with the default rules of freshness: a live call is polled every two seconds.
async fn start(test: &str) -> Option<Replicas> {
    let engine = Engine::start(EngineProgram::chosen(), test).await?;
    let mut replicas = Replicas::on(engine, 0).await;
    for _ in 0..2 {
        let change = |config: &mut stuut_cache::config::Config| {
            config.freshness = Freshness::default();
        };
        replicas.join(change).await;
    }
    replicas.settle().await;
    Some(replicas)
}

/// A request that waits at each replica.
async fn wait_at_both(replicas: &Replicas) -> impl Future<Output = (Response, Response)> {
    let waiting = |replica: &Proxy| {
        let request = replica.get(&format!("{CALL}?wait=change"));
        request.bearer("a").start().into_future()
    };
    let both = join(waiting(&replicas[0]), waiting(&replicas[1]));
    for replica in replicas.iter() {
        replica.wait_for_metric("stuut_cache_waiting", 1).await;
    }
    both
}

#[track_caller]
fn assert_changed((one, other): (Response, Response), summary: &str) {
    for response in [one, other] {
        let field = response.header("stuut-cache-wait").unwrap_or_default();
        assert!(field.starts_with("changed;"), "{response}");
        assert_eq!(response.json()["summary"], summary);
    }
}

#[tokio::test]
async fn the_pollers_of_all_replicas_send_what_one_would() {
    let test = "the_pollers_of_all_replicas_send_what_one_would";
    let Some(replicas) = start(test).await else {
        return;
    };
    replicas.origin.reply(CALL, call("in_progress", "a"));
    let both = wait_at_both(&replicas).await;
    replicas.origin.assert_requests(1);
    replicas.origin.reply(CALL, call("in_progress", "b"));
    assert_changed(replicas.ended(both).await, "b");
    replicas.origin.assert_requests(2);
}

#[tokio::test]
async fn a_write_at_one_replica_wakes_those_that_wait_at_another() {
    let test = "a_write_at_one_replica_wakes_those_that_wait_at_another";
    let Some(replicas) = start(test).await else {
        return;
    };
    // Polled every ten seconds.
    replicas.origin.reply(CALL, call("completed", "a"));
    let both = wait_at_both(&replicas).await;
    let began = replicas[1].clock.mono();
    replicas.origin.reply(CALL, call("completed", "b"));
    let write = replicas[0]
        .request(Method::PATCH, CALL)
        .bearer("a")
        .body("{}");
    replicas.answered(write).await.assert_status(200);
    assert_changed(replicas.ended(both).await, "b");
    let took = replicas[1].clock.mono().saturating_sub(began);
    assert!(took.as_secs() < 10, "{took:?} on the clock of the test");
}
