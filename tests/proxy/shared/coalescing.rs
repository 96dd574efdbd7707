//! One fetch for all replicas: the others wait for it, and one of them takes over if its replica has
//! gone.

use crate::support::{Replicas, Reply, wait_until};

const CALL: &str = "/v1/calls/c1";

#[tokio::test]
async fn many_clients_of_all_replicas_cause_one_fetch() {
    let test = "many_clients_of_all_replicas_cause_one_fetch";
    let Some(replicas) = Replicas::start(test, 4).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    let gate = replicas.origin.hold(CALL);
    let clients = replicas
        .iter()
        .flat_map(|replica| (0..20).map(|_| replica.get(CALL).bearer("a").start()));
    let clients: Vec<_> = clients.collect();
    replicas.origin.wait_for_requests(1).await;
    let waits = "stuut_cache_shared_lookups_total{result=\"wait\"}";
    wait_until("the other replicas wait", async || {
        let mut waiting = 0;
        for replica in replicas.iter() {
            waiting += usize::from(replica.metric(waits).await > 0.0);
        }
        waiting == 3
    })
    .await;
    gate.open();
    for client in clients {
        let response = client.await;
        assert_eq!(response.assert_status(200).json()["number"], 1);
    }
    replicas.origin.assert_requests(1);
}

#[tokio::test]
async fn when_a_response_cannot_be_shared_no_replica_waits_for_another() {
    let test = "when_a_response_cannot_be_shared_no_replica_waits_for_another";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas
        .origin
        .default_reply(Reply::json("{}").header("cache-control", "no-store"));
    let gate = replicas.origin.hold(CALL);
    let one = replicas[0].get(CALL).bearer("a").start();
    replicas.origin.wait_for_requests(1).await;
    let other = replicas[1].get(CALL).bearer("a").start();
    let waits = "stuut_cache_shared_lookups_total{result=\"wait\"}";
    wait_until("the other replica waits", async || {
        replicas[1].metric(waits).await > 0.0
    })
    .await;
    gate.open_for_all();
    one.await.assert_status(200);
    other.await.assert_status(200);
    replicas.origin.assert_requests(2);
    replicas[1].get(CALL).bearer("a").await.assert_status(200);
    let unshareable = "stuut_cache_shared_lookups_total{result=\"unshareable\"}";
    assert!(replicas[1].metric(unshareable).await + replicas[0].metric(unshareable).await > 0.0);
}

#[tokio::test]
async fn a_client_that_wants_a_new_response_gets_one_and_the_others_share_it() {
    let test = "a_client_that_wants_a_new_response_gets_one_and_the_others_share_it";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    replicas[0].get(CALL).bearer("a").await.assert_miss();
    replicas[0].wait_for_metric(stored, 1).await;
    let renewed = replicas[1]
        .get(CALL)
        .bearer("a")
        .header("cache-control", "no-cache");
    assert_eq!(renewed.await.json()["number"], 2);
    replicas[1].wait_for_metric(stored, 1).await;
    // Its own copy is fresh.
    let own = replicas[0].get(CALL).bearer("a").await.assert_hit();
    assert_eq!(own.json()["number"], 1);
}

#[tokio::test]
async fn what_is_invalidated_during_the_fetch_of_another_replica_is_fetched_anew() {
    let test = "what_is_invalidated_during_the_fetch_of_another_replica_is_fetched_anew";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    replicas.origin.default_reply(Reply::echo());
    let gate = replicas.origin.hold(CALL);
    let one = replicas[0].get(CALL).bearer("a").start();
    replicas.origin.wait_for_requests(1).await;
    let purge = replicas[1]
        .admin(http::Method::POST, "/purge?call=c1")
        .await;
    purge.assert_status(200);
    // It arrives after the purge, so it must not get the response from before.
    let other = replicas[1].get(CALL).bearer("a").start();
    gate.open_for_all();
    assert_eq!(one.await.json()["number"], 1);
    assert_eq!(other.await.json()["number"], 2);
    let next = replicas[0].get(CALL).bearer("a").await;
    assert_eq!(next.json()["number"], 2, "{}", next.cache_status());
}
