//! Failures of the engine and of replicas. Each story counts what a client gets: the origin numbers its
//! responses, so that one from before an invalidation has a lower number.

mod failover;
mod loss;
mod processes;
mod tampering;
mod unreachable;

use crate::support::{Origin, Proxy, Replicas, in_step};

const CALL: &str = "/v1/calls/c1";

/// The number of the response that a client gets.
async fn version(replica: &Proxy) -> usize {
    let response = replica.get(CALL).bearer("a").await.assert_status(200);
    let body = response.json();
    assert_eq!(body["target"], CALL);
    assert_eq!(body["authorization"], "Bearer a");
    let number = body["number"].as_u64().expect("a number");
    usize::try_from(number).expect("a small one")
}

/// Stores the call at every replica.
async fn store<E>(replicas: &Replicas<E>) {
    for replica in replicas.iter() {
        replica.get(CALL).bearer("a").await.assert_status(200);
        replica.get(CALL).bearer("a").await.assert_hit();
    }
}

/// The number of the latest response: an invalidation from now on concerns it.
fn latest(origin: &Origin) -> usize {
    origin.requests().len()
}

/// Asserts that no replica serves that response or an earlier one.
#[track_caller]
fn assert_newer(versions: &[usize], than: usize, what: &str) {
    let is_newer = versions.iter().all(|version| *version > than);
    assert!(is_newer, "{what}: {versions:?}, invalidated: {than}");
}

async fn versions<E>(replicas: &Replicas<E>) -> Vec<usize> {
    let mut versions = Vec::new();
    for replica in replicas.iter() {
        versions.push(version(replica).await);
    }
    versions
}

/// The sum of the counters of lookups with these results.
async fn lookups(replica: &Proxy, results: &[&str]) -> f64 {
    let mut sum = 0.0;
    for result in results {
        let series = format!("stuut_cache_shared_lookups_total{{result=\"{result}\"}}");
        sum += replica.metric(&series).await;
    }
    sum
}

/// Waits until a replica has shared this many responses.
async fn shared(replica: &Proxy, count: u32) {
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    replica.wait_for_metric(stored, count).await;
}

async fn all_in_step<E>(replicas: &Replicas<E>) {
    for replica in replicas.iter() {
        in_step(replica).await;
    }
}
