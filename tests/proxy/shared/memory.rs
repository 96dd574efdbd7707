//! Memory for entries on their way to the engine and back: it is counted, and when it is used up, responses
//! are neither shared nor looked up.

use stuut_cache::config::{ByteSize, Config};

use crate::support::{
    Engine, EngineProgram, Fault, Proxy, Relay, Replicas, Reply, engine_urls, wait_until,
};

const MIB: u64 = 1 << 20;

/// As little as may be configured.
fn little(config: &mut Config) {
    config.limits.in_transit = ByteSize(8 * MIB);
}

/// A body of this size that does not compress.
fn noise(seed: u8, size: usize) -> Vec<u8> {
    let mut hash = blake3::Hasher::new();
    hash.update(&[seed]);
    let mut body = vec![0; size];
    hash.finalize_xof().fill(&mut body);
    body
}

fn reply(body: &[u8]) -> Reply {
    let reply = Reply::new(200).header("content-type", "application/json");
    reply.body(body)
}

async fn stores(replica: &Proxy, results: &[&str]) -> f64 {
    let mut sum = 0.0;
    for result in results {
        let series = format!("stuut_cache_shared_stores_total{{result=\"{result}\"}}");
        sum += replica.metric(&series).await;
    }
    sum
}

#[tokio::test]
async fn responses_being_shared_take_no_more_memory_than_is_left() {
    let test = "responses_being_shared_take_no_more_memory_than_is_left";
    let Some(engine) = Engine::start(EngineProgram::chosen(), test).await else {
        return;
    };
    let relay = Relay::start(engine.port()).await;
    let mut replicas = Replicas::on(engine, 1).await;
    let url = relay.url();
    let join = replicas.join(|config| {
        config.shared.url = engine_urls(&[url]);
        little(config);
    });
    let victim = join.await;
    replicas.settle().await;
    let (victim, origin) = (&replicas[victim], &replicas.origin);
    let calls: Vec<_> = (0..8)
        .map(|call| (format!("/v1/calls/c{call}"), noise(call, 500_000)))
        .collect();
    let mut pending = Vec::new();
    for (target, body) in &calls {
        origin.reply(target, reply(body));
        pending.push((origin.hold(target), victim.get(target).bearer("a").start()));
    }
    origin.wait_for_requests(calls.len()).await;
    // The stores do not end.
    relay.set(Fault::Pause);
    for ((gate, response), (_, body)) in pending.into_iter().zip(&calls) {
        gate.open_for_all();
        response.await.assert_status(200).assert_body(body);
    }
    wait_until("only some are being shared", async || {
        stores(victim, &["busy"]).await >= 6.0
    })
    .await;
    let mut held = 0.0;
    for holder in ["accepted", "other"] {
        let series = format!("stuut_cache_in_transit_bytes{{holder=\"{holder}\"}}");
        held += victim.metric(&series).await;
    }
    assert!((2.0 * 500_000.0..8_388_608.0).contains(&held), "{held}");
    for (target, body) in &calls {
        let hit = victim.get(target).bearer("a").await.assert_hit();
        hit.assert_body(body);
    }
    relay.set(Fault::None);
    wait_until("the stores have ended", async || {
        stores(victim, &["busy", "stored", "failed"])
            .await
            .to_string()
            == "8"
    })
    .await;
    let (target, body) = &calls[0];
    let response = replicas[0].get(target).bearer("a").await;
    response.assert_status(200).assert_body(body);
}

#[tokio::test]
async fn an_entry_for_which_a_replica_has_no_memory_stays_for_the_others() {
    let test = "an_entry_for_which_a_replica_has_no_memory_stays_for_the_others";
    let Some(engine) = Engine::start(EngineProgram::chosen(), test).await else {
        return;
    };
    let mut replicas = Replicas::on(engine, 0).await;
    for has_little in [false, true, false] {
        let join = replicas.join(|config| {
            config.shared.max_entry = ByteSize(8 * MIB);
            if has_little {
                little(config);
            }
        });
        join.await;
    }
    replicas.settle().await;
    let target = "/v1/calls/large";
    let body = noise(0, 5_000_000);
    replicas.origin.reply(target, reply(&body));
    replicas[0].get(target).bearer("a").await.assert_miss();
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    replicas[0].wait_for_metric(stored, 1).await;
    let response = replicas[1].get(target).bearer("a").await.assert_miss();
    response.assert_body(&body);
    let skipped = "stuut_cache_shared_lookups_total{result=\"skipped\"}";
    assert!(replicas[1].metric(skipped).await > 0.0);
    let response = replicas[2].get(target).bearer("a").await;
    let status = response.cache_status();
    assert!(status.ends_with("; detail=shared"), "{status}");
    response.assert_hit().assert_body(&body);
    replicas.origin.assert_requests(2);
    // Invalidated, it is fetched again by one of them for both.
    replicas.purge(0, "call=large").await;
    replicas[2].get(target).bearer("a").await.assert_miss();
    replicas[2].wait_for_metric(stored, 1).await;
    replicas[0].get(target).bearer("a").await.assert_hit();
    replicas.origin.assert_requests(3);
}
