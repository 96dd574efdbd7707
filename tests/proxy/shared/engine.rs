//! The client of the engine, against real ones: each operation, and what each fault becomes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stuut_cache::cache::shared::redis::Redis;
use stuut_cache::cache::shared::{
    Appended, Beat, BeatReply, Engine as _, EngineError, Era, Found, MemberId, Names, Occupied,
    Position, Salt,
};
use stuut_cache::clock::Clock;
use stuut_cache::config::{self, Config, ScopeKey};

use crate::support::{Engine, EngineProgram, wait_until};

/// The settings for an engine, with more lines of `[shared]`.
fn settings(url: &str, lines: &str) -> Config {
    let text = format!(
        "scope.key_file = \"/key\"\n[shared]\nurl = [{url:?}]\ntimeout = \"10s\"\nlease = \"30s\"\n{lines}"
    );
    let document = config::Document {
        name: "test",
        text: &text,
    };
    let loaded = config::read(Some(document), &[], &[]).finish();
    loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn client(url: &str, lines: &str) -> Redis {
    client_at(&manual(), url, lines)
}

fn client_at(clock: &Clock, url: &str, lines: &str) -> Redis {
    let config = settings(url, lines);
    let names = Names::new(&ScopeKey::random(), &config);
    Redis::start(&config.shared, &names, clock).expect("a client")
}

fn manual() -> Clock {
    Clock::manual(SystemTime::UNIX_EPOCH)
}

/// The output of work whose waits do not end by themselves: the clock is moved until it is complete.
async fn moved<T>(clock: &Clock, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            output = &mut work => return output,
            () = tokio::task::yield_now() => clock.advance_waiters(Duration::from_secs(1)),
        }
    }
}

const MEMBER: MemberId = MemberId(0xabcd);
const LEASE: Duration = Duration::from_secs(2);

fn beat(count: u64, position: Option<Position>, next_era: u8) -> Beat {
    Beat {
        member: MEMBER,
        count,
        position,
        lease: LEASE,
        next_era: Era([next_era; 16]),
    }
}

/// The clear beginning of an entry, and something after it.
fn entry(era: u8, began: u64, salt: u8) -> Bytes {
    let mut entry = vec![1];
    entry.extend([era; 16]);
    entry.extend([0; 8]);
    entry.extend(format!("{began:016}").into_bytes());
    entry.extend([salt; 16]);
    entry.extend(b"sealed");
    entry.into()
}

fn salt(salt: u8) -> Salt {
    [salt; 16]
}

const NAME: &str = "stuut1:{k1}:e";

#[tokio::test]
async fn a_beat_begins_an_era_and_reads_the_log() {
    for program in EngineProgram::ALL {
        let Some(engine) = Engine::start(program, "a_beat_begins_an_era_and_reads_the_log").await
        else {
            continue;
        };
        let client = client(&engine.url(), "");
        let state = client.members().await.expect("an empty group");
        assert!(state.era.is_none() && state.members.is_empty());
        let refused = client
            .append(Era([1; 16]), Bytes::from_static(b"early"))
            .await;
        assert_eq!(refused.expect("an answer"), Appended::OtherEra);

        let first = client.beat(beat(1, None, 1)).await.expect("a beat");
        assert_eq!(
            (first.era, first.last, first.items.len()),
            (Era([1; 16]), 0, 0)
        );
        assert_eq!(first.members.len(), 1);
        for id in 1..=3 {
            let appended = client
                .append(first.era, Bytes::from(format!("item {id}")))
                .await;
            assert_eq!(
                appended.expect("an answer"),
                Appended::At(id),
                "{program:?}"
            );
        }
        let other = client.append(Era([2; 16]), Bytes::from_static(b"x")).await;
        assert_eq!(other.expect("an answer"), Appended::OtherEra);

        let position = Some(Position {
            era: first.era,
            id: 1,
        });
        let BeatReply {
            era,
            last,
            items,
            members,
        } = client.beat(beat(2, position, 2)).await.expect("a beat");
        assert_eq!((era, last), (first.era, 3));
        let read: Vec<_> = items
            .iter()
            .map(|item| (item.id, &item.sealed[..]))
            .collect();
        assert_eq!(read, [(2, &b"item 2"[..]), (3, b"item 3")]);
        let [member] = members[..] else {
            panic!("{members:?}")
        };
        assert_eq!(
            (member.id, member.count, member.position, member.lease),
            (MEMBER, 2, position, LEASE)
        );
        let state = client.members().await.expect("a group");
        assert_eq!((state.era, state.members), (Some(first.era), members));

        // A position of another era, or none, reads from the beginning.
        for position in [
            None,
            Some(Position {
                era: Era([9; 16]),
                id: 3,
            }),
        ] {
            let reply = client.beat(beat(3, position, 2)).await.expect("a beat");
            assert_eq!((reply.era, reply.items.len()), (first.era, 3));
        }
        client.remove_member(MEMBER, 2).await.expect("an answer");
        assert_eq!(client.members().await.expect("a group").members.len(), 1);
        client.remove_member(MEMBER, 3).await.expect("an answer");
        assert!(client.members().await.expect("a group").members.is_empty());
    }
}

#[tokio::test]
async fn the_log_is_read_as_items_are_appended() {
    for program in EngineProgram::ALL {
        let Some(engine) = Engine::start(program, "the_log_is_read_as_items_are_appended").await
        else {
            continue;
        };
        let client = Arc::new(client(&engine.url(), ""));
        let none = client.items_after(0, Duration::from_millis(1)).await;
        assert!(none.expect("an answer").is_empty());
        let era = client.beat(beat(1, None, 1)).await.expect("a beat").era;
        let reader = Arc::clone(&client);
        let waiting =
            tokio::spawn(async move { reader.items_after(0, Duration::from_secs(30)).await });
        wait_until("the reader waits", async || {
            engine
                .ask::<String>("INFO clients")
                .await
                .contains("blocked_clients:1")
        })
        .await;
        client
            .append(era, Bytes::from_static(b"one"))
            .await
            .expect("an answer");
        let items = waiting.await.expect("no panic").expect("items");
        assert_eq!((items[0].id, &items[0].sealed[..]), (1, &b"one"[..]));
        client
            .append(era, Bytes::from_static(b"two"))
            .await
            .expect("an answer");
        let items = client
            .items_after(1, Duration::from_secs(30))
            .await
            .expect("items");
        assert_eq!(items.iter().map(|item| item.id).collect::<Vec<_>>(), [2]);

        // A cancelled read does not delay the next one.
        let reader = Arc::clone(&client);
        let waiting =
            tokio::spawn(async move { reader.items_after(2, Duration::from_hours(1)).await });
        wait_until("the reader waits", async || {
            engine
                .ask::<String>("INFO clients")
                .await
                .contains("blocked_clients:1")
        })
        .await;
        waiting.abort();
        waiting.await.expect_err("it is cancelled");
        let items = client
            .items_after(0, Duration::from_secs(30))
            .await
            .expect("items");
        assert_eq!(items.len(), 2);
    }
}

#[tokio::test]
async fn an_entry_is_fetched_by_one_and_found_by_all() {
    for program in EngineProgram::ALL {
        let Some(engine) =
            Engine::start(program, "an_entry_is_fetched_by_one_and_found_by_all").await
        else {
            continue;
        };
        let client = client(&engine.url(), "");
        let look_up = async |known, owner| {
            let Found { at, entry } = client.look_up(NAME, known, owner).await.expect("an answer");
            assert!(at > 1_700_000_000_000_000, "{at}");
            entry
        };
        let life = Duration::from_mins(1);
        assert_eq!(look_up(None, 1).await, Err(Occupied::Ours));
        assert_eq!(look_up(None, 1).await, Err(Occupied::Ours));
        assert_eq!(look_up(None, 2).await, Err(Occupied::Other));
        client.renew(NAME, 1).await.expect("an answer");
        // Only the owner ends a fetch.
        client.release(NAME, 2, false).await.expect("an answer");
        client.renew(NAME, 2).await.expect("an answer");
        assert_eq!(look_up(None, 2).await, Err(Occupied::Other));
        assert!(
            client
                .store(NAME, entry(1, 5, 1), life, 1)
                .await
                .expect("an answer")
        );
        assert_eq!(look_up(None, 2).await, Ok(entry(1, 5, 1)));
        assert_eq!(look_up(Some(salt(2)), 2).await, Ok(entry(1, 5, 1)));
        let dump = engine.dump().await;
        let stored = [NAME.as_bytes(), &entry(1, 5, 1)].concat();
        assert!(dump.windows(stored.len()).any(|part| part == stored));
        let left: u64 = engine.ask(&format!("PTTL {NAME}")).await;
        assert!((1..=60_000).contains(&left), "{left}");

        // The known entry counts as absent; the next owner stores another.
        assert_eq!(look_up(Some(salt(1)), 2).await, Err(Occupied::Ours));
        assert!(
            !client
                .store(NAME, entry(1, 4, 2), life, 2)
                .await
                .expect("an answer")
        );
        assert_eq!(look_up(None, 3).await, Ok(entry(1, 5, 1)));
        assert_eq!(look_up(Some(salt(1)), 3).await, Err(Occupied::Ours));
        for (stored, is_stored) in [
            (entry(1, 5, 3), true),
            (entry(1, 6, 4), true),
            (entry(2, 1, 5), true),
            (entry(2, 0, 6), false),
        ] {
            assert_eq!(
                client
                    .store(NAME, stored, life, 3)
                    .await
                    .expect("an answer"),
                is_stored
            );
        }
        client.remove(NAME, salt(6)).await.expect("an answer");
        assert_eq!(look_up(None, 3).await, Ok(entry(2, 1, 5)));
        client.remove(NAME, salt(5)).await.expect("an answer");
        assert_eq!(look_up(None, 3).await, Err(Occupied::Ours));

        client.release(NAME, 3, true).await.expect("an answer");
        assert_eq!(look_up(None, 4).await, Err(Occupied::Unshareable));
        client.release(NAME, 3, false).await.expect("an answer");
        assert_eq!(look_up(None, 4).await, Err(Occupied::Unshareable));
        engine.ask::<()>("DEL stuut1:{k1}:l").await;
        assert_eq!(look_up(None, 4).await, Err(Occupied::Ours));
        client.release(NAME, 4, false).await.expect("an answer");
        assert_eq!(look_up(None, 5).await, Err(Occupied::Ours));

        // Something else under the name is absent, and replaced.
        engine.ask::<()>(&format!("SET {NAME} short")).await;
        assert_eq!(look_up(None, 5).await, Err(Occupied::Ours));
        engine
            .ask::<()>(&format!("SETRANGE {NAME} 2000000 x"))
            .await;
        assert_eq!(look_up(None, 5).await, Err(Occupied::Ours));
        assert!(
            client
                .store(NAME, entry(1, 5, 1), life, 5)
                .await
                .expect("an answer")
        );
    }
}

#[tokio::test]
async fn a_scope_is_recorded_for_a_day() {
    for program in EngineProgram::ALL {
        let Some(engine) = Engine::start(program, "a_scope_is_recorded_for_a_day").await else {
            continue;
        };
        let client = client(&engine.url(), "");
        let name = "stuut1:{s1}:s";
        assert!(!client.remove_scope(name).await.expect("an answer"));
        client.record_scope(name).await.expect("an answer");
        let left: u64 = engine.ask(&format!("TTL {name}")).await;
        assert!((86_000..=86_400).contains(&left), "{left}");
        assert!(client.remove_scope(name).await.expect("an answer"));
        assert!(!client.remove_scope(name).await.expect("an answer"));
    }
}

#[tokio::test]
async fn a_new_era_begins_when_the_log_may_have_lost_items() {
    for program in EngineProgram::ALL {
        let test = "a_new_era_begins_when_the_log_may_have_lost_items";
        let Some(path) = program.path(test) else {
            continue;
        };
        // It writes a dump when told to, and reads it when it starts.
        let mut engine = Engine::with(&path, "").await;
        let client = client(&engine.url(), "");
        let mut eras = vec![client.beat(beat(1, None, 1)).await.expect("a beat").era];
        let append = async |era: Era| {
            let appended = client.append(era, Bytes::from_static(b"x")).await;
            appended.expect("an answer")
        };
        let mut begins = async |what: &str, position| {
            let next = u8::try_from(eras.len()).expect("few") + 1;
            let last = *eras.last().expect("one");
            assert_eq!(append(last).await, Appended::OtherEra, "{what}");
            let reply = client.beat(beat(1, position, next)).await.expect("a beat");
            assert_eq!(
                (reply.era, reply.last),
                (Era([next; 16]), 0),
                "{program:?}: {what}"
            );
            assert_eq!(append(reply.era).await, Appended::At(1), "{what}");
            eras.push(reply.era);
        };

        // Reconnecting is no reason.
        let era = Era([1; 16]);
        assert_eq!(append(era).await, Appended::At(1));
        engine.ask::<()>("CLIENT KILL TYPE normal SKIPME yes").await;
        let reply = client.beat(beat(2, None, 9)).await.expect("a beat");
        assert_eq!((reply.era, reply.last), (era, 1));

        engine.ask::<()>("FLUSHALL").await;
        begins("FLUSHALL", None).await;
        engine.ask::<()>("DEL stuut1:{c}:group").await;
        begins("evicted group", None).await;
        engine.ask::<()>("SAVE").await;
        engine.restart().await;
        assert_eq!(
            engine
                .ask::<u64>("EXISTS stuut1:{c}:group stuut1:{c}:log")
                .await,
            2,
            "{program:?}"
        );
        begins("restart from a dump", None).await;
        std::fs::remove_file(engine.folder().join("dump.rdb")).expect("a dump");
        engine.restart().await;
        begins("restart without a dump", None).await;
        // The member has applied more than there is.
        let era = Era([5; 16]);
        let position = Some(Position { era, id: 2 });
        let reply = client.beat(beat(1, position, 6)).await.expect("a beat");
        assert_eq!(
            (reply.era, reply.last, reply.items.len()),
            (Era([6; 16]), 0, 0)
        );
    }
}

#[tokio::test]
async fn a_lost_log_is_noticed_by_the_numbers() {
    let Some(engine) = Engine::start(
        EngineProgram::Redis7,
        "a_lost_log_is_noticed_by_the_numbers",
    )
    .await
    else {
        return;
    };
    let client = client(&engine.url(), "");
    let era = client.beat(beat(1, None, 1)).await.expect("a beat").era;
    for _ in 0..2 {
        client
            .append(era, Bytes::from_static(b"x"))
            .await
            .expect("an answer");
    }
    engine.ask::<()>("DEL stuut1:{c}:log").await;
    let reply = client.beat(beat(2, None, 2)).await.expect("a beat");
    assert_eq!((reply.era, reply.last, reply.items.len()), (era, 2, 0));
    assert_eq!(
        client
            .append(era, Bytes::from_static(b"x"))
            .await
            .expect("an answer"),
        Appended::At(3)
    );
    let reply = client.beat(beat(3, None, 2)).await.expect("a beat");
    assert_eq!((reply.last, reply.items[0].id), (3, 3));
}

#[tokio::test]
async fn a_beat_reads_as_many_items_as_fit() {
    let Some(engine) =
        Engine::start(EngineProgram::Redis7, "a_beat_reads_as_many_items_as_fit").await
    else {
        return;
    };
    let client = client(&engine.url(), "");
    let era = client.beat(beat(1, None, 1)).await.expect("a beat").era;
    let large = Bytes::from(vec![b'x'; 700_000]);
    for item in [&large, &large, &Bytes::new()] {
        client.append(era, item.clone()).await.expect("an answer");
    }
    for (id, read) in [(0, &[1][..]), (1, &[2, 3]), (3, &[])] {
        let position = Some(Position { era, id });
        let reply = client.beat(beat(2, position, 2)).await.expect("a beat");
        let items: Vec<_> = reply.items.iter().map(|item| item.id).collect();
        assert_eq!((reply.last, &items[..]), (3, read));
    }
}

/// The error of a beat and of a look-up.
async fn errors(client: &Redis) -> [EngineError; 2] {
    let beat = client.beat(beat(1, None, 1)).await.expect_err("a fault");
    [
        beat,
        client.look_up(NAME, None, 1).await.expect_err("a fault"),
    ]
}

#[tokio::test]
async fn a_refusal_of_the_engine_is_told_from_silence() {
    for program in EngineProgram::ALL {
        let test = "a_refusal_of_the_engine_is_told_from_silence";
        let Some(engine) = Engine::start(program, test).await else {
            continue;
        };
        let client = client(&engine.url(), "");
        client.beat(beat(1, None, 1)).await.expect("a beat");
        let refused = async |what: &str| {
            for error in errors(&client).await {
                assert!(
                    matches!(&error, EngineError::Refused(reason) if reason.contains(what)),
                    "{program:?}: {error}"
                );
            }
        };
        engine.ask::<()>("CONFIG SET maxmemory 1").await;
        refused("OOM").await;
        engine.ask::<()>("CONFIG SET maxmemory 0").await;
        client.beat(beat(2, None, 1)).await.expect("a beat");

        engine.ask::<()>("REPLICAOF 127.0.0.1 1").await;
        refused("READONLY").await;
        engine.ask::<()>("REPLICAOF NO ONE").await;
        client.beat(beat(3, None, 1)).await.expect("a beat");
        assert_eq!(
            client
                .look_up(NAME, None, 1)
                .await
                .expect("an answer")
                .entry,
            Err(Occupied::Ours)
        );
    }
}

#[tokio::test]
async fn a_frozen_engine_is_a_timeout_each_time() {
    for program in EngineProgram::ALL {
        let Some(engine) = Engine::start(program, "a_frozen_engine_is_a_timeout_each_time").await
        else {
            continue;
        };
        let clock = manual();
        let client = client_at(&clock, &engine.url(), "");
        client.beat(beat(1, None, 1)).await.expect("a beat");
        client.look_up(NAME, None, 1).await.expect("an answer");
        engine.signal("STOP");
        // As many as do not replace the connection, which would then be none.
        for _ in 0..4 {
            let look_up = moved(&clock, client.look_up(NAME, None, 1)).await;
            let is_timeout =
                matches!(look_up, Err(EngineError::Timeout(limit)) if limit.as_secs() == 10);
            assert!(is_timeout, "{look_up:?}");
        }
        let beat_limit = match moved(&clock, client.beat(beat(2, None, 1))).await {
            Err(EngineError::Timeout(limit)) => limit.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(beat_limit, 15);
        engine.signal("CONT");
        wait_until("the connection is replaced", async || {
            client.beat(beat(3, None, 1)).await.is_ok()
        })
        .await;
        client.look_up(NAME, None, 1).await.expect("an answer");
    }
}

#[tokio::test]
async fn without_an_engine_each_operation_fails_at_once_and_later_succeeds() {
    let test = "without_an_engine_each_operation_fails_at_once_and_later_succeeds";
    let Some(mut engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let clock = manual();
    let client = client_at(&clock, &engine.url(), "");
    client.beat(beat(1, None, 1)).await.expect("a beat");
    client.look_up(NAME, None, 1).await.expect("an answer");
    engine.kill();
    for error in errors(&client).await {
        assert!(matches!(error, EngineError::Connection(_)), "{error:?}");
    }
    engine.restart().await;
    wait_until("both connections are there", async || {
        clock.advance_waiters(Duration::from_secs(1));
        let beat = client.beat(beat(2, None, 2)).await;
        beat.is_ok() && client.look_up(NAME, None, 1).await.is_ok()
    })
    .await;
}
