//! An engine that has lost something: all it had, the end of the log, or a key. What was invalidated
//! before stays so, and what is invalidated next reaches every replica.

use http::Method;

use super::{CALL, all_in_step, assert_newer, latest, shared, store, version, versions};
use crate::support::{
    Engine, EngineProgram, Fault, Relay, Replicas, engine_urls, in_step, wait_until,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// FLUSHALL.
    Flushed,
    /// A restart without a dump.
    Empty,
    /// A restart from a dump that was written before the last invalidation.
    OldDump,
    /// The key of the group is gone.
    Group,
    /// The log is gone.
    Log,
}

const LOSSES: [Loss; 5] = [
    Loss::Flushed,
    Loss::Empty,
    Loss::OldDump,
    Loss::Group,
    Loss::Log,
];

impl Loss {
    async fn happen(self, engine: &mut Engine) {
        match self {
            Self::Flushed => engine.ask("FLUSHALL").await,
            Self::Empty => {
                let _ = std::fs::remove_file(engine.folder().join("dump.rdb"));
                engine.restart().await;
            }
            Self::OldDump => engine.restart().await,
            Self::Group => engine.ask("DEL stuut1:{c}:group").await,
            Self::Log => engine.ask("DEL stuut1:{c}:log").await,
        }
    }
}

#[tokio::test]
async fn what_was_invalidated_before_a_loss_stays_so() {
    let test = "what_was_invalidated_before_a_loss_stays_so";
    for loss in LOSSES {
        let Some(mut replicas) = Replicas::start(test, 3).await else {
            return;
        };
        let what = format!("{loss:?}");
        store(&replicas).await;
        shared(&replicas[0], 1).await;
        replicas.engine.ask::<()>("SAVE").await;
        let known = latest(&replicas.origin);
        replicas.purge(0, "call=c1").await;
        loss.happen(&mut replicas.engine).await;
        if loss == Loss::OldDump {
            let entries: Vec<String> = replicas.engine.ask("KEYS *:e").await;
            assert_eq!(entries.len(), 1, "the old entry is back");
        }
        // Before the others notice, and after it.
        assert_newer(&versions(&replicas).await, known, &what);
        all_in_step(&replicas).await;
        assert_newer(&versions(&replicas).await, known, &what);
        // One that begins now has no memory of its own.
        let joined = replicas.join(|_| {}).await;
        in_step(&replicas[joined]).await;
        assert_newer(&versions(&replicas).await, known, &what);
        // And they are a group again.
        replicas.settle().await;
        store(&replicas).await;
        let known = latest(&replicas.origin);
        let purge = replicas.purge(joined, "call=c1").await;
        assert_eq!(purge["confirmed"], 4, "{what}: {purge}");
        assert_newer(&versions(&replicas).await, known, &what);
    }
}

#[tokio::test]
async fn what_is_invalidated_right_after_a_loss_reaches_replicas_that_have_not_noticed() {
    let test = "what_is_invalidated_right_after_a_loss_reaches_replicas_that_have_not_noticed";
    for loss in LOSSES {
        for is_purge in [false, true] {
            let Some(engine) = Engine::start(EngineProgram::chosen(), test).await else {
                return;
            };
            let relay = Relay::start(engine.port()).await;
            let mut replicas = Replicas::on(engine, 2).await;
            let url = relay.url();
            let victim = replicas
                .join(|config| config.shared.url = engine_urls(&[url]))
                .await;
            replicas.settle().await;
            store(&replicas).await;
            replicas.engine.ask::<()>("SAVE").await;
            // It has its lease, no word of the new era, and no place among the members.
            relay.set(Fault::Pause);
            loss.happen(&mut replicas.engine).await;
            in_step(&replicas[0]).await;
            let known = latest(&replicas.origin);
            let what = format!("{loss:?} {is_purge}");
            let invalidate = if is_purge {
                replicas[0].admin(Method::POST, "/purge?call=c1")
            } else {
                replicas[0].request(Method::PATCH, CALL).bearer("a")
            };
            replicas.answered(invalidate).await.assert_status(200);
            assert_newer(&versions(&replicas).await, known, &what);
            relay.set(Fault::None);
            wait_until("the victim is in step", async || {
                replicas[victim].metric("stuut_cache_shared_state").await == 0.0
            })
            .await;
            assert_newer(&[version(&replicas[victim]).await], known, &what);
        }
    }
}
