//! A soak test of ten minutes with faults: does memory grow, do file descriptors leak, is any
//! response unexplained?
//!
//! `cargo bench --bench soak -- [--seconds N] [--calm]`
//!
//! Clients of two organisations request calls with and without access to them, in views and codings,
//! write, disconnect, and reconnect; the origin fails, truncates responses, and is suspended for
//! seconds; an operator purges and reloads; attackers take what they get of all that clients share
//! (`--calm`: none). Every 200 must be complete, and JSON of the requested
//! call, for a token of its organisation. Errors of the origin, and of the proxy with a problem
//! document, are expected; anything else makes the exit status 1.

#![expect(clippy::disallowed_methods, reason = "measures real time")]

mod attacks;
#[path = "../../tests/proxy/support/h2.rs"]
#[expect(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod h2;
#[path = "../beside/load.rs"]
#[expect(dead_code, reason = "rows of another bench use the rest")]
mod load;
mod watch;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use load::Connection;
use watch::Watch;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Number of clients; each sends one request after the other.
const CLIENTS: u64 = 16;

/// A client's pause after a 429 or 503: shorter than `Retry-After`, like that of real clients.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Number of unexplained responses that are printed.
const SHOWN: usize = 5;

/// A running program; killed when dropped.
struct Running(Child);

/// Counts of all clients.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    hits: AtomicU64,
    /// By status.
    errors: Mutex<BTreeMap<u16, u64>>,
    disconnected: AtomicU64,
    unexplained: AtomicU64,
    shown: Mutex<Vec<String>>,
    over: AtomicBool,
}

/// A pseudo-random generator, the same in every run.
struct SeededRng(u64);

/// One request, and the properties that its response is checked against.
struct Attempt {
    bytes: Vec<u8>,
    id: String,
    is_own: bool,
    is_call: bool,
}

// === impl Running ===

impl Running {
    fn start(arguments: &[&str], variables: &[(&str, String)]) -> Result<Self> {
        let child = Command::new(env!("CARGO_BIN_EXE_stuut-cache"))
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    fn signal(&self, name: &str) -> Result<()> {
        let (name, id) = (format!("-{name}"), self.0.id().to_string());
        Command::new("kill").args([name, id]).status()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.signal("CONT");
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// === impl SeededRng ===

impl SeededRng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_of(&mut self, words: [&'static str; 4]) -> &'static str {
        words[usize::try_from(self.below(4)).unwrap_or_default()]
    }

    fn attempt(&mut self) -> Attempt {
        let organisations = [("acme", "demo-acme-1"), ("globex", "demo-globex-1")];
        let whose = usize::from(self.below(2) == 0);
        let (_, token) = organisations[whose];
        let is_own = self.below(20) > 0;
        let (organisation, _) = organisations[if is_own { whose } else { 1 - whose }];
        // A few are requested often, many rarely, and some change during the run.
        let (kind, number) = match self.below(20) {
            0..13 => ("", 1 + self.below(30)),
            13..16 => ("", 1 + self.below(50)),
            16 => ("small_", 1 + self.below(2_000)),
            17 => ("large_", 1 + self.below(40)),
            18 => ("live_", 1 + self.below(20)),
            _ => ("fault_reset_", 1 + self.below(5)),
        };
        let id = format!("call_{kind}{organisation}_{number:04}");
        let view = self.one_of(["", "", "?view=light", "?strip=transcript,invoices"]);
        let coding = self.one_of(["identity", "gzip", "zstd", "br"]);
        let fields = format!("host: soak\r\nauthorization: Bearer {token}\r\n");
        let is_call = self.below(25) > 0;
        let text = if is_call {
            format!(
                "GET /v1/calls/{id}{view} HTTP/1.1\r\n{fields}accept-encoding: {coding}\r\n\r\n"
            )
        } else {
            format!("PATCH /v1/calls/{id} HTTP/1.1\r\n{fields}content-length: 2\r\n\r\n{{}}")
        };
        Attempt {
            bytes: text.into_bytes(),
            id,
            is_own,
            is_call,
        }
    }
}

// === impl Tally ===

impl Tally {
    fn unexplained(&self, what: String) {
        self.unexplained.fetch_add(1, Ordering::Relaxed);
        let mut shown = self
            .shown
            .lock()
            .expect("no thread panics while it holds the lock");
        if shown.len() < SHOWN {
            shown.push(what);
        }
    }

    fn check(&self, attempt: &Attempt, answer: &load::Answer) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let cache_status = answer.field("cache-status");
        if cache_status.contains("; hit") {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        let is_coded = !matches!(answer.field("content-encoding"), "" | "identity");
        let fault = match answer.status {
            200 if attempt.is_call && !attempt.is_own => "another organisation's call",
            200 if attempt.is_call && !is_coded => {
                let document: serde_json::Result<serde_json::Value> =
                    serde_json::from_slice(&answer.body);
                match document {
                    Ok(call) if call["id"] == attempt.id.as_str() => return,
                    Ok(_) => "not the requested call",
                    Err(_) => "not JSON",
                }
            }
            // The framing of a coded body shows that it is complete.
            200..=299 => return,
            // The origin's own response, or the proxy's error about the origin.
            400..=599 => {
                let mut errors = self
                    .errors
                    .lock()
                    .expect("no thread panics while it holds the lock");
                *errors.entry(answer.status).or_default() += 1;
                return;
            }
            _ => "an unexpected status",
        };
        self.unexplained(format!(
            "{}: {fault}: {} {cache_status}",
            attempt.id, answer.status
        ));
    }
}

/// Runs one client until the end of the run.
fn client(address: SocketAddr, seed: u64, tally: &Tally) {
    let mut rng = SeededRng(0x9E37_79B9_7F4A_7C15 ^ (seed << 32 | 1));
    while !tally.over.load(Ordering::Relaxed) {
        let mut connection = match Connection::open(address) {
            Ok(connection) => connection,
            Err(error) => {
                tally.unexplained(format!("no connection: {error}"));
                return;
            }
        };
        for _ in 0..rng.below(200) {
            let attempt = rng.attempt();
            if rng.below(50) == 0 {
                // Disconnects before the response.
                let _ = connection.send(&attempt.bytes);
                tally.disconnected.fetch_add(1, Ordering::Relaxed);
                break;
            }
            match connection.fetch(&attempt.bytes) {
                Ok(answer) => {
                    tally.check(&attempt, &answer);
                    if matches!(answer.status, 429 | 503) {
                        thread::sleep(BACK_OFF);
                    }
                    if answer.field("connection").contains("close") {
                        break;
                    }
                }
                // The proxy must abort a forwarded response that the origin truncates.
                Err(_) if !attempt.is_call => break,
                Err(error) => {
                    tally.unexplained(format!("{}: {error}", attempt.id));
                    break;
                }
            }
            if tally.over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Faults of the origin and actions of the operator, one step per second.
fn disturb(step: u64, origin: &mut Option<Running>, proxy: &Running, ports: &Ports) -> Result<()> {
    match step % 30 {
        5 => origin
            .as_ref()
            .map_or(Ok(()), |origin| origin.signal("STOP"))?,
        8 => origin
            .as_ref()
            .map_or(Ok(()), |origin| origin.signal("CONT"))?,
        15 => *origin = None,
        16 => *origin = Some(ports.origin()?),
        20 => proxy.signal("HUP")?,
        n if n % 7 == 0 => {
            let mut admin = Connection::open(ports.admin)?;
            let id = format!("call_acme_{:04}", 1 + step % 30);
            admin.fetch(
                format!("POST /purge?call={id} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes(),
            )?;
        }
        _ => {}
    }
    Ok(())
}

/// The addresses of all listeners.
struct Ports {
    origin: SocketAddr,
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl Ports {
    fn find() -> Result<Self> {
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        Ok(Self {
            origin: free()?,
            proxy: free()?,
            admin: free()?,
        })
    }

    fn origin(&self) -> Result<Running> {
        let address = self.origin.to_string();
        let latency = [
            "--latency",
            "3ms",
            "--jitter",
            "20ms",
            "--fault-rate",
            "0.02",
        ];
        let listen = ["simulate", "--listen", &address];
        Running::start(&[&listen[..], &latency].concat(), &[])
    }

    fn proxy(&self) -> Result<Running> {
        let variables = [
            // Its descriptors are counted in /proc.
            ("STUUT_CACHE_DUMPABLE", "1".to_owned()),
            ("STUUT_CACHE__SERVER__LISTEN", self.proxy.to_string()),
            ("STUUT_CACHE__ADMIN__LISTEN", self.admin.to_string()),
            (
                "STUUT_CACHE__UPSTREAM__URL",
                format!("http://{}", self.origin),
            ),
            ("STUUT_CACHE__CACHE__CAPACITY", "32MiB".to_owned()),
            ("STUUT_CACHE__UPSTREAM__RESPONSE_TIMEOUT", "2s".to_owned()),
        ];
        Running::start(&["serve"], &variables)
    }
}

fn wait_until_listening(address: SocketAddr) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = Connection::open(address) {
        if began.elapsed() > Duration::from_secs(10) {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn run(seconds: u64, is_calm: bool) -> Result<bool> {
    let ports = Ports::find()?;
    let mut origin = Some(ports.origin()?);
    let proxy = ports.proxy()?;
    wait_until_listening(ports.origin)?;
    wait_until_listening(ports.proxy)?;
    let tally = Tally::default();
    let attacks = attacks::Rounds::default();
    let mut watch = Watch::of(proxy.0.id());
    thread::scope(|scope| -> Result<()> {
        for seed in 1..=CLIENTS {
            let tally = &tally;
            scope.spawn(move || client(ports.proxy, seed, tally));
        }
        if !is_calm {
            attacks.start(scope, ports.proxy, &tally.over);
        }
        let mut steps = || -> Result<()> {
            for step in 1..=seconds {
                thread::sleep(Duration::from_secs(1));
                watch.sample()?;
                disturb(step, &mut origin, &proxy, &ports)?;
            }
            Ok(())
        };
        let ended = steps();
        tally.over.store(true, Ordering::Relaxed);
        ended
    })?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!("{seconds} s, {CLIENTS} clients, cache of 32 MiB");
    println!("responses       {:>10}", count(&tally.answered));
    println!("  hits          {:>10}", count(&tally.hits));
    for (status, count) in tally
        .errors
        .lock()
        .expect("no thread panics while it holds the lock")
        .iter()
    {
        println!("  {status}           {count:>10}");
    }
    println!("disconnected    {:>10}", count(&tally.disconnected));
    println!("unexplained     {:>10}", count(&tally.unexplained));
    watch.report();
    if !is_calm {
        attacks.report();
    }
    for what in tally
        .shown
        .lock()
        .expect("no thread panics while it holds the lock")
        .iter()
    {
        println!("! {what}");
    }
    Ok(count(&tally.unexplained) == 0)
}

fn main() -> Result<()> {
    let (mut seconds, mut is_calm) = (600, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), &mut arguments) {
            ("--bench", _) => {}
            ("--calm", _) => is_calm = true,
            ("--seconds", rest) => seconds = rest.next().ok_or("--seconds N")?.parse()?,
            _ => return Err("the options are --seconds N (600) and --calm".into()),
        }
    }
    if !run(seconds, is_calm)? {
        std::process::exit(1);
    }
    Ok(())
}
