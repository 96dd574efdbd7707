//! Responses of one replica, served by another.

use std::time::Duration;

use http::Method;

use crate::support::{Engine, EngineProgram, Replicas, Reply, in_step, wait_until};

const CALL: &str = "/v1/calls/c1";

/// Waits until a replica has shared this many responses.
async fn shared(replicas: &Replicas, number: usize, count: u32) {
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    replicas[number].wait_for_metric(stored, count).await;
}

#[tokio::test]
async fn a_response_is_fetched_once_for_all_replicas_on_each_engine() {
    let test = "a_response_is_fetched_once_for_all_replicas_on_each_engine";
    for program in EngineProgram::ALL {
        let Some(engine) = Engine::start(program, test).await else {
            continue;
        };
        let replicas = Replicas::on(engine, 3).await;
        let origin = &replicas.origin;
        let body = r#"{"status":"completed","transcript":"my number is 555-0100"}"#;
        origin.reply(CALL, Reply::json(body).header("etag", "\"v1\""));
        replicas[0]
            .get(CALL)
            .bearer("secret-token")
            .await
            .assert_miss();
        shared(&replicas, 0, 1).await;
        for other in &replicas[1..] {
            let hit = other.get(CALL).bearer("secret-token").await;
            let status = hit.cache_status();
            assert!(status.ends_with("; detail=shared"), "{program:?}: {status}");
            let hit = hit.assert_hit().assert_body(body);
            hit.assert_header("etag", "\"v1\"")
                .assert_header("age", "0");
            // From now on from its memory.
            let hit = other.get(CALL).bearer("secret-token").await.assert_hit();
            assert!(!hit.cache_status().contains("shared"));
        }
        // A view is derived at each replica.
        let view = format!("{CALL}?fields=status");
        let view = replicas[2].get(&view).bearer("secret-token").await;
        view.assert_hit().assert_body(r#"{"status":"completed"}"#);
        origin.assert_requests(1);

        let dump = replicas.engine.dump().await;
        for secret in ["secret-token", "555-0100", "calls", "completed", "etag"] {
            let found = dump
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{program:?}: the engine holds {secret:?}");
        }
    }
}

#[tokio::test]
async fn a_response_is_for_its_own_token_and_target_only() {
    let test = "a_response_is_for_its_own_token_and_target_only";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    shared(&replicas, 0, 1).await;
    for (target, token) in [
        (CALL, "b"),
        ("/v1/calls/c2", "a"),
        ("/v1/calls/c1?expand=x", "a"),
        ("/v1/calls/c1?", "a"),
        ("/v1/calls/%631", "a"),
    ] {
        let response = replicas[1].get(target).bearer(token).await.assert_miss();
        let body = response.json();
        assert_eq!(body["target"], target);
        assert_eq!(body["authorization"], format!("Bearer {token}"));
    }
    // Another spelling of the credential is another key.
    let other = replicas[1].get(CALL).header("authorization", "bearer a");
    assert_eq!(
        other.await.assert_miss().json()["authorization"],
        "bearer a"
    );
    replicas[1].get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn the_age_counts_from_the_fetch_at_the_other_replica() {
    let test = "the_age_counts_from_the_fetch_at_the_other_replica";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let reply = Reply::json("{}").header("cache-control", "max-age=60");
    replicas.origin.reply(CALL, reply);
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    shared(&replicas, 0, 1).await;
    replicas[1].advance_seconds(20);
    in_step(&replicas[1]).await;
    let hit = replicas[1].get(CALL).bearer("a").await;
    hit.assert_hit().assert_header("age", "20");
    replicas[1].advance_seconds(41);
    in_step(&replicas[1]).await;
    let stale = replicas[1].get(CALL).bearer("a").await;
    assert!(
        stale.cache_status().contains("fwd=stale"),
        "{}",
        stale.cache_status()
    );
}

#[tokio::test]
async fn a_stale_response_of_another_replica_is_revalidated() {
    let test = "a_stale_response_of_another_replica_is_revalidated";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let reply = Reply::json("{}").header("cache-control", "max-age=10, stale-while-revalidate=0");
    let reply = reply.validating("\"v1\"");
    replicas.origin.reply(CALL, reply);
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    shared(&replicas, 0, 1).await;
    replicas[1].advance_seconds(11);
    in_step(&replicas[1]).await;
    let renewed = replicas[1].get(CALL).bearer("a").await.assert_status(200);
    assert!(
        renewed.cache_status().contains("fwd-status=304"),
        "{}",
        renewed.cache_status()
    );
    shared(&replicas, 1, 1).await;
}

#[tokio::test]
async fn a_response_that_is_not_stored_is_not_shared() {
    let test = "a_response_that_is_not_stored_is_not_shared";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    for (call, reply) in [
        (
            "/v1/calls/private",
            Reply::json("{}").header("cache-control", "no-store"),
        ),
        (
            "/v1/calls/cookie",
            Reply::json("{}").header("set-cookie", "a=b"),
        ),
        ("/v1/calls/failure", Reply::new(500)),
        ("/v1/calls/refused", Reply::new(403)),
    ] {
        replicas.origin.reply(call, reply);
        for replica in replicas.iter() {
            let response = replica.get(call).bearer("a").await;
            assert!(response.cache_status().contains("fwd=miss"), "{call}");
        }
    }
    replicas.origin.assert_requests(8);
    let keys: Vec<String> = replicas.engine.ask("KEYS *:e").await;
    assert_eq!(keys, [""; 0]);
}

#[tokio::test]
async fn a_restarted_replica_hits_what_was_fetched_before() {
    let test = "a_restarted_replica_hits_what_was_fetched_before";
    let Some(mut replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    for call in 0..20 {
        let target = format!("/v1/calls/c{call}");
        replicas[0].get(&target).bearer("a").await.assert_miss();
    }
    shared(&replicas, 0, 20).await;
    replicas[1]
        .admin(Method::POST, "/purge?call=c7")
        .await
        .assert_status(200);
    replicas.take(0).stop().await;
    let restarted = replicas.join(|_| {}).await;
    replicas.settle().await;
    for call in 0..20 {
        let target = format!("/v1/calls/c{call}");
        let response = replicas[restarted].get(&target).bearer("a").await;
        if call == 7 {
            response.assert_miss();
        } else {
            response.assert_hit();
        }
    }
}

#[tokio::test]
async fn without_an_engine_a_replica_answers_alone() {
    let test = "without_an_engine_a_replica_answers_alone";
    let Some(mut replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    replicas[0].get(CALL).bearer("a").await.assert_hit();
    replicas.engine.kill();
    let alone = &replicas[0];
    alone.advance(Duration::from_millis(2_100));
    // A response from the time of the lease is not used after it.
    alone.get(CALL).bearer("a").await.assert_miss();
    alone.get(CALL).bearer("a").await.assert_hit();
    alone.advance(Duration::from_millis(2_100));
    alone.get(CALL).bearer("a").await.assert_miss();
    replicas.engine.restart().await;
    wait_until("the replica is in step again", async || {
        replicas[0].metric("stuut_cache_shared_state").await == 0.0
    })
    .await;
    // Another era: nothing from before is used.
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    replicas[0].get(CALL).bearer("a").await.assert_hit();
}

/// The engine still had an older response after a newer one that must not be stored.
#[tokio::test]
async fn a_newer_response_that_is_not_stored_supersedes_the_shared_one() {
    let test = "a_newer_response_that_is_not_stored_supersedes_the_shared_one";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.reply(CALL, Reply::json("{}"));
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    shared(&replicas, 0, 1).await;
    let newer = Reply::json(r#"{"new":1}"#).header("cache-control", "no-store");
    replicas.origin.reply(CALL, newer);
    let renewed = replicas[0].get(CALL).bearer("a");
    let renewed = renewed.header("cache-control", "no-cache").await;
    renewed.assert_body(r#"{"new":1}"#);
    wait_until("the entry is removed", async || {
        let keys: Vec<String> = replicas.engine.ask("KEYS *:e").await;
        keys.is_empty()
    })
    .await;
    for replica in replicas.iter() {
        let response = replica.get(CALL).bearer("a").await;
        response.assert_body(r#"{"new":1}"#);
    }
}

/// A shared 404 made an invented token an accepted one at the other replica.
#[tokio::test]
async fn a_shared_error_is_no_proof_of_acceptance() {
    let test = "a_shared_error_is_no_proof_of_acceptance";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.reply(CALL, Reply::new(404).body("{}"));
    replicas[0]
        .get(CALL)
        .bearer("invented")
        .await
        .assert_status(404);
    shared(&replicas, 0, 1).await;
    let found = replicas[1].get(CALL).bearer("invented").await;
    assert!(
        found.cache_status().contains("detail=shared"),
        "{}",
        found.cache_status()
    );
    let accepted = replicas[1].metric("stuut_cache_accepted_scopes").await;
    assert_eq!(accepted.to_string(), "0");
}
