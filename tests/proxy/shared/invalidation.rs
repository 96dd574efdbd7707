//! What is invalidated at one replica is not served by another once that has been answered.

use std::time::Duration;

use http::Method;

use crate::support::{Proxy, Replicas, Reply};

const CALL: &str = "/v1/calls/c1";

/// Stores the call at every replica; the origin answers with its number of requests.
async fn store(replicas: &Replicas, token: &str) {
    replicas.origin.default_reply(Reply::echo());
    for replica in replicas.iter() {
        replica.get(CALL).bearer(token).await.assert_status(200);
        replica.get(CALL).bearer(token).await.assert_hit();
    }
}

async fn is_hit(replica: &Proxy, token: &str) -> bool {
    let response = replica.get(CALL).bearer(token).await;
    response.cache_status().contains("; hit")
}

#[tokio::test]
async fn after_a_purge_no_replica_has_what_was_purged() {
    let test = "after_a_purge_no_replica_has_what_was_purged";
    let Some(replicas) = Replicas::start(test, 3).await else {
        return;
    };
    for query in [
        "call=c1",
        "path=/v1/calls/c1",
        "path=/v1/calls",
        "path=/v1",
        "path=/",
        "all",
    ] {
        store(&replicas, "a").await;
        let requests = replicas.origin.requests().len();
        let purge = replicas[0]
            .admin(Method::POST, &format!("/purge?{query}"))
            .await;
        let purge = purge.assert_status(200).json();
        assert_eq!(purge["replicas"], 3, "{purge}");
        assert_eq!(purge["confirmed"], 3, "{purge}");
        assert_eq!(purge["queued"], 0, "{purge}");
        assert!(purge["ms"].is_u64(), "{purge}");
        assert!(!is_hit(&replicas[1], "a").await, "{query}");
        // The others share that newer response.
        assert!(replicas.origin.requests().len() > requests);
    }
}

#[tokio::test]
async fn a_purge_of_a_scope_is_for_that_scope_at_every_replica() {
    let test = "a_purge_of_a_scope_is_for_that_scope_at_every_replica";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    store(&replicas, "a").await;
    store(&replicas, "b").await;
    let explained = replicas[0]
        .admin(Method::GET, &format!("/explain?path={CALL}"))
        .await
        .json();
    let scope = explained["stored"][0]["scope"]
        .as_str()
        .expect("a scope")
        .to_owned();
    let purge = replicas[0]
        .admin(Method::POST, &format!("/purge?scope={scope}"))
        .await;
    assert_eq!(purge.assert_status(200).json()["confirmed"], 2);
    let hits = [
        is_hit(&replicas[1], "a").await,
        is_hit(&replicas[1], "b").await,
    ];
    assert_eq!(hits.iter().filter(|hit| **hit).count(), 1, "{hits:?}");
}

#[tokio::test]
async fn a_write_through_one_replica_is_read_at_another() {
    let test = "a_write_through_one_replica_is_read_at_another";
    let Some(replicas) = Replicas::start(test, 3).await else {
        return;
    };
    for (method, target, status) in [
        (Method::PATCH, CALL, 200),
        (Method::POST, "/v1/calls/c1/approve", 200),
        (Method::POST, "/v1/calls/c1:approve", 204),
        (Method::PUT, "/v1/calls", 200),
        (Method::DELETE, "/v1/%63alls/c1", 204),
    ] {
        store(&replicas, "a").await;
        replicas.origin.reply(target, Reply::new(status));
        let write = replicas[0]
            .request(method.clone(), target)
            .bearer("a")
            .body("{}");
        write.await.assert_status(status);
        for other in &replicas[1..] {
            assert!(!is_hit(other, "a").await, "{method} {target}");
            // For a moment after the write nothing is stored.
            assert!(!is_hit(other, "a").await, "{method} {target}");
        }
        for replica in replicas.iter() {
            replica.advance(Duration::from_millis(1_100));
        }
        replicas.origin.reply(target, Reply::echo());
    }
}

#[tokio::test]
async fn a_token_refused_at_one_replica_is_refused_at_all() {
    let test = "a_token_refused_at_one_replica_is_refused_at_all";
    let Some(replicas) = Replicas::start(test, 3).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    // The first replica has never seen it.
    replicas[1].get(CALL).bearer("a").await.assert_miss();
    replicas[2].get(CALL).bearer("a").await.assert_hit();
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    replicas[1].wait_for_metric(stored, 1).await;
    replicas.origin.refuse("a", 401);
    replicas[0]
        .get("/v1/calls/c2")
        .bearer("a")
        .await
        .assert_status(401);
    for replica in replicas.iter() {
        replica.get(CALL).bearer("a").await.assert_status(401);
    }
    // An invented token announces nothing.
    let announced = replicas[0]
        .metric("stuut_cache_shared_announced_total{concern=\"scope\"}")
        .await;
    replicas.origin.refuse("invented", 401);
    replicas[0]
        .get(CALL)
        .bearer("invented")
        .await
        .assert_status(401);
    let after = replicas[0]
        .metric("stuut_cache_shared_announced_total{concern=\"scope\"}")
        .await;
    assert_eq!(announced.to_string(), after.to_string());
}

#[tokio::test]
async fn a_resource_refused_at_one_replica_is_refused_at_all() {
    let test = "a_resource_refused_at_one_replica_is_refused_at_all";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    store(&replicas, "a").await;
    replicas.origin.reply(CALL, Reply::new(403));
    let revalidated = replicas[0]
        .get(CALL)
        .bearer("a")
        .header("cache-control", "no-cache");
    revalidated.await.assert_status(403);
    replicas[1].get(CALL).bearer("a").await.assert_status(403);
}

#[tokio::test]
async fn a_frozen_replica_answers_nothing_from_before_a_purge() {
    let test = "a_frozen_replica_answers_nothing_from_before_a_purge";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    store(&replicas, "a").await;
    // A replica that does not beat for longer than its lease, by its own clock.
    replicas[1].advance_seconds(3);
    let frozen = replicas[1].get(CALL).bearer("a").start();
    let purge = replicas[0].admin(Method::POST, "/purge?call=c1").await;
    assert_eq!(purge.assert_status(200).json()["replicas"], 2);
    drop(frozen);
    assert!(!is_hit(&replicas[1], "a").await);
}
