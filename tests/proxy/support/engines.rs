//! Several servers as one engine: a primary with its replica under Sentinels, and a cluster.

use std::path::Path;

use super::engine::{Engine, free_port};
use super::wait_until;

/// A primary, its replica, and three Sentinels that know the primary as `main`. The user
/// `stuut-cache` has the password `secret`.
pub struct Sentinels {
    pub engines: [Engine; 2],
    pub sentinels: [Engine; 3],
}

impl Sentinels {
    pub async fn start(program: &Path) -> Self {
        let user = "user stuut-cache on >secret ~* +@all";
        let primary = Engine::with(program, user).await;
        let lines = format!("replicaof 127.0.0.1 {}\n{user}", primary.port());
        let group = Self {
            sentinels: [
                Self::sentinel(program, primary.port(), "").await,
                Self::sentinel(program, primary.port(), "").await,
                Self::sentinel(program, primary.port(), "").await,
            ],
            engines: [primary, Engine::with(program, &lines).await],
        };
        for sentinel in &group.sentinels {
            // By default they look every two or ten seconds.
            let periods = "info-period 100 publish-period 100 ask-period 100";
            sentinel
                .ask::<()>(&format!("SENTINEL DEBUG {periods}"))
                .await;
        }
        group.wait_for_replica().await;
        group
    }

    /// A Sentinel of the primary on this port.
    pub async fn sentinel(program: &Path, primary: u16, lines: &str) -> Engine {
        let lines = format!(
            "sentinel monitor main 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 2000\n{lines}"
        );
        Engine::run(program, free_port(), &lines, &["--sentinel"]).await
    }

    /// Waits until each Sentinel knows a replica in good order and both others.
    async fn wait_for_replica(&self) {
        wait_until("the Sentinels know the replica", async || {
            for sentinel in &self.sentinels {
                let state: String = sentinel.ask("INFO sentinel").await;
                if !state.contains("status=ok") || !state.contains("slaves=1,sentinels=3") {
                    return false;
                }
                let replicas: Vec<Vec<String>> = sentinel.ask("SENTINEL REPLICAS main").await;
                let is_linked = |replica: &Vec<String>| {
                    let link = replica.iter().position(|word| word == "master-link-status");
                    link.is_some_and(|at| replica[at + 1] == "ok")
                        && !replica.iter().any(|word| word.contains("_down"))
                };
                if !replicas.iter().all(is_linked) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// For `shared.url`.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Engine::url).collect()
    }
}

/// Three primaries, and a replica of each three places later.
pub struct Cluster {
    pub engines: Vec<Engine>,
}

impl Cluster {
    /// Starts it with more lines in the configuration of each node.
    pub async fn start(program: &Path, lines: &str) -> Self {
        let mut engines = Vec::new();
        for _ in 0..6 {
            let bus = free_port();
            let lines = format!(
                "cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 1000\n\
                 cluster-allow-replica-migration no\ncluster-replica-validity-factor 0\n{lines}"
            );
            let engine = Engine::with(program, &lines).await;
            if let Some(first) = engines.first() {
                Self::meet(&engine, first).await;
            }
            engines.push(engine);
        }
        let cluster = Self { engines };
        for (node, slots) in cluster
            .engines
            .iter()
            .zip(["0 5460", "5461 10922", "10923 16383"])
        {
            node.ask::<()>(&format!("CLUSTER ADDSLOTSRANGE {slots}"))
                .await;
        }
        cluster.wait_for("cluster_known_nodes:6").await;
        for place in 0..3 {
            let id: String = cluster.engines[place].ask("CLUSTER MYID").await;
            let replica = &cluster.engines[place + 3];
            wait_until("the primary is known as one", async || {
                let words: [&[u8]; 3] = [b"CLUSTER", b"REPLICATE", id.as_bytes()];
                replica.send::<()>(&words).await.is_ok()
            })
            .await;
        }
        cluster.wait_for("cluster_state:ok").await;
        for place in 3..6 {
            cluster.wait_for_replica(place).await;
        }
        cluster
    }

    async fn meet(engine: &Engine, first: &Engine) {
        let bus: Vec<String> = first.ask("CONFIG GET cluster-port").await;
        let first = first.port();
        engine
            .ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {first} {}", bus[1]))
            .await;
    }

    async fn wait_for(&self, line: &str) {
        wait_until(line, async || {
            for engine in &self.engines {
                if !engine.ask::<String>("CLUSTER INFO").await.contains(line) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Sends a command to each node.
    pub async fn ask(&self, command: &str) {
        for engine in &self.engines {
            engine.ask::<()>(command).await;
        }
    }

    /// Waits until a node is a replica in good order.
    pub async fn wait_for_replica(&self, place: usize) {
        wait_until("the node is a replica", async || {
            let state: String = self.engines[place].ask("INFO replication").await;
            state.contains("master_link_status:up")
        })
        .await;
    }

    /// The places of the primary and the replica of the group's log.
    pub async fn of_log(&self) -> (usize, usize) {
        let slot: usize = self.engines[0].ask("CLUSTER KEYSLOT {c}").await;
        let primary = slot * 3 / 16_384;
        (primary, primary + 3)
    }

    /// For `shared.url`.
    pub fn urls(&self) -> Vec<String> {
        self.engines.iter().map(Engine::url).collect()
    }
}
