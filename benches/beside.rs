//! CPU per request of the real binary beside a bare hyper server that answers the same bytes from
//! memory without any lookup, in one run.
//!
//! `cargo bench --bench beside` prints one table. The servers run on processor 0, the load on
//! processor 1; figures are user and system time of the server process over the requests it
//! answered, the median of rounds in which the two take turns.

use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 7;
const CONNECTIONS: usize = 8;
const SERVER_CPU: &str = "0";
const LOAD_CPU: &str = "1";

/// What is measured: a name, the size of the body, the query, the requests of a round.
const WORK: &[(&str, usize, &str, usize)] = &[
    ("hit, 4 KB", 4 << 10, "", 40_000),
    ("hit, 40 KB", 40 << 10, "", 20_000),
    ("hit, 400 KB", 400 << 10, "", 3_000),
    (
        "hit of a view, 40 KB of 80 KB",
        80 << 10,
        "?strip=other",
        20_000,
    ),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("bare") => bare(arguments[2].parse()?),
        Some("load") => side_by_side(),
        _ => {
            // Again, on the processor for the load.
            let status = Command::new("taskset")
                .args(["-c", LOAD_CPU])
                .arg(std::env::current_exe()?)
                .arg("load")
                .status()
                .map_err(|error| format!("taskset (package util-linux): {error}"))?;
            if status.success() {
                Ok(())
            } else {
                Err("the load failed".into())
            }
        }
    }
}

fn side_by_side() -> Result<()> {
    println!("| work | stuut-cache µs | bare hyper µs | ratio |");
    println!("|---|---|---|---|");
    for &(name, size, query, requests) in WORK {
        let origin = origin(size)?;
        let ours = Server::stuut_cache(origin)?;
        let target = format!("/v1/calls/c1{query}");
        let length = ours.get(&target)?;
        let theirs = Server::bare(length)?;
        let mut pairs = Vec::new();
        for round in 0..=ROUNDS {
            let pair = (
                ours.round(&target, requests)?,
                theirs.round(&target, requests)?,
            );
            if round > 0 {
                pairs.push(pair);
            }
        }
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let a = median(pairs.iter().map(|pair| pair.0).collect());
        let b = median(pairs.iter().map(|pair| pair.1).collect());
        let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1).collect());
        println!("| {name} | {a:.1} | {b:.1} | {ratio:.2} |");
    }
    Ok(())
}

/// A server process on its own processor; killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn stuut_cache(origin: SocketAddr) -> Result<Self> {
        let mut child = Command::new("taskset")
            .args(["-c", SERVER_CPU, env!("CARGO_BIN_EXE_stuut-cache")])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--upstream", &format!("http://{origin}")])
            .env("STUUT_CACHE__SERVER__WORKERS", "1")
            .env("STUUT_CACHE__FRESHNESS__DEFAULT", "1h")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        // The access log goes on: somebody has to read it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let start: serde_json::Value = serde_json::from_str(&line)?;
        let address = start["address"]
            .as_str()
            .ok_or("no address in the start line")?
            .parse()?;
        Ok(Self { child, address })
    }

    fn bare(length: usize) -> Result<Self> {
        let mut child = Command::new("taskset")
            .args(["-c", SERVER_CPU])
            .arg(std::env::current_exe()?)
            .args(["bare", &length.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self {
            child,
            address: line.trim().parse()?,
        })
    }

    /// One request; answers the length of the body.
    fn get(&self, target: &str) -> Result<usize> {
        let mut connection = Connection::open(self.address)?;
        connection.exchange(&request(target))
    }

    /// Microseconds of CPU a request.
    fn round(&self, target: &str, requests: usize) -> Result<f64> {
        let before = self.cpu()?;
        let loads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (address, request) = (self.address, request(target));
                std::thread::spawn(move || -> std::result::Result<(), String> {
                    let mut connection =
                        Connection::open(address).map_err(|error| error.to_string())?;
                    for _ in 0..requests / CONNECTIONS {
                        connection
                            .exchange(&request)
                            .map_err(|error| error.to_string())?;
                    }
                    Ok(())
                })
            })
            .collect();
        for load in loads {
            load.join().map_err(|_| "a load panicked")??;
        }
        let spent = self.cpu()?.saturating_sub(before);
        let answered = u32::try_from(requests / CONNECTIONS * CONNECTIONS)?;
        Ok(spent.as_secs_f64() * 1e6 / f64::from(answered))
    }

    /// Processor time of all threads so far.
    fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += text
                .split(' ')
                .next()
                .ok_or("an empty schedstat")?
                .parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer bench-token-1\r\naccept: */*\r\n\r\n").into_bytes()
}

/// A kept-alive connection that reads heads and bodies by their length.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; 1 << 20],
        })
    }

    fn exchange(&mut self, request: &[u8]) -> Result<usize> {
        self.socket.write_all(request)?;
        let mut filled = 0;
        let (head, length) = loop {
            let read = self.socket.read(&mut self.buffer[filled..])?;
            if read == 0 {
                return Err("the server closed the connection".into());
            }
            filled += read;
            let Some(end) = self.buffer[..filled]
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            else {
                continue;
            };
            let head = std::str::from_utf8(&self.buffer[..end])?;
            if !head.starts_with("HTTP/1.1 200") {
                return Err(head.into());
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .ok_or("no length")?;
            break (end + 4, length.parse::<usize>()?);
        };
        while filled < head + length {
            filled += self.socket.read(&mut self.buffer[filled..])?;
        }
        Ok(length)
    }
}

/// An origin for the fill: JSON of about this size, half of it in the member `other`.
fn origin(size: usize) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let half = "x".repeat(size / 2 - 20);
    let body = format!(r#"{{"text":"{half}","other":"{half}"}}"#);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: \"1\"\r\ncache-control: max-age=3600\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut head = [0; 4096];
            let _ = socket
                .read(&mut head)
                .and_then(|_| socket.write_all(answer.as_bytes()));
        }
    });
    Ok(address)
}

/// What hyper costs with nothing behind it: the fields and the body of a hit, ready-made.
fn bare(length: usize) -> Result<()> {
    let fields = [
        ("content-type", "application/json"),
        ("etag", "\"1\""),
        ("cache-control", "max-age=3600"),
        ("via", "1.1 stuut-cache"),
        ("age", "100"),
        ("cache-status", "stuut-cache; hit; ttl=3500"),
    ];
    let headers: HeaderMap = fields
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    let body = Bytes::from(vec![b'x'; length]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let (headers, body) = (headers.clone(), body.clone());
            tokio::spawn(async move {
                let service = service_fn(move |_: Request<Incoming>| {
                    let mut response = Response::new(Full::new(body.clone()));
                    *response.headers_mut() = headers.clone();
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = auto::Builder::new(TokioExecutor::new());
                let _ = connection
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    })
}
