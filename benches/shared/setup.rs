//! The programs of a row: the engine, and the replicas.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::load::Connection;
use crate::origin::Origin;

/// A program that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

/// The engine. It keeps nothing on disk.
#[derive(Debug)]
pub(crate) struct Engine {
    port: u16,
    running: Option<Running>,
}

/// A replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    variables: Vec<(String, String)>,
    pub(crate) running: Option<Running>,
}

/// An engine and its replicas, in front of an origin.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) origin: Origin,
    pub(crate) engine: Engine,
    pub(crate) replicas: Vec<Replica>,
    _folder: TempDir,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let (name, id) = (format!("-{name}"), self.0.id().to_string());
        Command::new("kill").args([name, id]).status()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Engine {
    fn start() -> Result<Self> {
        let mut engine = Self {
            port: free_address()?.port(),
            running: None,
        };
        engine.restart()?;
        Ok(engine)
    }

    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        self.running = None;
        let port = self.port.to_string();
        let options = ["--bind", "127.0.0.1", "--port", &port, "--save", ""];
        let more = ["--appendonly", "no", "--maxmemory", "256mb"];
        let policy = ["--maxmemory-policy", "volatile-lru"];
        let programs = ["redis-server", "valkey-server"];
        let started = programs.into_iter().find_map(|program| {
            let mut command = Command::new(program);
            let command = command.args(options).args(more).args(policy);
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
}

impl Replica {
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.running = None;
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
        let command = command.arg("serve").envs(variables).stderr(Stdio::null());
        self.running = Some(Running::start(command)?);
        wait_until_listening(self.address)?;
        wait_until_listening(self.admin)
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, series: &str) -> Result<f64> {
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let answer = Connection::open(self.admin)?.fetch(request)?;
        let text = String::from_utf8(answer.body)?;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0.0), str::parse)?)
    }

    /// Purges a call; returns the answer.
    pub(crate) fn purge(&self, id: &str) -> Result<String> {
        let request = format!("POST /purge?call={id} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answer = Connection::open(self.admin)?.fetch(request.as_bytes())?;
        Ok(String::from_utf8(answer.body)?)
    }
}

impl Group {
    /// Starts an engine and replicas; without `is_shared`, each replica is alone.
    pub(crate) fn start(count: usize, is_shared: bool) -> Result<Self> {
        let (origin, engine) = (Origin::start()?, Engine::start()?);
        let folder = TempDir::new()?;
        let key = folder.path().join("key");
        let mut file = std::fs::File::create(&key)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        writeln!(file, "{}", "5a".repeat(32))?;
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(replica(&origin, is_shared.then_some((&engine, &key)))?);
        }
        let group = Self {
            origin,
            engine,
            replicas,
            _folder: folder,
        };
        if is_shared {
            group.settle()?;
        }
        Ok(group)
    }

    /// Waits until all replicas are in step, and no lease from before can last.
    pub(crate) fn settle(&self) -> Result<()> {
        let began = Instant::now();
        for replica in &self.replicas {
            let count = f64::from(u32::try_from(self.replicas.len())?);
            while replica.metric("stuut_cache_shared_replicas")? < count
                || replica.metric("stuut_cache_shared_state")? > 0.0
            {
                if began.elapsed() > Duration::from_mins(1) {
                    return Err("the replicas are not in step".into());
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        thread::sleep(Duration::from_millis(2_200));
        Ok(())
    }
}

fn replica(origin: &Origin, engine: Option<(&Engine, &PathBuf)>) -> Result<Replica> {
    let (address, admin) = (free_address()?, free_address()?);
    let mut variables = vec![
        ("SERVER__LISTEN", address.to_string()),
        ("ADMIN__LISTEN", admin.to_string()),
        ("SERVER__WORKERS", "1".to_owned()),
        ("UPSTREAM__URL", format!("http://{}", origin.address)),
        ("LOG__ACCESS", "false".to_owned()),
    ];
    if let Some((engine, key)) = engine {
        variables.push(("SHARED__URL", format!("redis://127.0.0.1:{}", engine.port)));
        variables.push(("SCOPE__KEY_FILE", key.display().to_string()));
    }
    let variables = variables.into_iter();
    let mut replica = Replica {
        address,
        admin,
        variables: variables
            .map(|(name, value)| (format!("STUUT_CACHE__{name}"), value))
            .collect(),
        running: None,
    };
    replica.restart()?;
    Ok(replica)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn wait_until_listening(address: SocketAddr) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = Connection::open(address) {
        if began.elapsed() > Duration::from_secs(10) {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
