//! When a new era begins, and what tells that the log has lost items.

use bytes::Bytes;
use stuut_cache::cache::shared::{Appended, Engine as _, Era, Position};

use super::{beat, client};
use crate::support::{Engine, EngineProgram};

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
