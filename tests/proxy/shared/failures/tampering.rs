//! Another program writes to the engine: an entry that does not open under its own name is a miss, and
//! nothing of it is served.

use http::Method;

use super::{CALL, all_in_step, assert_newer, latest, lookups, shared, store, version, versions};
use crate::support::{Engine, Replicas, in_step, wait_until};

const OTHER: &str = "/v1/calls/other";

async fn names(engine: &Engine) -> Vec<String> {
    engine.ask("KEYS *:e").await
}

async fn get(engine: &Engine, name: &str) -> Vec<u8> {
    let words: [&[u8]; 2] = [b"GET", name.as_bytes()];
    engine.send(&words).await.expect("an entry")
}

async fn set(engine: &Engine, name: &str, value: &[u8]) {
    let words: [&[u8]; 3] = [b"SET", name.as_bytes(), value];
    engine.send::<()>(&words).await.expect("it is set");
}

/// The first replica shares a call; returns the name of its entry.
async fn share(replicas: &Replicas, target: &str, count: u32) -> String {
    let before = names(&replicas.engine).await;
    replicas[0].get(target).bearer("a").await.assert_miss();
    shared(&replicas[0], count).await;
    let mut after = names(&replicas.engine).await;
    after.retain(|name| !before.contains(name));
    assert_eq!(after.len(), 1, "one more entry");
    after.remove(0)
}

/// A change of an entry.
type Change<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;

fn flipped(place: fn(usize) -> usize) -> Change<'static> {
    Box::new(move |entry| {
        let mut entry = entry.to_vec();
        let place = place(entry.len());
        entry[place] ^= 1;
        entry
    })
}

#[tokio::test]
async fn an_entry_that_was_changed_or_moved_is_a_miss() {
    let test = "an_entry_that_was_changed_or_moved_is_a_miss";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let Some(foreign) = Replicas::start(test, 1).await else {
        return;
    };
    let engine = &replicas.engine;
    let other = get(engine, &share(&replicas, OTHER, 1).await).await;
    // Of replicas with another key, in the era of these.
    let foreign = get(&foreign.engine, &share(&foreign, CALL, 1).await).await;
    let foreign = [&other[..25], &foreign[25..]].concat();
    let changes: [(&str, &str, Change<'_>); 10] = [
        ("the format", "format", flipped(|_| 0)),
        ("the position", "tag", flipped(|_| 24)),
        ("when it began", "tag", flipped(|_| 40)),
        ("the salt", "tag", flipped(|_| 41)),
        ("the content", "tag", flipped(|length| length / 2 + 28)),
        ("the end", "tag", flipped(|length| length - 1)),
        (
            "cut",
            "tag",
            Box::new(|entry| entry[..entry.len() - 1].to_vec()),
        ),
        ("another name", "tag", Box::new(|_| other.clone())),
        ("another key", "tag", Box::new(|_| foreign.clone())),
        ("garbage", "format", Box::new(|_| vec![b'x'; 100])),
    ];
    for (number, (what, reason, change)) in (1..).zip(&changes) {
        let target = format!("/v1/calls/changed{number}");
        let name = share(&replicas, &target, number + 1).await;
        let altered = change(&get(engine, &name).await);
        set(engine, &name, &altered).await;
        let unsealed = format!("stuut_cache_shared_unsealed_total{{reason=\"{reason}\"}}");
        let counted = replicas[1].metric(&unsealed).await;
        let looked_up = lookups(&replicas[1], &["unsealed"]).await;
        let known = latest(&replicas.origin);
        let response = replicas[1].get(&target).bearer("a").await.assert_miss();
        let body = response.json();
        assert_eq!(body["target"], target, "{what}");
        assert_eq!(body["number"], known + 1, "{what}");
        assert!(replicas[1].metric(&unsealed).await > counted, "{what}");
        let unsealed = lookups(&replicas[1], &["unsealed"]).await;
        assert!(unsealed > looked_up, "{what}");
        // And it is replaced.
        shared(&replicas[1], number).await;
        assert_ne!(get(engine, &name).await, altered, "{what}");
    }
    // Too short for an entry.
    let name = share(&replicas, CALL, 12).await;
    set(engine, &name, b"garbage").await;
    let known = latest(&replicas.origin);
    assert_newer(&[version(&replicas[1]).await], known, "short");
}

#[tokio::test]
async fn a_fetch_without_an_end_is_taken_over_at_once() {
    let test = "a_fetch_without_an_end_is_taken_over_at_once";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    for (count, expiry) in [(1, ""), (2, " PX 600000")] {
        let target = format!("/v1/calls/c{count}");
        let name = share(&replicas, &target, count).await;
        let fetch = name.replace("}:e", "}:l");
        replicas.engine.ask::<()>(&format!("DEL {name}")).await;
        let set = format!("SET {fetch} stranger{expiry}");
        replicas.engine.ask::<()>(&set).await;
        let waits = lookups(&replicas[1], &["wait"]).await;
        replicas[1].get(&target).bearer("a").await.assert_miss();
        let waited = lookups(&replicas[1], &["wait"]).await - waits;
        assert_eq!(waited.to_string(), "0", "{expiry}");
        shared(&replicas[1], count).await;
    }
}

#[tokio::test]
async fn an_entry_from_before_an_invalidation_is_not_used_if_it_comes_back() {
    let test = "an_entry_from_before_an_invalidation_is_not_used_if_it_comes_back";
    let Some(mut replicas) = Replicas::start(test, 2).await else {
        return;
    };
    for query in ["call=c1", "path=/v1/calls", "all"] {
        for replica in replicas.iter() {
            replica.get(CALL).bearer("a").await.assert_status(200);
        }
        wait_until("it is shared", async || {
            !names(&replicas.engine).await.is_empty()
        })
        .await;
        let name = names(&replicas.engine).await.remove(0);
        let old = get(&replicas.engine, &name).await;
        let known = latest(&replicas.origin);
        replicas.purge(0, query).await;
        // As by a shard of a cluster that is rolled back.
        set(&replicas.engine, &name, &old).await;
        let outdated = lookups(&replicas[1], &["outdated"]).await;
        assert_newer(&[version(&replicas[1]).await], known, query);
        assert!(lookups(&replicas[1], &["outdated"]).await > outdated);
        set(&replicas.engine, &name, &old).await;
        let joined = replicas.join(|_| {}).await;
        in_step(&replicas[joined]).await;
        assert_newer(&versions(&replicas).await, known, query);
        replicas.take(joined).stop().await;
    }
}

#[tokio::test]
async fn keys_of_another_kind_cost_no_answer() {
    let test = "keys_of_another_kind_cost_no_answer";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let engine = &replicas.engine;
    let name = share(&replicas, CALL, 1).await;
    engine.ask::<()>(&format!("DEL {name}")).await;
    engine.ask::<()>(&format!("LPUSH {name} x")).await;
    let failed = lookups(&replicas[1], &["failed"]).await;
    version(&replicas[1]).await;
    assert!(lookups(&replicas[1], &["failed"]).await > failed);

    for key in ["group", "log"] {
        let key = format!("stuut1:{{c}}:{key}");
        engine.ask::<()>(&format!("DEL {key}")).await;
        engine.ask::<()>(&format!("SET {key} x")).await;
        let known = latest(&replicas.origin);
        replicas.purge(0, "call=c1").await;
        assert_newer(&versions(&replicas).await, known, &key);
        engine.ask::<()>(&format!("DEL {key}")).await;
        all_in_step(&replicas).await;
        replicas[0]
            .wait_for_metric("stuut_cache_shared_queued", 0)
            .await;
        assert_newer(&versions(&replicas).await, known, &key);
    }
}

#[tokio::test]
async fn an_item_of_the_log_that_does_not_open_counts_as_one_of_everything() {
    let test = "an_item_of_the_log_that_does_not_open_counts_as_one_of_everything";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    store(&replicas).await;
    let engine = &replicas.engine;
    let known = latest(&replicas.origin);
    let id: u64 = engine.ask("HINCRBY stuut1:{c}:group n 1").await;
    engine
        .ask::<String>(&format!("XADD stuut1:{{c}}:log {id}-0 t 1 s garbage"))
        .await;
    let applied = "stuut_cache_shared_applied_total{concern=\"all\"}";
    for replica in replicas.iter() {
        replica.wait_for_metric(applied, 1).await;
    }
    assert_newer(&versions(&replicas).await, known, "garbage");
    let known = latest(&replicas.origin);
    let purge = replicas.purge(0, "call=c1").await;
    assert_eq!(purge["confirmed"], 2, "{purge}");
    assert_newer(&versions(&replicas).await, known, "the next purge");
}

#[tokio::test]
async fn after_all_of_it_the_engine_holds_no_token_no_id_and_no_body() {
    let test = "after_all_of_it_the_engine_holds_no_token_no_id_and_no_body";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    let [one, other] = [&replicas[0], &replicas[1]];
    let target = "/v1/calls/id-4711";
    for token in ["secret-token", "second-token"] {
        for replica in [one, other] {
            replica.get(target).bearer(token).await.assert_status(200);
            let page = replica.get("/v1/calls?page=cursor-99").bearer(token);
            page.await.assert_status(200);
        }
    }
    wait_until("responses of both tokens are shared", async || {
        names(&replicas.engine).await.len() >= 2
    })
    .await;
    let write = one.request(Method::PATCH, target).bearer("secret-token");
    write.body("555-0100").await.assert_status(200);
    replicas.purge(1, "call=id-4712").await;
    replicas.purge(1, "path=/v1/calls/id-4713").await;
    replicas.origin.refuse("second-token", 401);
    let refused = other.get("/v1/calls/id-4714").bearer("second-token");
    refused.await.assert_status(401);
    replicas
        .origin
        .reply("/v1/calls/id-4715", crate::support::Reply::new(403));
    let refused = one.get("/v1/calls/id-4715").bearer("secret-token");
    refused.await.assert_status(403);
    let items: usize = replicas.engine.ask("XLEN stuut1:{c}:log").await;
    assert!(items >= 4, "{items} invalidations");

    // As commands show it, and as it is on the disk, without the engine's own compression.
    let mut dump = replicas.engine.dump().await;
    replicas
        .engine
        .ask::<()>("CONFIG SET rdbcompression no")
        .await;
    replicas.engine.ask::<()>("SAVE").await;
    let file = std::fs::read(replicas.engine.folder().join("dump.rdb"));
    dump.extend(file.expect("a dump"));
    for secret in [
        "secret-token",
        "second-token",
        "Bearer",
        "id-47",
        "calls",
        "cursor-99",
        "555-0100",
        "target",
        "number",
        "application/json",
    ] {
        let found = dump
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "the engine holds {secret:?}");
    }
}
