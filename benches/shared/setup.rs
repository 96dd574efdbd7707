//! The replicas of a row, and their engine.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::engines::{Endpoint, Engine};
use crate::load::Connection;
use crate::origin::Origin;

/// A program that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

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
pub(crate) struct Group<E = Engine> {
    pub(crate) origin: Origin,
    pub(crate) engine: E,
    pub(crate) replicas: Vec<Replica>,
    _folder: TempDir,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
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
        let engine = Engine::start()?;
        if is_shared {
            Self::on(engine, count)
        } else {
            Self::with(engine, count, &[])
        }
    }
}

impl<E> Group<E> {
    /// Starts replicas that share this engine.
    pub(crate) fn on(engine: E, count: usize) -> Result<Self>
    where
        E: Endpoint,
    {
        let settings = engine.settings();
        let group = Self::with(engine, count, &settings)?;
        group.settle()?;
        Ok(group)
    }

    fn with(engine: E, count: usize, settings: &[(&'static str, String)]) -> Result<Self> {
        let (origin, folder) = (Origin::start()?, TempDir::new()?);
        let key = folder.path().join("key");
        let mut file = std::fs::File::create(&key)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        writeln!(file, "{}", "5a".repeat(32))?;
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(replica(&origin, settings, &key)?);
        }
        Ok(Self {
            origin,
            engine,
            replicas,
            _folder: folder,
        })
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

fn replica(origin: &Origin, settings: &[(&'static str, String)], key: &Path) -> Result<Replica> {
    let (address, admin) = (free_address()?, free_address()?);
    let mut variables = vec![
        ("SERVER__LISTEN", address.to_string()),
        ("ADMIN__LISTEN", admin.to_string()),
        ("SERVER__WORKERS", "1".to_owned()),
        ("UPSTREAM__URL", format!("http://{}", origin.address)),
        ("LOG__ACCESS", "false".to_owned()),
    ];
    if !settings.is_empty() {
        variables.extend_from_slice(settings);
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

pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

pub(crate) fn wait_until_listening(address: SocketAddr) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = Connection::open(address) {
        if began.elapsed() > Duration::from_secs(10) {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
