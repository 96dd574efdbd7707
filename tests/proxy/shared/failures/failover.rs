//! Another server becomes the engine's primary, with less than the former one had confirmed.

use super::{all_in_step, assert_newer, latest, shared, store, versions};
use crate::support::{
    Cluster, Endpoint, Engine, EngineProgram, Replicas, Sentinels, in_step, wait_until,
};

/// The numbers of the primary and its replica among the servers.
struct Pair {
    primary: usize,
    replica: usize,
}

/// An acknowledged purge is lost by the engine, but by none of the replicas.
async fn lose_a_purge<E: Endpoint>(
    replicas: &mut Replicas<E>,
    engines: impl Fn(&mut E) -> &mut [Engine],
    Pair { primary, replica }: Pair,
) {
    store(replicas).await;
    shared(&replicas[0], 1).await;
    // The server that takes over later stands still, and receives nothing more.
    let servers = engines(&mut replicas.engine);
    let offset = async |server: &Engine, name: &str| {
        let state: String = server.ask("INFO replication").await;
        let line = state.lines().find_map(|line| line.strip_prefix(name));
        line.expect("an offset").trim().to_owned()
    };
    let [from, to] = [&servers[primary], &servers[replica]];
    wait_until("the entry is replicated", async || {
        let sent = offset(from, "master_repl_offset:").await;
        sent == offset(to, "slave_repl_offset:").await
    })
    .await;
    to.signal("STOP");
    from.ask::<()>("CLIENT KILL TYPE replica").await;
    let known = latest(&replicas.origin);
    let purge = replicas[0]
        .admin(http::Method::POST, "/purge?call=c1")
        .await;
    let purge = purge.assert_status(200).json();
    assert_eq!(purge["confirmed"], 3, "{purge}");
    let servers = engines(&mut replicas.engine);
    servers[primary].kill();
    servers[replica].signal("CONT");
    assert_newer(&versions(replicas).await, known, "without an engine");

    let began = "stuut_cache_shared_resets_total{cause=\"begun\"}";
    let adopted = "stuut_cache_shared_resets_total{cause=\"era\"}";
    let mut eras = Vec::new();
    for proxy in replicas.iter() {
        eras.push(proxy.metric(began).await + proxy.metric(adopted).await);
    }
    wait_until("every replica is in another era", async || {
        for (proxy, before) in replicas.iter().zip(&eras) {
            if proxy.metric(began).await + proxy.metric(adopted).await <= *before {
                return false;
            }
        }
        true
    })
    .await;
    assert_newer(&versions(replicas).await, known, "in another era");
    all_in_step(replicas).await;
    assert_newer(&versions(replicas).await, known, "in step");
    let joined = replicas.join(|_| {}).await;
    in_step(&replicas[joined]).await;
    assert_newer(&versions(replicas).await, known, "with another replica");
    replicas.settle().await;
    store(replicas).await;
    let known = latest(&replicas.origin);
    replicas.purge(joined, "call=c1").await;
    assert_newer(&versions(replicas).await, known, "the next purge");
}

#[tokio::test]
async fn a_failover_by_sentinels_that_loses_a_purge_brings_nothing_back() {
    let test = "a_failover_by_sentinels_that_loses_a_purge_brings_nothing_back";
    let Some(path) = EngineProgram::chosen().path(test) else {
        return;
    };
    let mut replicas = Replicas::on(Sentinels::start(&path).await, 3).await;
    let pair = Pair {
        primary: 0,
        replica: 1,
    };
    lose_a_purge(&mut replicas, |group| &mut group.engines, pair).await;
}

#[tokio::test]
async fn a_failover_in_a_cluster_that_loses_a_purge_brings_nothing_back() {
    let test = "a_failover_in_a_cluster_that_loses_a_purge_brings_nothing_back";
    let Some(path) = EngineProgram::chosen().path(test) else {
        return;
    };
    let mut replicas = Replicas::on(Cluster::start(&path, "").await, 3).await;
    let (primary, replica) = replicas.engine.of_log().await;
    let pair = Pair { primary, replica };
    lose_a_purge(&mut replicas, |cluster| &mut cluster.engines, pair).await;
}
