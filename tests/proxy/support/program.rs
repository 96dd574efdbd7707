//! The real program in a process of its own, with its captured output.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use http::Method;

use super::{Clients, Origin, RawConnection, Request, wait_until};

/// A running program, killed on drop.
pub struct Program {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<Pipe>>,
    clients: Clients,
}

/// The program's stdout or stderr; closed on drop.
type Pipe = Box<dyn Read + Send>;

/// How long an output is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadUntil {
    Exit,
    Started,
}

impl Program {
    /// Starts it in front of an origin with these variables, e.g. `("LOG__FORMAT", "text")`.
    pub async fn start(origin: &Origin, variables: &[(&str, &str)]) -> Self {
        Self::in_front_of(&format!("http://{}", origin.address()), variables).await
    }

    /// The same, with the origin at `url`.
    pub async fn in_front_of(url: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(url, variables, ReadUntil::Exit).await
    }

    /// The same, but its stdout is not read once it has started.
    pub async fn with_unread_stdout(url: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(url, variables, ReadUntil::Started).await
    }

    /// Starts it with at most `count` file descriptors, and these variables.
    pub async fn with_descriptors(origin: &Origin, count: u32, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_stuut-cache");
        command.args(["-c", &format!("ulimit -n {count} && exec \"$0\""), program]);
        let url = format!("http://{}", origin.address());
        Self::run(command, &url, variables, ReadUntil::Exit).await
    }

    async fn spawn(url: &str, variables: &[(&str, &str)], read_until: ReadUntil) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
        command.stdin(Stdio::null());
        Self::run(command, url, variables, read_until).await
    }

    /// Starts it with this configuration file.
    pub async fn with_config_file(origin: &Origin, file: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
        command.arg("--config").arg(file).stdin(Stdio::null());
        let url = format!("http://{}", origin.address());
        Self::run(command, &url, &[], ReadUntil::Exit).await
    }

    /// Starts it by this command, which executes the program.
    pub async fn with_command(command: Command, origin: &Origin) -> Self {
        let url = format!("http://{}", origin.address());
        Self::run(command, &url, &[], ReadUntil::Exit).await
    }

    async fn run(
        mut command: Command,
        url: &str,
        variables: &[(&str, &str)],
        read_until: ReadUntil,
    ) -> Self {
        command
            .env("STUUT_CACHE__SERVER__LISTEN", "127.0.0.1:0")
            .env("STUUT_CACHE__ADMIN__LISTEN", "127.0.0.1:0")
            .env("STUUT_CACHE__UPSTREAM__URL", url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in variables {
            command.env(format!("STUUT_CACHE__{name}"), value);
        }
        let mut child = command.spawn().expect("the program starts");
        let output = Arc::default();
        let readers = vec![
            reader(
                child.stdout.take().expect("it is piped"),
                &output,
                read_until,
            ),
            reader(
                child.stderr.take().expect("it is piped"),
                &output,
                ReadUntil::Exit,
            ),
        ];
        wait_until("the line with the addresses", async || {
            addresses(&output.lock().expect("no poison")).is_some()
        })
        .await;
        let addresses = addresses(&output.lock().expect("no poison"));
        let (address, admin) = addresses.expect("the line was just found");
        Self {
            address,
            admin,
            child,
            output,
            readers,
            clients: Clients::new(),
        }
    }

    pub fn get(&self, target: &str) -> Request {
        self.request(Method::GET, target)
    }

    pub fn request(&self, method: Method, target: &str) -> Request {
        self.clients.request(self.address, method, target)
    }

    /// A request to the admin listener.
    pub fn admin(&self, method: Method, target: &str) -> Request {
        self.clients.request(self.admin, method, target)
    }

    /// Its stdout and stderr so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("no poison").clone()
    }

    /// A connection whose bytes the test controls.
    pub async fn raw_connection(&self) -> RawConnection {
        let socket = tokio::net::TcpStream::connect(self.address).await;
        RawConnection::new(socket.expect("the program accepts"))
    }

    /// The value of a time series; 0 if it is missing.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.admin(Method::GET, "/metrics").await.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a metric is a number"))
    }

    /// Waits until a time series has this value.
    pub async fn wait_for_metric(&self, series: &str, value: u32) {
        let what = format!("{series} {value}");
        wait_until(&what, async || {
            self.metric(series).await.to_string() == value.to_string()
        })
        .await;
    }

    /// The number of its open file descriptors.
    pub async fn descriptors(&self) -> f64 {
        self.metric("process_open_fds").await
    }

    /// Its maximum size of a core dump, e.g. `unlimited`.
    pub fn core_dump_limit(&self) -> String {
        let path = format!("/proc/{}/limits", self.child.id());
        let limits = std::fs::read_to_string(path).expect("a running process has limits");
        let (_, line) = limits.split_once("Max core file size").expect("its line");
        let maximum = line.split_whitespace().nth(1);
        maximum.expect("a soft and a hard limit").to_owned()
    }

    /// Its peak resident memory, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("a peak in kB")
            * 1024
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal, e.g. `HUP`.
    pub fn signal(&self, name: &str) {
        let (name, id) = (format!("-{name}"), self.child.id().to_string());
        let sent = Command::new("kill").args([name, id]).status();
        assert!(sent.expect("kill is installed").success());
    }

    /// Stops each of its threads, until it gets `CONT`.
    #[cfg(feature = "shared")]
    pub async fn freeze(&self) {
        self.signal("STOP");
        let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
            let path = thread.expect("a thread").path().join("status");
            // It may have ended.
            let status = std::fs::read_to_string(path).unwrap_or_default();
            status.is_empty() || status.contains("State:\tT")
        };
        let threads = format!("/proc/{}/task", self.child.id());
        wait_until("it stands still", async || {
            let threads = std::fs::read_dir(&threads).expect("a running process has threads");
            threads.into_iter().all(is_stopped)
        })
        .await;
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("the child can be waited for")
    }

    /// Terminates it and returns its whole output.
    pub fn stop(mut self) -> String {
        self.terminate();
        let status = self.wait();
        for reader in std::mem::take(&mut self.readers) {
            reader.join().expect("a reader does not panic");
        }
        let output = self.output();
        assert!(status.success(), "{status}: {output}");
        output
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(
    pipe: impl Read + Send + 'static,
    output: &Arc<Mutex<String>>,
    read_until: ReadUntil,
) -> JoinHandle<Pipe> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while lines
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            let mut output = output.lock().expect("no poison");
            output.push_str(&text);
            line.clear();
            if read_until == ReadUntil::Started && addresses(&output).is_some() {
                break;
            }
        }
        Box::new(lines) as Pipe
    })
}

/// `… listens on 127.0.0.1:1, admin on 127.0.0.1:2, for …`
fn addresses(output: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (_, rest) = output.split_once("listens on ")?;
    let (address, rest) = rest.split_once(", admin on ")?;
    let (admin, _) = rest.split_once(',')?;
    Some((address.parse().ok()?, admin.parse().ok()?))
}
