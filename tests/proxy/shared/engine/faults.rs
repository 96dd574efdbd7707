//! What the faults of an engine become.

use std::time::Duration;

use stuut_cache::cache::shared::redis::Redis;
use stuut_cache::cache::shared::{Engine as _, EngineError, Occupied};

use super::{NAME, ROOM, beat, client, client_at, manual, moved};
use crate::support::{Engine, EngineProgram, wait_until};

/// The error of a beat and of a look-up.
async fn errors(client: &Redis) -> [EngineError; 2] {
    let beat = client.beat(beat(1, None, 1)).await.expect_err("a fault");
    [
        beat,
        client
            .look_up(NAME, None, 1, ROOM)
            .await
            .expect_err("a fault"),
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
                .look_up(NAME, None, 1, ROOM)
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
        let client = client_at(&clock, &[engine.url()], "");
        client.beat(beat(1, None, 1)).await.expect("a beat");
        client
            .look_up(NAME, None, 1, ROOM)
            .await
            .expect("an answer");
        engine.signal("STOP");
        // As many as do not replace the connection, which would then be none.
        for _ in 0..4 {
            let look_up = moved(&clock, client.look_up(NAME, None, 1, ROOM)).await;
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
        client
            .look_up(NAME, None, 1, ROOM)
            .await
            .expect("an answer");
    }
}

#[tokio::test]
async fn without_an_engine_each_operation_fails_at_once_and_later_succeeds() {
    let test = "without_an_engine_each_operation_fails_at_once_and_later_succeeds";
    let Some(mut engine) = Engine::start(EngineProgram::Redis7, test).await else {
        return;
    };
    let clock = manual();
    let client = client_at(&clock, &[engine.url()], "");
    client.beat(beat(1, None, 1)).await.expect("a beat");
    client
        .look_up(NAME, None, 1, ROOM)
        .await
        .expect("an answer");
    engine.kill();
    for error in errors(&client).await {
        assert!(matches!(error, EngineError::Connection(_)), "{error:?}");
    }
    engine.restart().await;
    wait_until("both connections are there", async || {
        clock.advance_waiters(Duration::from_secs(1));
        let beat = client.beat(beat(2, None, 2)).await;
        beat.is_ok() && client.look_up(NAME, None, 1, ROOM).await.is_ok()
    })
    .await;
}
