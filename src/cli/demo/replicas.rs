//! `demo --replicas N`: several replicas in front of the simulated API, with an engine if Redis or Valkey is
//! installed.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::Full;
use memchr::memmem;
use stuut_simulator::{Simulator, demo};
use tokio::net::TcpStream;

use super::get;
use crate::cli::admin_client::{AdminAddress, HttpClient, MAX_BODY, http_client, send};
use crate::cli::print;
use crate::cli::serve::log;
use crate::clock::Clock;
use crate::config::{Config, EngineUrl, ScopeKey};
use crate::process::{Process, Sockets};
use crate::telemetry::LogWriter;

/// Programs that can be the engine.
const ENGINES: [&str; 2] = ["redis-server", "valkey-server"];

/// Time for the engine and the group to be ready.
const START: Duration = Duration::from_secs(15);

/// The text that the write puts into the call.
const CHANGE: &str = "changed through replica 1";

/// An engine on loopback, without persistence; killed when dropped.
pub(super) struct Engine {
    child: Child,
    name: &'static str,
    address: SocketAddr,
}

struct Tour<'a> {
    replicas: &'a [Process],
    client: HttpClient,
    simulator: &'a Simulator,
    is_shared: bool,
}

/// Starts the replicas, and shows what they share.
pub(super) async fn start(
    count: u16,
    mut config: Config,
    simulator: &Simulator,
) -> anyhow::Result<(Vec<Process>, Vec<LogWriter>, Option<Engine>)> {
    let engine = Engine::start().await?;
    config.scope.key = Some(ScopeKey::random());
    if let Some(Engine { name, address, .. }) = &engine {
        let url = EngineUrl::parse(&format!("redis://{address}"));
        config.shared.url = vec![url.map_err(anyhow::Error::msg)?];
        print_line!("{count} replicas with a shared level on {name}, {address}");
    } else {
        let names = ENGINES.join(" nor ");
        print_line!("neither {names} is in PATH: {count} replicas that share nothing");
    }
    let (mut replicas, mut writers) = (Vec::new(), Vec::new());
    for n in 0..count {
        let mut config = config.clone();
        for listen in [&mut config.server.listen, &mut config.admin.listen] {
            if listen.port() > 0 {
                listen.set_port(listen.port().checked_add(n).context("no such port")?);
            }
        }
        // One each: it counts the callers.
        let writer = log(&config.log)?;
        let replica = Process::start(&config, &Clock::system(), Some(&writer), Sockets::default())?;
        writers.push(writer);
        let (address, admin) = (replica.address, replica.admin_address);
        print_line!(
            "replica {}: http://{address}, dashboard on http://{admin}/",
            n + 1
        );
        replicas.push(replica);
    }
    let tour = Tour {
        replicas: &replicas,
        client: http_client(),
        simulator,
        is_shared: engine.is_some(),
    };
    tour.run().await?;
    Ok((replicas, writers, engine))
}

impl Engine {
    /// Starts the first program that is installed; `None` if none is.
    async fn start() -> anyhow::Result<Option<Self>> {
        if !cfg!(feature = "shared") {
            return Ok(None);
        }
        let listener = crate::server::listen("the engine", (Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        drop(listener);
        for name in ENGINES {
            let mut command = Command::new(name);
            command.args(["--bind", "127.0.0.1", "--save", ""]);
            // Not the file that another server may have left in this folder.
            command.args(["--dbfilename", "stuut-cache-demo.rdb", "--port"]);
            command.arg(address.port().to_string()).stdin(Stdio::null());
            match command.stdout(Stdio::null()).spawn() {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                spawned => {
                    let child = spawned.context(name)?;
                    let engine = Self {
                        child,
                        name,
                        address,
                    };
                    wait_until(name, async || Ok(TcpStream::connect(address).await.is_ok()))
                        .await?;
                    return Ok(Some(engine));
                }
            }
        }
        Ok(None)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tour<'_> {
    async fn run(&self) -> anyhow::Result<()> {
        let all = self.replicas.len();
        let (first, last) = (&self.replicas[0], &self.replicas[all - 1]);
        if self.is_shared {
            // In its first lease a group waits for replicas that it may not know.
            let confirmed = format!("\"confirmed\":{all},");
            wait_until("the replicas", async || {
                Ok(self.purge(last, "all").await?.contains(&confirmed))
            })
            .await?;
        }
        let fetches = self.fetches();
        let gets = (0..all).map(|n| self.get(n, "the call, at the same time as the others"));
        try_join_all(gets).await?;
        let fetches = self.fetches() - fetches;
        print_line!("   {fetches} of {all} requests reached the origin\n");
        ensure!(!self.is_shared || fetches == 1, "more than one fetch");

        let purged = self.purge(last, &format!("call={}", demo::CALL)).await?;
        print_line!("-- replica {all}: a purge of the call\n   {purged}");
        let fetches = self.fetches();
        for n in 0..all {
            self.get(n, "the call after the purge").await?;
        }
        let is_fetched = self.fetches() > fetches;
        ensure!(!self.is_shared || is_fetched, "a purged response");

        let write = Request::patch(format!("http://{}/v1/calls/{}", first.address, demo::CALL))
            .header(AUTHORIZATION, format!("Bearer {}", demo::TOKEN))
            .body(Full::from(format!("{{\"call_reason\":\"{CHANGE}\"}}")))?;
        let written = send(&self.client, write, MAX_BODY).await;
        let status = written.map_err(anyhow::Error::msg)?.status();
        print_line!("-- replica 1: a write to the call\n   PATCH {status}\n");
        let body = self.get(all - 1, "the call after the write").await?;
        let has_change = memmem::find(&body, CHANGE.as_bytes()).is_some();
        let age = if has_change { "after" } else { "before" };
        print_line!("   it is the call from {age} the write\n");
        ensure!(
            !self.is_shared || has_change,
            "a response from before a write"
        );
        Ok(())
    }

    fn fetches(&self) -> u64 {
        self.simulator.requests().total()
    }

    async fn get(&self, replica: usize, what: &str) -> anyhow::Result<Bytes> {
        let base = format!("http://{}", self.replicas[replica].address);
        let title = format!("replica {}: {what}", replica + 1);
        get(
            &self.client,
            &title,
            &base,
            demo::CALL.to_owned(),
            demo::TOKEN,
        )
        .await
    }

    async fn purge(&self, replica: &Process, what: &str) -> anyhow::Result<String> {
        let admin = replica.admin_address.to_string().parse().ok();
        let admin = AdminAddress { admin }.client(None)?;
        let purged = admin.post(&format!("/purge?{what}")).await?;
        Ok(String::from_utf8_lossy(&purged).into_owned())
    }
}

/// Polls until it is so.
async fn wait_until(
    what: &str,
    is_so: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let polling = async {
        while !is_so().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    let waited = tokio::time::timeout(START, polling).await;
    waited.with_context(|| format!("{what}: not ready within {START:?}"))?
}
