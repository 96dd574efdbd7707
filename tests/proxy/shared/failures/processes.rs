//! Replicas in processes of their own: stopped for longer than their lease, or killed.

use http::Method;
use stuut_cache::config::ScopeKey;
use tempfile::NamedTempFile;

use super::CALL;
use crate::support::{Engine, EngineProgram, Origin, Program, Reply, wait_until};

/// Processes with one key and one engine.
struct Processes {
    engine: Engine,
    origin: Origin,
    key: NamedTempFile,
}

impl Processes {
    async fn start(test: &str) -> Option<Self> {
        let key = NamedTempFile::new().expect("a temporary file");
        let line = ScopeKey::random().hex();
        std::fs::write(key.path(), line.as_bytes()).expect("the file can be written");
        Some(Self {
            engine: Engine::start(EngineProgram::chosen(), test).await?,
            origin: Origin::start().await,
            key,
        })
    }

    async fn join(&self) -> Program {
        let (url, key) = (self.engine.url(), self.key.path().to_str());
        let variables = [
            ("SHARED__URL", &url[..]),
            ("SHARED__TIMEOUT", "1s"),
            ("SCOPE__KEY_FILE", key.expect("the path is UTF-8")),
            ("LOG__ACCESS", "false"),
        ];
        Program::start(&self.origin, &variables).await
    }
}

/// A response that is fresh for long, of this version.
fn reply(version: u32) -> Reply {
    let body = format!("{{\"status\":\"completed\",\"version\":{version}}}");
    Reply::json(&body).header("cache-control", "max-age=600")
}

async fn is_hit(program: &Program) -> bool {
    let response = program.get(CALL).bearer("a").await.assert_status(200);
    response.cache_status().contains("; hit")
}

#[tokio::test]
async fn a_stopped_replica_answers_nothing_from_before_what_it_has_missed() {
    let test = "a_stopped_replica_answers_nothing_from_before_what_it_has_missed";
    for is_purge in [true, false] {
        let Some(group) = Processes::start(test).await else {
            return;
        };
        let [one, victim] = [group.join().await, group.join().await];
        for program in [&one, &victim] {
            let replicas = "stuut_cache_shared_replicas";
            program.wait_for_metric(replicas, 2).await;
        }
        group.origin.reply(CALL, reply(1));
        wait_until("the victim has the first version", async || {
            is_hit(&victim).await
        })
        .await;
        // An open connection to it, with a request that it reads when it goes on.
        let mut connection = victim.raw_connection().await;
        victim.freeze().await;
        let get = format!("GET {CALL} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n");
        connection.send(&get).await;
        if is_purge {
            group.origin.reply(CALL, reply(2));
            let purge = one.admin(Method::POST, "/purge?call=c1").await;
            let purge = purge.assert_status(200).json();
            assert_eq!(
                (&purge["replicas"], &purge["confirmed"]),
                (&2.into(), &1.into())
            );
        } else {
            group.origin.reply(CALL, reply(2));
            let write = one.request(Method::PATCH, CALL).bearer("a").body("{}");
            write.await.assert_status(200);
        }
        victim.signal("CONT");
        let answer = connection.read_until("}").await;
        assert!(answer.contains("\"version\":2"), "{answer}");
        let response = victim.get(CALL).bearer("a").await.assert_status(200);
        assert_eq!(response.json()["version"], 2);
    }
}

#[tokio::test]
async fn another_replica_takes_over_the_fetch_of_one_that_is_killed_or_stopped() {
    let test = "another_replica_takes_over_the_fetch_of_one_that_is_killed_or_stopped";
    for is_killed in [true, false] {
        let Some(group) = Processes::start(test).await else {
            return;
        };
        let [owner, other] = [group.join().await, group.join().await];
        for program in [&owner, &other] {
            let state = "stuut_cache_shared_state";
            program.wait_for_metric(state, 0).await;
        }
        group.origin.reply(CALL, reply(1));
        let gate = group.origin.hold(CALL);
        let mut connection = owner.raw_connection().await;
        let get = format!("GET {CALL} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n");
        connection.send(&get).await;
        group.origin.wait_for_requests(1).await;
        let waiting = other.get(CALL).bearer("a").start();
        let waits = "stuut_cache_shared_lookups_total{result=\"wait\"}";
        wait_until("the other replica waits", async || {
            other.metric(waits).await > 0.0
        })
        .await;
        if is_killed {
            owner.signal("KILL");
        } else {
            owner.freeze().await;
        }
        group.origin.wait_for_requests(2).await;
        gate.open_for_all();
        let response = waiting.await.assert_status(200);
        assert_eq!(response.json()["version"], 1, "killed: {is_killed}");
        group.origin.assert_requests(2);
    }
}
