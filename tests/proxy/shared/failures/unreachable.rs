//! An engine that does not answer, or refuses: each request is answered as by a lone replica.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use stuut_cache::config::Alone;

use super::{CALL, all_in_step, assert_newer, latest, lookups, shared, store, version, versions};
use crate::support::{
    Engine, EngineProgram, Fault, Relay, Replicas, Reply, engine_urls, in_step, wait_until,
};

/// A replica with a direct connection to the engine, and one that reaches it by a relay.
async fn with_relay(test: &str, alone: Alone) -> Option<(Replicas, Relay)> {
    let engine = Engine::start(EngineProgram::chosen(), test).await?;
    let relay = Relay::start(engine.port()).await;
    let mut replicas = Replicas::on(engine, 1).await;
    let url = relay.url();
    let join = replicas.join(|config| {
        config.shared.url = engine_urls(&[url]);
        config.shared.timeout = Duration::from_millis(100);
        config.shared.alone = alone;
    });
    join.await;
    replicas.settle().await;
    Some((replicas, relay))
}

/// More lookups than failures after which the engine is not asked for a moment.
const REQUESTS: u32 = 12;

#[tokio::test]
async fn whatever_the_network_does_a_miss_is_answered_and_nothing_old() {
    let test = "whatever_the_network_does_a_miss_is_answered_and_nothing_old";
    for fault in [
        Fault::BlackHole,
        Fault::Pause,
        Fault::Delay(Duration::from_millis(300)),
    ] {
        let Some((replicas, relay)) = with_relay(test, Alone::Short).await else {
            return;
        };
        let victim = &replicas[1];
        store(&replicas).await;
        let results = ["failed", "skipped", "miss", "wait", "entry"];
        let before = lookups(victim, &results).await;
        let failed = lookups(victim, &["failed"]).await;
        relay.set(fault);
        for call in 0..REQUESTS {
            let target = format!("/v1/calls/other{call}");
            let response = victim.get(&target).bearer("a").await;
            assert_eq!(response.assert_miss().json()["target"], target);
        }
        let failed = lookups(victim, &["failed"]).await - failed;
        let after = lookups(victim, &results).await;
        assert_eq!((after - before).to_string(), REQUESTS.to_string());
        assert_eq!(failed.to_string(), "5", "{fault:?}");
        // Its own copy is used as long as its lease lasts.
        victim.get(CALL).bearer("a").await.assert_hit();
        let known = latest(&replicas.origin);
        replicas.purge(0, "call=c1").await;
        assert_newer(&versions(&replicas).await, known, &format!("{fault:?}"));

        relay.set(Fault::None);
        all_in_step(&replicas).await;
        assert_newer(&versions(&replicas).await, known, &format!("{fault:?}"));
        let known = latest(&replicas.origin);
        replicas.purge(1, "call=c1").await;
        assert_newer(&versions(&replicas).await, known, "after it");
    }
}

#[tokio::test]
async fn a_lost_connection_and_changed_bytes_give_no_wrong_answer() {
    let test = "a_lost_connection_and_changed_bytes_give_no_wrong_answer";
    let Some((replicas, relay)) = with_relay(test, Alone::Short).await else {
        return;
    };
    for (number, fault) in (0..400)
        .step_by(11)
        .flat_map(|place| [Fault::Flip(place), Fault::CutAfter(place)])
        .enumerate()
    {
        let target = format!("/v1/calls/c{number}");
        replicas[0].get(&target).bearer("a").await.assert_miss();
        shared(&replicas[0], u32::try_from(number).expect("few") + 1).await;
        relay.set(fault);
        let response = replicas[1].get(&target).bearer("a").await;
        let body = response.assert_status(200).json();
        assert_eq!(body["target"], target, "{fault:?}");
        assert_eq!(body["authorization"], "Bearer a", "{fault:?}");
    }
    relay.set(Fault::None);
    in_step(&replicas[1]).await;
    store(&replicas).await;
    let known = latest(&replicas.origin);
    replicas.purge(0, "all").await;
    assert_newer(&versions(&replicas).await, known, "after it");
}

#[tokio::test]
async fn a_write_through_a_replica_that_is_cut_off_is_announced_once_it_can() {
    let test = "a_write_through_a_replica_that_is_cut_off_is_announced_once_it_can";
    for (method, target) in [
        (Method::PATCH, CALL),
        (Method::POST, "/v1/calls/c1/approve"),
        (Method::POST, "/purge?call=c1"),
    ] {
        let Some((replicas, relay)) = with_relay(test, Alone::Short).await else {
            return;
        };
        store(&replicas).await;
        relay.set(Fault::BlackHole);
        let known = latest(&replicas.origin);
        let writer = &replicas[1];
        let write = if target.starts_with("/purge") {
            writer.admin(method.clone(), target)
        } else {
            let write = writer.request(method.clone(), target);
            write.bearer("a").body("{}")
        };
        let response = replicas.answered(write).await.assert_status(200);
        if target.starts_with("/purge") {
            let purge = response.json();
            assert_eq!(purge["queued"], true, "{purge}");
            assert_eq!(purge["confirmed"], 1, "{purge}");
        }
        // Its own clients see it at once; those of the other replica may not, until it is announced.
        assert_newer(&[version(writer).await], known, "at the writer");
        let queued = "stuut_cache_shared_queued";
        assert!(writer.metric(queued).await > 0.0, "{method} {target}");
        relay.set(Fault::None);
        writer.wait_for_metric(queued, 0).await;
        all_in_step(&replicas).await;
        let position = "stuut_cache_shared_applied_total{concern=\"paths\"}";
        wait_until("the other replica has applied it", async || {
            replicas[0].metric(position).await > 0.0
        })
        .await;
        let what = format!("{method} {target}");
        assert_newer(&versions(&replicas).await, known, &what);
    }
}

#[tokio::test]
async fn an_announcement_may_take_longer_than_a_lookup() {
    let test = "an_announcement_may_take_longer_than_a_lookup";
    let Some(engine) = Engine::start(EngineProgram::chosen(), test).await else {
        return;
    };
    let relay = Relay::start(engine.port()).await;
    let mut replicas = Replicas::on(engine, 1).await;
    let url = relay.url();
    let join = replicas.join(|config| {
        config.shared.url = engine_urls(&[url]);
        config.shared.timeout = Duration::from_millis(50);
        // Half of it is the limit of a beat.
        config.shared.lease = Duration::from_secs(40);
    });
    let writer = join.await;
    replicas.settle().await;
    // No lease from before the era can last.
    for proxy in replicas.iter() {
        proxy.advance_seconds(60);
    }
    all_in_step(&replicas).await;
    let writer = &replicas[writer];
    store(&replicas).await;
    relay.set(Fault::Delay(Duration::from_millis(70)));
    let known = latest(&replicas.origin);
    let write = writer.request(Method::PATCH, CALL).bearer("a").body("{}");
    write.await.assert_status(200);
    assert_newer(&versions(&replicas).await, known, "read back");
    for name in ["unconfirmed_total", "queued"] {
        let value = writer.metric(&format!("stuut_cache_shared_{name}")).await;
        assert_eq!(value.to_string(), "0", "{name}");
    }
    assert!(lookups(writer, &["failed"]).await > 0.0);

    // So is the refusal of a token that the writer has never seen, whatever invented ones there are.
    let stored = "stuut_cache_shared_stores_total{result=\"stored\"}";
    let count = replicas[0].metric(stored).await;
    replicas[0]
        .get("/v1/calls/c3")
        .bearer("b")
        .await
        .assert_status(200);
    wait_until("its record", async || {
        replicas[0].metric(stored).await > count
    })
    .await;
    let refused = (0..60).map(|number| {
        let token = format!("invented{number}");
        replicas.origin.refuse(&token, 401);
        writer.get("/v1/calls/c2").bearer(&token).into_future()
    });
    for response in join_all(refused).await {
        response.assert_status(401);
    }
    replicas.origin.refuse("b", 401);
    let refused = writer.get("/v1/calls/c2").bearer("b");
    refused.await.assert_status(401);
    replicas[0]
        .get("/v1/calls/c3")
        .bearer("b")
        .await
        .assert_status(401);
}

#[tokio::test]
async fn more_announcements_than_can_wait_become_one_of_everything() {
    let test = "more_announcements_than_can_wait_become_one_of_everything";
    let Some((replicas, relay)) = with_relay(test, Alone::Short).await else {
        return;
    };
    let [other, writer] = [&replicas[0], &replicas[1]];
    store(&replicas).await;
    let known = latest(&replicas.origin);
    relay.set(Fault::BlackHole);
    // Each is a resource that the token has lost.
    replicas.origin.default_reply(Reply::new(403));
    let queued = async || {
        let status = writer.admin(Method::GET, "/status").await.json();
        status["shared"]["queued"].as_u64().expect("a number")
    };
    let mut most = 0;
    for first in (0..1_200).step_by(100) {
        let refused =
            (first..first + 100).map(|call| writer.get(&format!("/v1/calls/x{call}")).bearer("a"));
        let refused = join_all(refused.map(|request| request.start().into_future()));
        for response in replicas.ended(refused).await {
            response.assert_status(403);
        }
        let waiting = queued().await;
        if waiting < most {
            break;
        }
        most = waiting;
    }
    assert!((900..=1_064).contains(&most), "{most}");
    let left = queued().await;
    assert!(left < 200, "{left}");
    replicas.origin.default_reply(Reply::echo());
    // None of them is for this call.
    let all = "stuut_cache_shared_applied_total{concern=\"all\"}";
    assert_eq!(other.metric(all).await.to_string(), "0");
    relay.set(Fault::None);
    wait_until("nothing waits", async || queued().await == 0).await;
    all_in_step(&replicas).await;
    wait_until("both replicas have applied it", async || {
        other.metric(all).await > 0.0 && writer.metric(all).await > 0.0
    })
    .await;
    assert_newer(&versions(&replicas).await, known, "one of everything");
}

#[tokio::test]
async fn alone_a_replica_may_keep_what_it_stores_if_so_configured() {
    let test = "alone_a_replica_may_keep_what_it_stores_if_so_configured";
    let Some((replicas, relay)) = with_relay(test, Alone::Own).await else {
        return;
    };
    let victim = &replicas[1];
    store(&replicas).await;
    relay.set(Fault::BlackHole);
    let skipped = lookups(victim, &["skipped"]).await;
    victim.advance_seconds(10);
    victim.get(CALL).bearer("a").await.assert_hit();
    let other = victim.get("/v1/calls/c2").bearer("a").await;
    other.assert_miss();
    // Of other replicas it uses nothing without a lease, whatever the setting.
    assert!(lookups(victim, &["skipped"]).await > skipped);
    let known = latest(&replicas.origin);
    replicas.purge(0, "call=c1").await;
    relay.set(Fault::None);
    in_step(victim).await;
    assert_newer(&versions(&replicas).await, known, "after it");
}

/// Also if the reader is in step before the writer can announce what it has queued.
#[tokio::test]
async fn once_a_full_engine_has_room_no_replica_uses_what_it_had_stored() {
    let test = "once_a_full_engine_has_room_no_replica_uses_what_it_had_stored";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    store(&replicas).await;
    replicas.engine.ask::<()>("CONFIG SET maxmemory 1").await;
    let known = latest(&replicas.origin);
    let write = replicas[0].request(Method::PATCH, CALL).bearer("a");
    let write = replicas.answered(write.body("{}")).await;
    write.assert_status(200);
    replicas.engine.ask::<()>("CONFIG SET maxmemory 0").await;
    // The clock of the writer does not move.
    wait_until("the reader is in step", async || {
        replicas[1].clock.advance_waiters(Duration::from_millis(50));
        replicas[1].metric("stuut_cache_shared_state").await < 0.5
    })
    .await;
    assert_newer(&[version(&replicas[1]).await], known, "at the reader");
}

#[tokio::test]
async fn a_full_engine_costs_no_answer_and_gives_no_old_one() {
    let test = "a_full_engine_costs_no_answer_and_gives_no_old_one";
    for program in EngineProgram::ALL {
        let Some(engine) = Engine::start(program, test).await else {
            continue;
        };
        let replicas = Replicas::on(engine, 2).await;
        store(&replicas).await;
        replicas.engine.ask::<()>("CONFIG SET maxmemory 1").await;
        let failed = lookups(&replicas[0], &["failed"]).await;
        let response = replicas[0].get("/v1/calls/c2").bearer("a").await;
        response.assert_miss();
        assert!(lookups(&replicas[0], &["failed"]).await > failed);
        let known = latest(&replicas.origin);
        let write = replicas[0].request(Method::PATCH, CALL).bearer("a");
        let write = replicas.answered(write.body("{}")).await;
        write.assert_status(200);
        let what = format!("{program:?}");
        assert_newer(&versions(&replicas).await, known, &what);
        replicas.engine.ask::<()>("CONFIG SET maxmemory 0").await;
        all_in_step(&replicas).await;
        replicas[0]
            .wait_for_metric("stuut_cache_shared_queued", 0)
            .await;
        assert_newer(&versions(&replicas).await, known, &what);
        let known = latest(&replicas.origin);
        replicas.purge(1, "call=c1").await;
        assert_newer(&versions(&replicas).await, known, &what);
    }
}

#[tokio::test]
async fn an_engine_that_evicts_entries_stays_right() {
    let test = "an_engine_that_evicts_entries_stays_right";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let memory: String = replicas.engine.ask("INFO memory").await;
    let used = memory
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used
        .and_then(|used| used.trim().parse().ok())
        .expect("a number");
    let limit = format!("CONFIG SET maxmemory {}", used + (1 << 20));
    replicas
        .engine
        .ask::<()>("CONFIG SET maxmemory-policy volatile-lru")
        .await;
    replicas.engine.ask::<()>(&limit).await;
    // A body that does not compress, and differs between calls.
    let bodies: Vec<Vec<u8>> = (0..60u64)
        .map(|call| {
            let mut hash = blake3::Hasher::new();
            hash.update(&call.to_le_bytes());
            let mut body = vec![0; 50_000];
            hash.finalize_xof().fill(&mut body);
            body
        })
        .collect();
    for (call, body) in bodies.iter().enumerate() {
        let target = format!("/v1/calls/c{call}");
        let reply = Reply::new(200).header("content-type", "application/json");
        replicas.origin.reply(&target, reply.body(body));
        replicas[0].get(&target).bearer("a").await.assert_miss();
    }
    let ended = async || {
        let results = ["stored", "failed", "busy"];
        let mut sum = 0.0;
        for result in results {
            let series = format!("stuut_cache_shared_stores_total{{result=\"{result}\"}}");
            sum += replicas[0].metric(&series).await;
        }
        sum.to_string() == "60"
    };
    wait_until("all are shared", ended).await;
    let stats: String = replicas.engine.ask("INFO stats").await;
    assert!(!stats.contains("evicted_keys:0\r"), "{stats}");
    for (call, body) in bodies.iter().enumerate() {
        let target = format!("/v1/calls/c{call}");
        let response = replicas[1].get(&target).bearer("a").await;
        response.assert_status(200).assert_body(body);
    }
    assert!(lookups(&replicas[1], &["miss"]).await > 0.0);
    // The log and the group have no expiry, so they are not evicted.
    for cause in ["begun", "era", "gap"] {
        let resets = format!("stuut_cache_shared_resets_total{{cause=\"{cause}\"}}");
        let first = f64::from(u8::from(cause == "era"));
        assert!(replicas[1].metric(&resets).await <= first, "{cause}");
    }
    let purge = replicas.purge(0, "all").await;
    assert_eq!(purge["confirmed"], 2, "{purge}");
}
