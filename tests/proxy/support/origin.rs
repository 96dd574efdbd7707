//! An origin on a raw socket: it records every byte it is sent, and answers as scripted, whole,
//! torn, late or not at all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Reply, wait_until};

/// A scripted origin. What is not scripted is answered by an echo: 200, JSON, with the target,
/// the credential that asked and a number that grows with every request.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
    seen: Mutex<Vec<OriginRequest>>,
    scripts: Mutex<HashMap<String, Script>>,
    /// Tokens that are refused, whatever is asked, and with which status.
    refused: Mutex<HashMap<String, u16>>,
    unscripted: Mutex<Reply>,
}

#[derive(Default)]
struct Script {
    /// Answered in this order; the last one stays.
    replies: Vec<Reply>,
    gate: Option<Gate>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct OriginRequest {
    /// Everything up to the empty line, byte for byte.
    pub head: String,
    /// The body, chunks put together.
    pub body: Vec<u8>,
    /// The lines behind the last chunk.
    pub trailers: String,
}

/// Holds answers back until it is opened, once for each.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Lets one answer go.
    pub fn open(&self) {
        self.0.add_permits(1);
    }

    /// Lets all answers go, from now on.
    pub fn open_for_all(&self) {
        self.0.add_permits(1 << 20);
    }
}

impl Origin {
    /// Listens on a port of the system's choice.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        Self::serve_on(listener)
    }

    /// A port that is taken, and refuses connections until somebody listens.
    pub fn reserve_port() -> (SocketAddr, socket2::Socket) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).expect("a loopback port");
        let address = socket.local_addr().expect("an address");
        (address.as_socket().expect("an IPv4 address"), socket)
    }

    /// Takes the connections of such a socket.
    #[expect(clippy::unused_async, reason = "it has to be called in a runtime")]
    pub async fn start_on(socket: socket2::Socket) -> Self {
        socket.listen(128).expect("a bound socket listens");
        let socket = std::net::TcpListener::from(socket);
        socket
            .set_nonblocking(true)
            .expect("a socket takes the option");
        Self::serve_on(TcpListener::from_std(socket).expect("a runtime"))
    }

    fn serve_on(listener: TcpListener) -> Self {
        let origin = Self(Arc::new(Inner {
            address: listener
                .local_addr()
                .expect("a bound socket has an address"),
            accepting: Mutex::default(),
            seen: Mutex::default(),
            scripts: Mutex::default(),
            refused: Mutex::default(),
            unscripted: Mutex::new(Reply::echo()),
        }));
        let serving = origin.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let origin = serving.clone();
                tokio::spawn(async move { origin.serve(socket).await });
            }
        });
        *origin.0.accepting.lock().expect("no poison") = Some(accepting);
        origin
    }

    /// From now on connections are refused. Those that are open stay so: answer with
    /// [`Reply::closing`] before.
    pub async fn stop_listening(&self) {
        let accepting = self.0.accepting.lock().expect("no poison").take();
        let accepting = accepting.expect("an origin goes away once");
        accepting.abort();
        // Until it has ended, the port is still listened on.
        let _ = accepting.await;
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Answers this target (path and query, as sent) with `reply` from now on.
    pub fn reply(&self, target: &str, reply: Reply) {
        self.0
            .scripts
            .lock()
            .expect("no poison")
            .entry(target.to_owned())
            .or_default()
            .replies = vec![reply];
    }

    /// Answers this target with these replies in turn; the last one stays.
    pub fn replies(&self, target: &str, mut replies: Vec<Reply>) {
        replies.reverse();
        self.0
            .scripts
            .lock()
            .expect("no poison")
            .entry(target.to_owned())
            .or_default()
            .replies = replies;
    }

    /// Answers what is not scripted with this.
    pub fn default_reply(&self, reply: Reply) {
        *self.0.unscripted.lock().expect("no poison") = reply;
    }

    /// Holds the answers to this target back.
    pub fn hold(&self, target: &str) -> Gate {
        let gate = Gate(Arc::new(Semaphore::new(0)));
        self.0
            .scripts
            .lock()
            .expect("no poison")
            .entry(target.to_owned())
            .or_default()
            .gate = Some(gate.clone());
        gate
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<OriginRequest> {
        self.0.seen.lock().expect("no poison").clone()
    }

    /// The newest request.
    #[track_caller]
    pub fn last_request(&self) -> OriginRequest {
        self.requests()
            .pop()
            .expect("a request has reached the origin")
    }

    #[track_caller]
    pub fn assert_requests(&self, count: usize) {
        let seen = self.requests();
        assert_eq!(seen.len(), count, "requests at the origin: {seen:#?}");
    }

    /// Waits until so many requests have arrived (they may still be held).
    pub async fn wait_for_requests(&self, count: usize) {
        let what = format!("{count} requests at the origin");
        wait_until(&what, async || self.requests().len() >= count).await;
    }

    async fn serve(&self, mut socket: TcpStream) {
        let mut unread = Vec::new();
        while let Some(seen) = read_request(&mut socket, &mut unread).await {
            let number = {
                let mut all = self.0.seen.lock().expect("no poison");
                all.push(seen.clone());
                all.len()
            };
            let (reply, gate) = self.script(&seen, number);
            if let Some(Gate(gate)) = gate {
                gate.acquire()
                    .await
                    .expect("a gate is never closed")
                    .forget();
            }
            if reply.is_reset() {
                let _ = socket.set_zero_linger();
                return;
            }
            let (bytes, keep) = reply.render(seen.method());
            if socket.write_all(&bytes).await.is_err() || !keep {
                return;
            }
        }
    }

    /// Refuses a token from now on.
    pub fn refuse(&self, token: &str, status: u16) {
        self.0
            .refused
            .lock()
            .expect("no poison")
            .insert(format!("Bearer {token}"), status);
    }

    /// Takes a refusal back.
    pub fn admit(&self, token: &str) {
        self.0
            .refused
            .lock()
            .expect("no poison")
            .remove(&format!("Bearer {token}"));
    }

    fn refusal(&self, seen: &OriginRequest) -> Option<Reply> {
        let credential = seen.header("authorization")?;
        let refused = self.0.refused.lock().expect("no poison");
        refused.get(&credential).map(|status| Reply::new(*status))
    }

    fn script(&self, seen: &OriginRequest, number: usize) -> (Reply, Option<Gate>) {
        let mut scripts = self.0.scripts.lock().expect("no poison");
        let script = scripts.entry(seen.target().to_owned()).or_default();
        let mut reply = match script.replies.len() {
            0 => self.0.unscripted.lock().expect("no poison").clone(),
            1 => script.replies[0].clone(),
            _ => script.replies.pop().expect("there are several"),
        };
        if let Some(refusal) = self.refusal(seen) {
            reply = refusal;
        }
        reply.complete(seen, number);
        (reply, script.gate.clone())
    }
}

impl OriginRequest {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a field; several lines joined by a comma.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

/// Reads one request; `None` when the connection ends.
pub(super) async fn read_request(
    socket: &mut TcpStream,
    unread: &mut Vec<u8>,
) -> Option<OriginRequest> {
    let end = loop {
        match unread.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => more(socket, unread).await?,
        }
    };
    let head = String::from_utf8_lossy(&unread.drain(..end).collect::<Vec<_>>()).into_owned();
    let mut seen = OriginRequest {
        head,
        body: Vec::new(),
        trailers: String::new(),
    };
    if let Some(length) = seen
        .header("content-length")
        .and_then(|length| length.parse().ok())
    {
        while unread.len() < length {
            more(socket, unread).await?;
        }
        seen.body = unread.drain(..length).collect();
    } else if seen.header("transfer-encoding").is_some() {
        read_chunks(socket, unread, &mut seen).await?;
    }
    Some(seen)
}

async fn read_chunks(
    socket: &mut TcpStream,
    unread: &mut Vec<u8>,
    seen: &mut OriginRequest,
) -> Option<()> {
    loop {
        let size = read_line(socket, unread).await?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            break;
        }
        while unread.len() < size + 2 {
            more(socket, unread).await?;
        }
        seen.body.extend(unread.drain(..size));
        unread.drain(..2);
    }
    loop {
        let line = read_line(socket, unread).await?;
        if line == "\r\n" {
            return Some(());
        }
        seen.trailers.push_str(&line);
    }
}

async fn read_line(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        match unread.windows(2).position(|window| window == b"\r\n") {
            Some(at) => {
                let line = unread.drain(..at + 2).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            None => more(socket, unread).await?,
        }
    }
}

async fn more(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let read = socket.read_buf(unread).await.ok()?;
    (read > 0).then_some(())
}
