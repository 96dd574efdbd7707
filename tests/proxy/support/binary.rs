//! The program itself, as it is shipped, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use super::Wire;

/// A running `stuut-cache`; killed when dropped.
pub struct Binary {
    pub address: SocketAddr,
    child: Child,
    /// Kept open: the program writes to it until it ends.
    _log: BufReader<ChildStdout>,
}

impl Binary {
    /// Starts it in front of `origin`, with these settings as `SECTION__KEY`.
    pub fn start(origin: &str, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stuut-cache"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--upstream", origin])
            .env("STUUT_CACHE__LOG__ACCESS", "false")
            .envs(
                settings
                    .iter()
                    .map(|(key, value)| (format!("STUUT_CACHE__{key}"), *value)),
            )
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut line = String::new();
        log.read_line(&mut line).expect("the program says hello");
        let hello: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        let address = hello["address"].as_str().expect("where it listens");
        Self {
            address: address.parse().expect("an address"),
            child,
            _log: log,
        }
    }

    pub async fn wire(&self) -> Wire {
        let socket = tokio::net::TcpStream::connect(self.address).await;
        Wire::new(socket.expect("the program accepts"))
    }

    /// The most memory it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("a peak in kB")
            * 1024
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let sent = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
