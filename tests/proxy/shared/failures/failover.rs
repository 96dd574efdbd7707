//! Another server becomes the engine's primary: with less than the former one had confirmed, or while that
//! one goes on.

use std::ops::RangeInclusive;
use std::path::Path;

use secrecy::SecretString;
use stuut_cache::config::Secret;

use super::{CALL, all_in_step, assert_newer, latest, shared, store, version, versions};
use crate::support::{
    Cluster, Endpoint, Engine, EngineProgram, Replicas, Sentinels, engine_urls, in_step, wait_until,
};

/// The numbers of the primary and its replica among the servers.
struct Pair {
    primary: usize,
    replica: usize,
}

/// How often each replica has begun or adopted an era.
async fn eras<E>(replicas: &Replicas<E>) -> Vec<f64> {
    let mut eras = Vec::new();
    for proxy in replicas.iter() {
        let mut sum = 0.0;
        for cause in ["begun", "era"] {
            let series = format!("stuut_cache_shared_resets_total{{cause=\"{cause}\"}}");
            sum += proxy.metric(&series).await;
        }
        eras.push(sum);
    }
    eras
}

/// Whether these replicas have begun or adopted another era since.
async fn has_moved<E>(
    replicas: &Replicas<E>,
    since: &[f64],
    mut which: RangeInclusive<usize>,
) -> bool {
    let now = eras(replicas).await;
    which.all(|number| now[number] > since[number])
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

    let eras = eras(replicas).await;
    let all = 0..=replicas.len() - 1;
    wait_until("every replica is in another era", async || {
        has_moved(replicas, &eras, all.clone()).await
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

/// Replicas of which the last one, the victim, reaches a primary that goes on after the Sentinels have
/// replaced it. The others have left it.
async fn split_brain(program: &Path, needs_replica: bool) -> Replicas<Sentinels> {
    let group = Sentinels::start(program).await;
    for sentinel in &group.sentinels {
        // So that a busy machine neither begins nor aborts a failover.
        for time in ["down-after-milliseconds", "failover-timeout"] {
            let set = format!("SENTINEL SET main {time} 60000");
            sentinel.ask::<()>(&set).await;
        }
    }
    for sentinel in &group.sentinels[1..] {
        // They demote a primary that they do not know after four of these; before version 7, of 2 s.
        let words: [&[u8]; 4] = [b"SENTINEL", b"DEBUG", b"publish-period", b"10000"];
        let _ = sentinel.send::<()>(&words).await;
    }
    // The Sentinels cannot demote it.
    group.engines[0]
        .ask::<()>("ACL SETUSER default -replicaof -slaveof")
        .await;
    let mut replicas = Replicas::on(group, 2).await;
    let url = replicas.engine.engines[0].url();
    let join = replicas.join(|config| {
        config.shared.url = engine_urls(&[url]);
        config.shared.sentinel = None;
        // The others and the Sentinels are the default user.
        config.shared.username = Some("stuut-cache".to_owned());
        config.shared.password = Some(Secret(SecretString::from("secret")));
    });
    join.await;
    replicas.settle().await;
    store(&replicas).await;
    let eras = eras(&replicas).await;
    let Sentinels { engines, sentinels } = &replicas.engine;
    let [old, new] = engines;
    if needs_replica {
        old.ask::<()>("CONFIG SET min-replicas-to-write 1").await;
    }
    wait_until("a Sentinel begins a failover", async || {
        let words: [&[u8]; 3] = [b"SENTINEL", b"FAILOVER", b"main"];
        sentinels[0].send::<()>(&words).await.is_ok()
    })
    .await;
    wait_until("the Sentinels have another primary", async || {
        for sentinel in sentinels {
            let primary = "SENTINEL GET-MASTER-ADDR-BY-NAME main";
            let (_, port): (String, u16) = sentinel.ask(primary).await;
            if port != new.port() {
                return false;
            }
        }
        true
    })
    .await;
    wait_until("the others are in another era", async || {
        if !needs_replica {
            // A primary without a replica refuses their writes itself.
            old.ask::<u64>("CLIENT KILL USER default").await;
        }
        has_moved(&replicas, &eras, 0..=1).await
    })
    .await;
    replicas
}

/// A write through a replica at the new primary.
async fn write(replicas: &Replicas<Sentinels>) {
    let known = latest(&replicas.origin);
    let write = replicas[0].request(http::Method::PATCH, CALL).bearer("a");
    let write = replicas.answered(write.body("{}")).await;
    write.assert_status(200);
    let versions = [version(&replicas[0]).await, version(&replicas[1]).await];
    assert_newer(&versions, known, "at the new primary");
}

#[tokio::test]
async fn a_replaced_primary_that_goes_on_serves_old_responses_until_it_is_demoted() {
    let test = "a_replaced_primary_that_goes_on_serves_old_responses_until_it_is_demoted";
    let Some(path) = EngineProgram::chosen().path(test) else {
        return;
    };
    let replicas = split_brain(&path, false).await;
    let (victim, old) = (&replicas[2], &replicas.engine.engines[0]);
    let known = latest(&replicas.origin);
    write(&replicas).await;
    in_step(victim).await;
    let seen = version(victim).await;
    assert!(seen <= known, "{seen}, invalidated: {known}");

    old.ask::<()>("ACL SETUSER default +replicaof +slaveof")
        .await;
    wait_until("the former primary is a replica", async || {
        // The Sentinels close its connections.
        let state = old.send::<String>(&[b"INFO", b"replication"]).await;
        state.is_ok_and(|state| state.contains("role:slave"))
    })
    .await;
    victim.advance_seconds(3);
    assert_newer(&versions(&replicas).await, known, "a lease later");
}

#[tokio::test]
async fn a_replaced_primary_that_needs_a_replica_serves_nothing_old() {
    let test = "a_replaced_primary_that_needs_a_replica_serves_nothing_old";
    let program = EngineProgram::chosen();
    let Some(path) = program.path(test) else {
        return;
    };
    if program == EngineProgram::Redis6 {
        // It lets scripts write without a replica.
        return;
    }
    let replicas = split_brain(&path, true).await;
    let victim = &replicas[2];
    let refused = "stuut_cache_shared_beats_failed_total{reason=\"refused\"}";
    let before = victim.metric(refused).await;
    wait_until("the victim's beats are refused", async || {
        victim.metric(refused).await > before
    })
    .await;
    let known = latest(&replicas.origin);
    write(&replicas).await;
    assert_newer(&[version(victim).await], known, "at the former primary");
    victim.wait_for_metric("stuut_cache_shared_state", 2).await;
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
