//! Attacks that run beside the clients, one function for each, on a thread of its own: each takes as
//! much of what clients share as it gets, until the end of the run.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::h2::{self, END_HEADERS, END_STREAM, HEADERS};

/// The attackers' tokens: accepted, and not those of the clients.
const TOKENS: [&str; 2] = ["demo-acme-2", "demo-initech-1"];

/// An attack, given the address and whether the run is over.
type Attack = fn(SocketAddr, &AtomicBool) -> std::io::Result<()>;

const ATTACKS: [(&str, Attack); 9] = [
    ("unanswered calls", unanswered_calls),
    ("waiting requests", waiting_requests),
    ("unread answers", unread_answers),
    ("unfinished heads", unfinished_heads),
    ("held streams", held_streams),
    ("trickled uploads", trickled_uploads),
    ("costly views", costly_views),
    ("resets", resets),
    ("broken writes", broken_writes),
];

/// The rounds of each attack: carried through, and cut short by the proxy.
#[derive(Debug, Default)]
pub(crate) struct Rounds([[AtomicU64; 2]; ATTACKS.len()]);

impl Rounds {
    /// Runs all attacks; each starts over when the proxy has disconnected it.
    pub(crate) fn start<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        proxy: SocketAddr,
        over: &'scope AtomicBool,
    ) {
        for ((_, attack), rounds) in ATTACKS.iter().zip(&self.0) {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let is_cut = attack(proxy, over).is_err();
                    rounds[usize::from(is_cut)].fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
    }

    pub(crate) fn report(&self) {
        for ((name, _), rounds) in ATTACKS.iter().zip(&self.0) {
            let [through, cut] = rounds.each_ref().map(|count| count.load(Ordering::Relaxed));
            println!("{name:<20}{through:>6} rounds, {cut} cut short");
        }
    }
}

/// Opens connections that do not wait: a write that would block is an error.
fn open(proxy: SocketAddr, count: usize) -> std::io::Result<Vec<TcpStream>> {
    let connect = |_| {
        let socket = TcpStream::connect(proxy)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (0..count).map(connect).collect()
}

fn request(line: &str, token: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {token}\r\n{fields}\r\n")
}

/// Waits up to this many seconds, or until the end of the run.
fn wait(seconds: u32, over: &AtomicBool) {
    for _ in 0..10 * seconds {
        if !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// An HTTP/2 client with requests on 100 streams, each with a head of this size, and a window of 1:
/// it does not read the answers.
fn streams(path: &str, token: &str, size: usize) -> Vec<u8> {
    let window = [&[0, 4][..], &1_u32.to_be_bytes()].concat();
    let mut frames = h2::preface();
    frames.extend(h2::frame(h2::SETTINGS, 0, 0, &window));
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "soak"),
        (":path", path),
        ("authorization", &format!("Bearer {token}")),
        ("x-filling", &"x".repeat(size)),
    ];
    let block = h2::field_block(&fields);
    for number in 0..100 {
        let flags = END_HEADERS | END_STREAM;
        frames.extend(h2::frame(HEADERS, flags, 2 * number + 1, &block));
    }
    frames
}

/// Sends all of it, as fast as it is read.
fn send(mut socket: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(bytes)
}

/// 1: calls that the origin answers too late, and others that it drops.
fn unanswered_calls(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let sockets = open(proxy, 10)?;
    for (number, mut socket) in (1..).zip(&sockets) {
        let kind = ["slow", "fault_reset"][number % 2];
        let line = format!("GET /v1/calls/call_{kind}_acme_{number:04}");
        socket.write_all(request(&line, TOKENS[0], "").as_bytes())?;
    }
    wait(3, over);
    Ok(())
}

/// 2: requests with large heads that wait for one slow call.
fn waiting_requests(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let sockets = open(proxy, 5)?;
    let frames = streams("/v1/calls/call_slow_acme_0001", TOKENS[0], 12 << 10);
    for socket in &sockets {
        send(socket, &frames)?;
    }
    wait(3, over);
    Ok(())
}

/// 3: large stored answers that are not read, over HTTP/1.1 and with an HTTP/2 window of 1.
fn unread_answers(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let path = "/v1/calls/call_large_acme_0001";
    let sockets = open(proxy, 60)?;
    let line = format!("GET {path}");
    for mut socket in &sockets {
        socket.write_all(request(&line, TOKENS[0], "").as_bytes())?;
    }
    let unread = open(proxy, 1)?;
    send(&unread[0], &streams(path, TOKENS[0], 0))?;
    wait(20, over);
    Ok(())
}

/// 4: heads that do not end, without a token.
fn unfinished_heads(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let sockets = open(proxy, 300)?;
    let head = format!("GET / HTTP/1.1\r\nhost: soak\r\nx: {}", "x".repeat(30_000));
    for mut socket in &sockets {
        socket.write_all(head.as_bytes())?;
    }
    wait(5, over);
    Ok(())
}

/// 5: streamed answers that are not read, on few connections.
fn held_streams(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let sockets = open(proxy, 5)?;
    let path = "/v1/calls/call_large_initech_0001/recording";
    for socket in &sockets {
        send(socket, &streams(path, TOKENS[1], 0))?;
    }
    wait(20, over);
    Ok(())
}

/// 6: uploads of 640 bytes a second, with invented tokens.
fn trickled_uploads(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let sockets = open(proxy, 50)?;
    for (number, mut socket) in sockets.iter().enumerate() {
        let token = format!("invented-{number}");
        let fields = "content-length: 1000000\r\n";
        let head = request("POST /v1/uploads", &token, fields);
        socket.write_all(head.as_bytes())?;
    }
    for _ in 0..10 {
        for mut socket in &sockets {
            // Those that were cut off are opened again with the next round.
            let _ = socket.write_all(&[b'x'; 640]);
        }
        wait(1, over);
    }
    Ok(())
}

/// 7: a different view of one large call with each request.
fn costly_views(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let sockets = open(proxy, 2)?;
    let mut read = vec![0; 1 << 20];
    for number in 0..250 {
        let line = format!("HEAD /v1/calls/call_large_acme_0001?strip=**.absent{number}");
        for mut socket in &sockets {
            socket.write_all(request(&line, TOKENS[0], "").as_bytes())?;
        }
        for mut socket in &sockets {
            let _ = socket.read(&mut read);
        }
        if number % 10 == 0 {
            wait(1, over);
        }
    }
    Ok(())
}

/// 8: connections that are reset while they wait.
fn resets(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let sockets = open(proxy, 50)?;
    for (number, mut socket) in (1..).zip(&sockets) {
        let line = format!("GET /v1/calls/call_slow_initech_{number:04}");
        socket.write_all(request(&line, TOKENS[1], "").as_bytes())?;
        SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
    }
    wait(1, over);
    Ok(())
}

/// 9: writes that are broken off, without a token, to the calls of the clients.
fn broken_writes(proxy: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let sockets = open(proxy, 30)?;
    for (number, mut socket) in (1..).zip(&sockets) {
        let line = format!("PATCH /v1/calls/call_acme_{number:04} HTTP/1.1\r\nhost: soak\r\n");
        socket.write_all(format!("{line}content-length: 9\r\n\r\nhalf").as_bytes())?;
    }
    wait(1, over);
    Ok(())
}
