//! The real program, in a process of its own, and everything it writes.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use http::Method;

use super::{Clients, Origin, RawConnection, Request, wait_until};

/// A running program. Dropping it ends it.
pub struct Program {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    written: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<Pipe>>,
    clients: Clients,
}

/// An output of the program; closed when dropped.
type Pipe = Box<dyn Read + Send>;

/// How long its outputs are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    ToTheEnd,
    ToTheStart,
}

impl Program {
    /// Started in front of an origin with these variables, e.g. `("LOG__FORMAT", "text")`.
    pub async fn start(origin: &Origin, variables: &[(&str, &str)]) -> Self {
        Self::in_front_of(&format!("http://{}", origin.address()), variables).await
    }

    /// The same, in front of whatever is at `url`.
    pub async fn in_front_of(url: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(url, variables, Reading::ToTheEnd).await
    }

    /// The same, and nobody reads what it writes once it has started.
    pub async fn with_unread_stdout(url: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(url, variables, Reading::ToTheStart).await
    }

    /// With so many file descriptors and no more.
    pub async fn with_descriptors(origin: &Origin, count: u32) -> Self {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_stuut-cache");
        command.args(["-c", &format!("ulimit -n {count} && exec \"$0\""), program]);
        let url = format!("http://{}", origin.address());
        Self::run(command, &url, &[], Reading::ToTheEnd).await
    }

    async fn spawn(url: &str, variables: &[(&str, &str)], reading: Reading) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
        command.stdin(Stdio::null());
        Self::run(command, url, variables, reading).await
    }

    /// Started with this configuration file.
    pub async fn with_config_file(origin: &Origin, file: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
        command.arg("--config").arg(file).stdin(Stdio::null());
        let url = format!("http://{}", origin.address());
        Self::run(command, &url, &[], Reading::ToTheEnd).await
    }

    /// Started by this command, which becomes the program.
    pub async fn with_command(command: Command, origin: &Origin) -> Self {
        let url = format!("http://{}", origin.address());
        Self::run(command, &url, &[], Reading::ToTheEnd).await
    }

    async fn run(
        mut command: Command,
        url: &str,
        variables: &[(&str, &str)],
        reading: Reading,
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
        let written = Arc::default();
        let readers = vec![
            reader(child.stdout.take().expect("it is piped"), &written, reading),
            reader(
                child.stderr.take().expect("it is piped"),
                &written,
                Reading::ToTheEnd,
            ),
        ];
        wait_until("a line that says where it listens", async || {
            addresses(&written.lock().expect("no poison")).is_some()
        })
        .await;
        let found = addresses(&written.lock().expect("no poison"));
        let (address, admin) = found.expect("it has just been there");
        Self {
            address,
            admin,
            child,
            written,
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

    /// What it has written so far, to both of its outputs.
    pub fn output(&self) -> String {
        self.written.lock().expect("no poison").clone()
    }

    /// A connection that the story moves by hand.
    pub async fn raw_connection(&self) -> RawConnection {
        let socket = tokio::net::TcpStream::connect(self.address).await;
        RawConnection::new(socket.expect("the program accepts"))
    }

    /// The value of a metric line; 0 when it is not there.
    pub async fn metric(&self, line: &str) -> f64 {
        let text = self.admin(Method::GET, "/metrics").await.text();
        let value = text
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a metric is a number"))
    }

    /// Waits until a metric line has this value.
    pub async fn wait_for_metric(&self, line: &str, value: u32) {
        let what = format!("{line} {value}");
        wait_until(&what, async || {
            self.metric(line).await.to_string() == value.to_string()
        })
        .await;
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.expect("a running process has descriptors").count()
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

    /// Asks it to end, as an operator does.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let (name, id) = (format!("-{name}"), self.child.id().to_string());
        let told = Command::new("kill").args([name, id]).status();
        assert!(told.expect("there is a kill").success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }

    /// Ends it, and answers everything it has written.
    pub fn stop(mut self) -> String {
        self.terminate();
        let ended = self.wait();
        for reader in std::mem::take(&mut self.readers) {
            reader.join().expect("a reader does not panic");
        }
        let written = self.output();
        assert!(ended.success(), "{ended}: {written}");
        written
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(
    output: impl Read + Send + 'static,
    written: &Arc<Mutex<String>>,
    reading: Reading,
) -> JoinHandle<Pipe> {
    let written = Arc::clone(written);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            let mut written = written.lock().expect("no poison");
            written.push_str(&text);
            line.clear();
            if reading == Reading::ToTheStart && addresses(&written).is_some() {
                break;
            }
        }
        Box::new(lines) as Pipe
    })
}

/// `… listens on 127.0.0.1:1, admin on 127.0.0.1:2, for …`
fn addresses(written: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (_, rest) = written.split_once("listens on ")?;
    let (address, rest) = rest.split_once(", admin on ")?;
    let (admin, _) = rest.split_once(',')?;
    Some((address.parse().ok()?, admin.parse().ok()?))
}
