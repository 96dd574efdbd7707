//! Each operation, on each engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stuut_cache::cache::shared::{
    Appended, Beat, BeatReply, Engine as _, Era, Found, MemberId, Occupied, Position,
};

use super::{LEASE, MEMBER, NAME, ROOM, beat, client, entry, salt};
use crate::support::{Engine, EngineProgram, wait_until};

#[tokio::test]
async fn a_beat_begins_an_era_and_reads_the_log() {
    for program in EngineProgram::ALL {
        let Some(engine) = Engine::start(program, "a_beat_begins_an_era_and_reads_the_log").await
        else {
            continue;
        };
        let client = client(&engine.url(), "");
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
        let others = async |own: Beat| {
            let reply = client.beat(own).await.expect("a beat");
            reply.members.len() - 1
        };
        let other = Beat {
            member: MemberId(1),
            ..beat(1, None, 2)
        };
        client.remove_member(MEMBER, 2).await.expect("an answer");
        assert_eq!(others(other).await, 1);
        client.remove_member(MEMBER, 3).await.expect("an answer");
        assert_eq!(others(other).await, 0);
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
            let Found { at, entry, .. } = client
                .look_up(NAME, known, owner, ROOM)
                .await
                .expect("an answer");
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
        // Without room for it, its header is sent.
        let stored = entry(1, 5, 1);
        for (room, sent) in [(stored.len(), stored.len()), (stored.len() - 1, 57)] {
            let found = client
                .look_up(NAME, None, 5, room)
                .await
                .expect("an answer");
            assert_eq!(found.length, stored.len());
            assert_eq!(found.entry, Ok(stored.slice(..sent)), "{room}");
        }
    }
}

#[tokio::test]
async fn a_fetch_without_an_end_counts_as_absent() {
    for program in EngineProgram::ALL {
        let test = "a_fetch_without_an_end_counts_as_absent";
        let Some(engine) = Engine::start(program, test).await else {
            continue;
        };
        let client = client(&engine.url(), "");
        let look_up = async |owner| {
            let found = client.look_up(NAME, None, owner, ROOM).await;
            found.expect("an answer").entry
        };
        for expiry in ["", " PX 60000"] {
            let fetch = format!("SET stuut1:{{k1}}:l other{expiry}");
            engine.ask::<()>(&fetch).await;
            assert_eq!(look_up(1).await, Err(Occupied::Ours), "{fetch}");
            assert_eq!(look_up(2).await, Err(Occupied::Other), "{fetch}");
            let left: u64 = engine.ask("PTTL stuut1:{k1}:l").await;
            assert!((1..=1_000).contains(&left), "{left}");
        }
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
        assert!(!client.find_scope(name, true).await.expect("an answer"));
        client.record_scope(name).await.expect("an answer");
        let left: u64 = engine.ask(&format!("TTL {name}")).await;
        assert!((86_000..=86_400).contains(&left), "{left}");
        assert!(client.find_scope(name, false).await.expect("an answer"));
        assert!(client.find_scope(name, true).await.expect("an answer"));
        assert!(!client.find_scope(name, false).await.expect("an answer"));
    }
}
