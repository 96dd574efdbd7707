//! What is invalidated at one replica is not served by another once that has been answered.

use std::time::Duration;

use http::Method;
use stuut_cache::config::OriginUrl;

use crate::support::{Engine, EngineProgram, Proxy, RawOrigin, Replicas, Reply, in_step};

const CALL: &str = "/v1/calls/c1";
const POST: &str =
    "POST /v1/calls/c1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer w\r\ncontent-length: 0\r\n\r\n";

/// Stores the call at every replica; the origin answers with its number of requests.
async fn store(replicas: &Replicas, token: &str) {
    replicas.origin.default_reply(Reply::echo());
    for replica in replicas.iter() {
        replica.get(CALL).bearer(token).await.assert_status(200);
        replica.get(CALL).bearer(token).await.assert_hit();
    }
}

/// Two replicas in front of an origin whose bytes the test sends.
async fn on_raw_origin(engine: Engine) -> (Replicas, RawOrigin) {
    let origin = RawOrigin::start().await;
    let url = OriginUrl::parse(&origin.url()).expect("a URL");
    let mut replicas = Replicas::on(engine, 0).await;
    for _ in 0..2 {
        replicas
            .join(|config| config.upstream.url = url.clone())
            .await;
    }
    replicas.settle().await;
    (replicas, origin)
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
        assert_eq!(purge["queued"], false, "{purge}");
        assert!(purge["ms"].is_u64(), "{purge}");
        assert_eq!(purge["stored"], 1, "{purge}");
        assert_eq!(counts(&purge), [1, 1], "{purge}");
        assert!(!is_hit(&replicas[1], "a").await, "{query}");
        // The others share that newer response.
        assert!(replicas.origin.requests().len() > requests);
    }
}

/// The responses that the other replicas had stored of what was purged.
fn counts(purge: &serde_json::Value) -> Vec<u64> {
    let others = purge["others"].as_object().expect("counts");
    others
        .values()
        .filter_map(serde_json::Value::as_u64)
        .collect()
}

#[tokio::test]
async fn each_purge_has_its_own_counts_and_a_write_has_none() {
    let test = "each_purge_has_its_own_counts_and_a_write_has_none";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let purge = async |query: &str| {
        let purge = replicas[0].admin(Method::POST, &format!("/purge?{query}"));
        counts(&purge.await.assert_status(200).json())
    };
    let keys = async || replicas.engine.ask::<Vec<String>>("KEYS *:count:*").await;
    store(&replicas, "a").await;
    store(&replicas, "b").await;
    let write = replicas[0]
        .request(Method::PATCH, "/v1/calls/c2")
        .bearer("a");
    write.await.assert_status(200);
    assert_eq!(keys().await, [""; 0]);
    assert_eq!(purge("call=other").await, [0]);
    assert_eq!(purge("call=c1").await, [2]);
    // Not the counts of the purge before.
    assert_eq!(purge("call=c1").await, [0]);
    // Names reveal no path; hex digits may be any.
    let names = keys().await;
    assert!(!names.is_empty() && names.iter().all(|name| !name.contains("calls")));
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
}

/// Invented tokens cost the other replicas little, and hide no refusal of a real one.
#[tokio::test]
async fn few_refusals_of_unknown_tokens_are_announced() {
    let test = "few_refusals_of_unknown_tokens_are_announced";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    replicas[1].get(CALL).bearer("a").await.assert_miss();
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    replicas[1].wait_for_metric(stored, 1).await;
    for (number, status) in (0..120).zip([401, 403].into_iter().cycle()) {
        let token = format!("invented{number}");
        replicas.origin.refuse(&token, status);
        let refused = replicas[0].get(&format!("/v1/calls/i{number}"));
        refused.bearer(&token).await.assert_status(status);
    }
    let redirected = Reply::new(303).header("location", "/v1/calls");
    replicas.origin.reply("/v1/calls/c3", redirected);
    let write = replicas[0].request(Method::POST, "/v1/calls/c3");
    write.bearer("invented").await.assert_status(303);
    let mut announced = 0.0;
    for concern in ["paths", "resource", "scope"] {
        let series = format!("stuut_cache_shared_announced_total{{concern=\"{concern}\"}}");
        announced += replicas[0].metric(&series).await;
    }
    let unannounced = replicas[0]
        .metric("stuut_cache_shared_unannounced_total")
        .await;
    assert!((50.0..60.0).contains(&announced), "{announced}");
    assert!(
        (announced + unannounced - 121.0).abs() < 0.5,
        "{unannounced}"
    );

    // The engine has a record of this one, which the first replica has never seen.
    replicas.origin.refuse("a", 401);
    let refused = replicas[0].get("/v1/calls/c2").bearer("a");
    refused.await.assert_status(401);
    replicas[1].get(CALL).bearer("a").await.assert_status(401);
}

#[tokio::test]
async fn a_refusal_is_announced_also_if_the_engine_has_lost_the_record_of_its_token() {
    let test = "a_refusal_is_announced_also_if_the_engine_has_lost_the_record_of_its_token";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    for (count, token, status, at) in [(1, "a", 401, "/v1/calls/c2"), (2, "b", 403, CALL)] {
        let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
        replicas[1].get(CALL).bearer(token).await.assert_miss();
        replicas[1].wait_for_metric(stored, count).await;
        for name in replicas.engine.ask::<Vec<String>>("KEYS *:s").await {
            replicas.engine.ask::<u64>(&format!("DEL {name}")).await;
        }
        // The first replica has never seen the token.
        replicas.origin.refuse(token, status);
        let refused = replicas[0].get(at).bearer(token);
        let refused = refused.header("cache-control", "no-cache");
        refused.await.assert_status(status);
        let other = replicas[1].get(CALL).bearer(token);
        other.await.assert_status(status);
    }
}

/// The write may take effect with the last byte of its response, as for one replica.
#[tokio::test]
async fn a_write_is_announced_again_at_the_end_of_its_response() {
    const WRITE: &str =
        "DELETE /v1/calls/c1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer w\r\n\r\n";
    const RESPONSE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let test = "a_write_is_announced_again_at_the_end_of_its_response";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let (replicas, origin) = on_raw_origin(engine).await;
    let mut client = replicas[0].raw_connection().await;
    client.send(WRITE).await;
    let mut writing = origin.accept().await;
    writing.read_request().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    writing.send(head).await;
    writing.send("{\"").await;
    client.read_head().await;
    client.read_exact(2).await;
    // The write has not taken effect yet, and the moment after its head is over.
    replicas[1].advance_seconds(1);
    in_step(&replicas[1]).await;
    let reading = replicas[1].get(CALL).bearer("a").start();
    let mut read = origin.accept().await;
    read.read_request().await;
    read.send(RESPONSE).await;
    reading.await.assert_miss();
    let cached = || {
        let get = replicas[1].get(CALL).bearer("a");
        get.header("cache-control", "only-if-cached")
    };
    cached().await.assert_hit();
    writing.send("\"}").await;
    client.read_exact(2).await;
    cached().await.assert_status(504);
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

/// The origin may have applied it, although this replica has never seen its token.
#[tokio::test]
async fn a_failed_write_of_a_token_that_another_replica_knows_counts() {
    let test = "a_failed_write_of_a_token_that_another_replica_knows_counts";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    for (count, reply) in [(1, Reply::new(502)), (2, Reply::reset())] {
        replicas[1].get(CALL).bearer("a").await.assert_miss();
        replicas[1].wait_for_metric(stored, count).await;
        replicas[1].get(CALL).bearer("a").await.assert_hit();
        replicas.origin.reply("/v1/calls/c1/approve", reply);
        let write = replicas[0].request(Method::POST, "/v1/calls/c1/approve");
        write.bearer("a").body("{}").await;
        assert!(!is_hit(&replicas[1], "a").await);
        for replica in replicas.iter() {
            replica.advance_seconds(120);
        }
        replicas.settle().await;
        replicas.purge(0, "all").await;
    }
}

#[tokio::test]
async fn trailers_of_a_response_to_a_write_are_passed_on() {
    let test = "trailers_of_a_response_to_a_write_are_passed_on";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let (replicas, origin) = on_raw_origin(engine).await;
    for body in ["", "2\r\n{}\r\n"] {
        let mut client = replicas[0].raw_connection().await;
        client
            .send(POST.replace("host: a", "host: a\r\nte: trailers"))
            .await;
        let mut writing = origin.accept().await;
        writing.read_request().await;
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
        writing
            .send(format!("{head}{body}0\r\nx-sum: 1\r\n\r\n"))
            .await;
        let end = format!("\r\n\r\n{body}0\r\nx-sum: 1\r\n\r\n");
        client.read_until(&end).await;
    }
}

/// A response that fails while its head waits for the other replicas is not complete.
#[tokio::test]
async fn a_failed_response_to_a_write_is_not_passed_on_as_a_complete_one() {
    let test = "a_failed_response_to_a_write_is_not_passed_on_as_a_complete_one";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let (replicas, origin) = on_raw_origin(engine).await;
    for head in ["transfer-encoding: chunked", "content-length: 10"] {
        for rest in ["", "zz\r\n"] {
            let mut client = replicas[0].raw_connection().await;
            client.send(POST).await;
            let mut writing = origin.accept().await;
            writing.read_request().await;
            writing
                .send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{rest}"))
                .await;
            drop(writing);
            // The connection is closed, so that the client sees that the response is incomplete.
            let answer = client.read_to_end().await;
            assert!(!answer.contains("content-length: 0"), "{head}: {answer}");
            assert!(!answer.ends_with("0\r\n\r\n"), "{head}: {answer}");
        }
    }
}

/// The response has ended before the head could be confirmed: then both wait for the same lease.
#[tokio::test]
async fn a_short_response_to_a_write_is_announced_whole_before_its_head_is_sent() {
    let test = "a_short_response_to_a_write_is_announced_whole_before_its_head_is_sent";
    let Some(engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let (replicas, origin) = on_raw_origin(engine).await;
    replicas.engine.signal("STOP");
    let mut client = replicas[0].raw_connection().await;
    client.send(POST).await;
    let mut writing = origin.accept().await;
    writing.read_request().await;
    writing
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for part in ["1\r\n{\r\n", "1\r\n}\r\n", "0\r\n\r\n"] {
        writing.send(part).await;
    }
    let announced = "stuut_cache_shared_announced_total{concern=\"paths\"}";
    replicas[0].wait_for_metric(announced, 2).await;
    replicas.engine.signal("CONT");
    let answer = client.read_until("{}").await;
    assert!(answer.contains("content-length: 2\r\n"), "{answer}");
}
