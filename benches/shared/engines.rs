//! The engine: one server, or a primary and its replica under three Sentinels.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::setup::{Running, free_address, wait_until_listening};

/// A server. It keeps nothing on disk.
#[derive(Debug)]
pub(crate) struct Engine {
    port: u16,
    running: Option<Running>,
}

/// A primary and its replica, and the Sentinels that choose which is which.
#[derive(Debug)]
pub(crate) struct Pair {
    servers: [Engine; 2],
    sentinels: Vec<Engine>,
    _folder: TempDir,
}

/// An engine, as the settings of the replicas name it.
pub(crate) trait Endpoint {
    /// Their settings.
    fn settings(&self) -> Vec<(&'static str, String)>;
}

impl Endpoint for Engine {
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("SHARED__URL", self.url())]
    }
}

impl Endpoint for Pair {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let urls: Vec<_> = self.sentinels.iter().map(Engine::url).collect();
        let name = ("SHARED__SENTINEL", "main".to_owned());
        vec![("SHARED__URL", urls.join(",")), name]
    }
}

impl Engine {
    pub(crate) fn start() -> Result<Self> {
        let mut engine = Self::stopped()?;
        engine.restart()?;
        Ok(engine)
    }

    fn stopped() -> Result<Self> {
        Ok(Self {
            port: free_address()?.port(),
            running: None,
        })
    }

    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        self.run(&[])
    }

    fn run_as_replica(&mut self, of: u16) -> Result<()> {
        self.run(&["--replicaof", "127.0.0.1", &of.to_string()])?;
        let is_linked = || Ok(self.ask("INFO replication")?.contains("link_status:up"));
        wait_until("the server is a replica", is_linked)
    }

    fn run(&mut self, more: &[&str]) -> Result<()> {
        let port = self.port.to_string();
        // Not the file that another server may have left in this folder.
        let file = format!("stuut-cache-bench-{port}.rdb");
        let options = [
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--save",
            "",
            "--dbfilename",
            &file,
        ];
        let memory = ["--appendonly", "no", "--maxmemory", "256mb"];
        let policy = ["--maxmemory-policy", "volatile-lru"];
        self.spawn(&[&options, &memory[..], &policy, more].concat())
    }

    fn spawn(&mut self, arguments: &[&str]) -> Result<()> {
        self.running = None;
        let programs = ["redis-server", "valkey-server"];
        let started = programs.into_iter().find_map(|program| {
            let mut command = Command::new(program);
            let command = command.args(arguments);
            Running::start(command.current_dir(std::env::temp_dir())).ok()
        });
        self.running = Some(started.ok_or("redis-server or valkey-server is not installed")?);
        wait_until_listening(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        self.running
            .as_ref()
            .map_or(Ok(()), |running| running.signal(name))
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The reply to a command, as it is sent.
    fn ask(&self, command: &str) -> Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(socket, "{command}\r\n")?;
        // The server replies, and closes the connection.
        socket.shutdown(Shutdown::Write)?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply)?;
        Ok(reply)
    }
}

impl Pair {
    pub(crate) fn start() -> Result<Self> {
        let (primary, mut replica) = (Engine::start()?, Engine::stopped()?);
        replica.run_as_replica(primary.port)?;
        let (folder, mut sentinels) = (TempDir::new()?, Vec::new());
        for number in 0..3 {
            let mut sentinel = Engine::stopped()?;
            let mut lines = format!("bind 127.0.0.1\nport {}\n", sentinel.port);
            writeln!(lines, "sentinel monitor main 127.0.0.1 {} 2", primary.port)?;
            lines += "sentinel down-after-milliseconds main 2000\n";
            lines += "sentinel failover-timeout main 10000\n";
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, lines)?;
            sentinel.spawn(&[&path.display().to_string(), "--sentinel"])?;
            sentinels.push(sentinel);
        }
        let pair = Self {
            servers: [primary, replica],
            sentinels,
            _folder: folder,
        };
        wait_until("the Sentinels know the servers", || {
            let mut states = pair.sentinels.iter().map(|one| one.ask("INFO sentinel"));
            states.try_fold(true, |all, state| {
                Ok(all && state?.contains("slaves=1,sentinels=3"))
            })
        })?;
        Ok(pair)
    }

    /// Kills the primary; once the Sentinels have another, it is started again as a replica of that one.
    pub(crate) fn fail_over(&mut self) -> Result<()> {
        let [one, other] = &mut self.servers;
        let is_primary = |server: &Engine| Ok(server.ask("ROLE")?.contains("master"));
        let (old, new) = if is_primary(one)? {
            (one, other)
        } else {
            (other, one)
        };
        old.kill();
        wait_until("there is another primary", || is_primary(new))?;
        let is_known = || {
            let mut replies = self
                .sentinels
                .iter()
                .map(|sentinel| sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME main"));
            let port = format!("\r\n{}\r\n", new.port);
            replies.try_fold(true, |all, reply| Ok(all && reply?.contains(&port)))
        };
        wait_until("the Sentinels know it", is_known)?;
        old.run_as_replica(new.port)
    }
}

fn wait_until(what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !condition()? {
        if began.elapsed() > Duration::from_secs(30) {
            return Err(format!("not within 30 s: {what}").into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
