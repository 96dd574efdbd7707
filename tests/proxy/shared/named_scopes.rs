//! Tokens of a named scope share what any replica has fetched; each gets it only after the origin has
//! sent it to that very token, at each replica.

use http::Method;

use crate::isolation::named_scopes::shared as named;
use crate::support::{Engine, EngineProgram, Proxy, Replicas, Reply};

const CALL: &str = "/v1/calls/c1";

async fn start(test: &str, count: usize) -> Option<Replicas> {
    let engine = Engine::start(EngineProgram::Redis7, test).await?;
    let mut replicas = Replicas::on(engine, 0).await;
    for _ in 0..count {
        replicas.join(named).await;
    }
    replicas.settle().await;
    Some(replicas)
}

async fn is_hit(replica: &Proxy, token: &str) -> bool {
    let response = replica.get(CALL).bearer(token).await;
    response.cache_status().contains("; hit")
}

async fn shared(replica: &Proxy, count: u32) {
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    replica.wait_for_metric(stored, count).await;
}

#[tokio::test]
async fn what_another_replica_has_fetched_is_for_tokens_that_the_origin_admits() {
    let test = "what_another_replica_has_fetched_is_for_tokens_that_the_origin_admits";
    let Some(replicas) = start(test, 2).await else {
        return;
    };
    let origin = &replicas.origin;
    let call = Reply::json("{\"secret\":1}").header("cache-control", "max-age=60");
    origin.reply(CALL, call.validating("\"1\""));
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    shared(&replicas[0], 1).await;

    // Refused: it gets nothing of it.
    origin.refuse("c", 403);
    let refused = replicas[1].get(CALL).bearer("c").await.assert_status(403);
    assert!(!refused.text().contains("secret"));
    // Of another scope: its own copy.
    let other = replicas[1].get(CALL).bearer("x").await.assert_miss();
    other.assert_body("{\"secret\":1}");
    assert_eq!(origin.last_request().header("if-none-match"), None);
    // Admitted by a 304: the body did not come again.
    let admitted = replicas[1].get(CALL).bearer("b").await.assert_status(200);
    admitted.assert_body("{\"secret\":1}");
    let request = origin.last_request();
    assert_eq!(request.header("authorization").as_deref(), Some("Bearer b"));
    assert_eq!(request.header("if-none-match").as_deref(), Some("\"1\""));
    assert!(is_hit(&replicas[1], "b").await);
    origin.assert_requests(4);
    // Each replica admits for itself; "c" is still refused.
    replicas[0].get(CALL).bearer("b").await.assert_status(200);
    replicas[0].get(CALL).bearer("c").await.assert_status(403);
    assert!(is_hit(&replicas[0], "a").await);
    origin.assert_requests(6);
}

#[tokio::test]
async fn a_token_that_one_replica_sees_revoked_loses_its_admission_at_all() {
    let test = "a_token_that_one_replica_sees_revoked_loses_its_admission_at_all";
    let Some(replicas) = start(test, 3).await else {
        return;
    };
    let origin = &replicas.origin;
    let call = Reply::json("{\"secret\":1}").header("cache-control", "max-age=60");
    origin.reply(CALL, call.validating("\"1\""));
    for token in ["a", "b"] {
        for replica in replicas.iter() {
            replica.get(CALL).bearer(token).await.assert_status(200);
            assert!(is_hit(replica, token).await, "{token}");
        }
    }
    origin.refuse("a", 401);
    let other = replicas[0].get("/v1/calls/c2").bearer("a");
    replicas.answered(other).await.assert_status(401);
    for replica in replicas.iter() {
        let refused = replica.get(CALL).bearer("a").await.assert_status(401);
        assert!(!refused.text().contains("secret"));
        assert!(is_hit(replica, "b").await, "the other token stays admitted");
    }
}

#[tokio::test]
async fn a_purge_or_a_write_by_one_token_is_for_its_whole_scope_at_every_replica() {
    let test = "a_purge_or_a_write_by_one_token_is_for_its_whole_scope_at_every_replica";
    let Some(replicas) = start(test, 2).await else {
        return;
    };
    let origin = &replicas.origin;
    for is_purge in [true, false] {
        origin.reply(CALL, Reply::echo());
        for token in ["a", "b"] {
            for replica in replicas.iter() {
                replica.get(CALL).bearer(token).await.assert_status(200);
            }
        }
        let known = origin.requests().len();
        if is_purge {
            replicas.purge(0, "call=c1").await;
        } else {
            let write = replicas[0].request(Method::PATCH, CALL).bearer("a");
            replicas.answered(write).await.assert_status(200);
        }
        for token in ["b", "a"] {
            for replica in replicas.iter().rev() {
                let response = replica.get(CALL).bearer(token).await.assert_status(200);
                let number = response.json()["number"].as_u64().expect("a number");
                assert!(number > u64::try_from(known).expect("small"), "{token}");
            }
        }
    }
}
