//! `demo --replicas N`: several replicas in front of the simulated API, with an engine if Redis or Valkey is
//! installed.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;

use crate::cli::serve::log;
use crate::cli::{doctor, print};
use crate::clock::Clock;
use crate::config::{Config, EngineUrl, ScopeKey};
use crate::process::{Process, Sockets};
use crate::telemetry::LogWriter;

/// Programs that can be the engine.
const ENGINES: [&str; 2] = ["redis-server", "valkey-server"];

/// Time for the engine and the group to be ready.
const START: Duration = Duration::from_secs(15);

/// An engine on loopback, without persistence; killed when dropped.
pub(super) struct Engine {
    child: Child,
    name: &'static str,
    address: SocketAddr,
}

/// Starts the replicas, and shows what they share.
pub(super) async fn start(
    count: u16,
    mut config: Config,
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
    // In its first lease a group waits for replicas that it may not know.
    let is_one_cache = doctor::check_demo(&replicas, engine.as_ref().map(|_| START)).await?;
    ensure!(is_one_cache || engine.is_none(), "a check has failed");
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
                    let listening = async {
                        while TcpStream::connect(address).await.is_err() {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    };
                    let started = tokio::time::timeout(START, listening).await;
                    started.with_context(|| format!("{name}: not ready within {START:?}"))?;
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
