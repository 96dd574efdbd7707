//! Clients that wait for each change of a call (`?wait=change`), compared with clients that poll it.
//!
//! `cargo bench --bench waiting` takes three minutes. The call changes three times, and has ended then.

#![expect(clippy::disallowed_methods, reason = "measures real time")]

#[path = "../beside/load.rs"]
#[expect(dead_code, reason = "rows of another bench use the rest")]
mod load;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use load::Connection;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Number of clients, each with its own connection and all with the same token.
const CLIENTS: u32 = 200;

/// The time between two changes; no multiple of the lifetime of a call in progress (2 s).
const BETWEEN: Duration = Duration::from_millis(19_300);

/// Number of changes; with the last one the call ends.
const CHANGES: u32 = 3;

const SECOND: Duration = Duration::from_secs(1);

/// One row of the table: all its clients request the call in the same way.
#[derive(Debug)]
struct Run {
    query: &'static str,
    /// Whether the clients send `If-None-Match`.
    is_conditional: bool,
    /// From one request of a client to its next; or to the response, if that is later.
    pause: Duration,
    began: Instant,
    fetches: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// For each change, the microseconds until the last client had it.
    late: [AtomicU64; CHANGES as usize],
}

impl Run {
    /// Runs one client until it has the last change.
    fn client(&self, number: u32, address: SocketAddr) -> Result<()> {
        let mut connection = Connection::open(address)?;
        let (mut tag, mut seen) = ("\"none\"".to_owned(), 0);
        let mut next = Instant::now() + SECOND * number / CLIENTS;
        while seen < CHANGES {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next += self.pause;
            let condition = format!("if-none-match: {tag}\r\n");
            let request = format!(
                "GET /v1/calls/c1{} HTTP/1.1\r\nhost: bench\r\n{}\
                 authorization: Bearer bench-token-1\r\n\r\n",
                self.query,
                if self.is_conditional { &condition } else { "" },
            );
            let answer = connection.fetch(request.as_bytes())?;
            self.requests.fetch_add(1, Relaxed);
            // Without the status line.
            let fields = answer.headers.iter();
            let sizes = fields.map(|(name, value)| name.as_str().len() + value.len() + 4);
            let bytes = u64::try_from(sizes.sum::<usize>() + answer.body.len())?;
            self.bytes.fetch_add(bytes, Relaxed);
            match answer.status {
                200 => answer.field("etag").clone_into(&mut tag),
                304 => continue,
                status => return Err(format!("status {status}").into()),
            }
            let version = version(&answer.body)?;
            if version > seen {
                let late = self.began.elapsed().saturating_sub(BETWEEN * version);
                let most = &self.late[usize::try_from(version)? - 1];
                most.fetch_max(u64::try_from(late.as_micros())?, Relaxed);
                seen = version;
            }
        }
        Ok(())
    }

    fn clients(&self, address: SocketAddr) -> Result<()> {
        while Connection::open(address).is_err() {
            if self.began.elapsed() > 10 * SECOND {
                return Err("the proxy does not listen".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        thread::scope(|scope| {
            let client = |number| scope.spawn(move || self.client(number, address));
            let clients: Vec<_> = (0..CLIENTS).map(client).collect();
            let mut ends = clients.into_iter().map(thread::ScopedJoinHandle::join);
            ends.try_for_each(|end| end.map_err(|_| "a client panicked")?)
        })
    }

    /// Serves a connection of the origin.
    fn serve(&self, socket: TcpStream) -> Result<()> {
        let mut writer = socket.try_clone()?;
        let mut lines = BufReader::new(socket).lines();
        let text = "text ".repeat(8 << 10); // 40 KB
        loop {
            while !lines.next().ok_or("the proxy has closed it")??.is_empty() {}
            self.fetches.fetch_add(1, Relaxed);
            let version = self.began.elapsed().as_millis() / BETWEEN.as_millis();
            let status = ["in_progress", "completed"][usize::from(version >= CHANGES.into())];
            let body = format!(r#"{{"version":{version},"status":"{status}","text":"{text}"}}"#);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
            let head = format!("{head}: {}\r\netag: \"{version}\"", body.len());
            writer.write_all(format!("{head}\r\n\r\n{body}").as_bytes())?;
        }
    }
}

/// The version that a body shows.
fn version(body: &[u8]) -> Result<u32> {
    let rest = body.strip_prefix(b"{\"version\":").ok_or("no version")?;
    let digits = rest.split(|&byte| byte == b',').next();
    Ok(std::str::from_utf8(digits.unwrap_or_default())?.parse()?)
}

/// Prints a row of the table.
fn row(name: &str, query: &'static str, is_conditional: bool, pause: Duration) -> Result<()> {
    let run = Arc::new(Run {
        query,
        is_conditional,
        pause,
        began: Instant::now(),
        fetches: AtomicU64::default(),
        requests: AtomicU64::default(),
        bytes: AtomicU64::default(),
        late: Default::default(),
    });
    let origin = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", origin.local_addr()?);
    let serving = Arc::clone(&run);
    thread::spawn(move || {
        for socket in origin.incoming().flatten() {
            let serving = Arc::clone(&serving);
            thread::spawn(move || serving.serve(socket));
        }
    });
    let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
    let (address, admin) = (free()?, free()?);
    let mut proxy = Command::new(env!("CARGO_BIN_EXE_stuut-cache"))
        .arg("serve")
        .env("STUUT_CACHE__SERVER__LISTEN", address.to_string())
        .env("STUUT_CACHE__ADMIN__LISTEN", admin.to_string())
        .env("STUUT_CACHE__UPSTREAM__URL", url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let ended = run.clients(address);
    proxy.kill()?;
    proxy.wait()?;
    ended?;
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let (requests, fetches) = (count(&run.requests), count(&run.fetches));
    let sent = f64::from(u32::try_from(count(&run.bytes) / 1_000)?) / 1e3;
    let mut late = run.late.each_ref().map(count);
    late.sort_unstable();
    let [_, median, most] = late.map(Duration::from_micros);
    println!("| {name} | {requests} | {fetches} | {sent:.1} MB | {median:.2?} | {most:.2?} |");
    Ok(())
}

fn main() -> Result<()> {
    println!("| clients | requests | origin requests | bytes to clients | median | greatest |");
    println!("|---|---|---|---|---|---|");
    row("poll each second", "", false, SECOND)?;
    row("the same with `If-None-Match`", "", true, SECOND)?;
    row("wait for each change", "?wait=change", true, Duration::ZERO)
}
