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
            // By default they look every two or ten seconds, and before version 7 always.
            let periods = "SENTINEL DEBUG info-period 100 publish-period 100 ask-period 100";
            let words: Vec<_> = periods.split(' ').map(str::as_bytes).collect();
            let _ = sentinel.send::<()>(&words).await;
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

/// A port for a node; its bus has the one 10,000 above it.
fn port_of_node() -> u16 {
    let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let ports = std::iter::repeat_with(free_port);
    let mut ports = ports.filter(|port| port.checked_add(10_000).is_some_and(is_free));
    ports.next().expect("they do not end")
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
            let lines = format!(
                "cluster-enabled yes\ncluster-node-timeout 1000\n\
                 cluster-migration-barrier 9\ncluster-replica-validity-factor 0\n{lines}"
            );
            let engine = Engine::run(program, port_of_node(), &lines, &[]).await;
            if let Some(first) = engines.first() {
                Self::meet(&engine, first).await;
            }
            engines.push(engine);
        }
        let cluster = Self { engines };
        for (node, slots) in
            cluster
                .engines
                .iter()
                .zip([0..=5_460, 5_461..=10_922, 10_923..=16_383])
        {
            let slots: Vec<_> = slots.map(|slot: u16| slot.to_string()).collect();
            node.ask::<()>(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")))
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
        let meet = format!("CLUSTER MEET 127.0.0.1 {}", first.port());
        engine.ask::<()>(&meet).await;
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
