//! An origin on a raw socket: records every request and responds as scripted: complete, truncated,
//! late or not at all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Reply, wait_until};

/// A scripted origin. Other targets get an echo: 200, JSON, with the target, the credential and a
/// number that grows with every request.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
    requests: Mutex<Vec<OriginRequest>>,
    scripts: Mutex<HashMap<String, Script>>,
    /// Tokens refused on every target, with the status.
    refused: Mutex<HashMap<String, u16>>,
    default_reply: Mutex<Reply>,
}

#[derive(Default)]
struct Script {
    /// Sent in this order, the last one repeatedly; stored in reverse.
    replies: Vec<Reply>,
    gate: Option<Gate>,
}

/// A request as the origin received it.
#[derive(Clone, Debug)]
pub struct OriginRequest {
    /// Everything up to the empty line, byte for byte.
    pub head: String,
    /// The body, without chunked framing.
    pub body: Vec<u8>,
    /// The lines after the last chunk.
    pub trailers: String,
}

/// Holds replies back until it is opened, once for each.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Releases one reply.
    pub fn open(&self) {
        self.0.add_permits(1);
    }

    /// Releases all replies, present and future.
    pub fn open_for_all(&self) {
        self.0.add_permits(1 << 20);
    }
}

impl Origin {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        Self::serve_on(listener)
    }

    /// Binds a port without listening: connections are refused until [`Origin::start_on`].
    pub fn reserve_port() -> (SocketAddr, socket2::Socket) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a new socket");
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).expect("a loopback port");
        let address = socket.local_addr().expect("an address");
        (address.as_socket().expect("an IPv4 address"), socket)
    }

    /// Starts on a socket of [`Origin::reserve_port`].
    #[expect(clippy::unused_async, reason = "it must be called in a runtime")]
    pub async fn start_on(socket: socket2::Socket) -> Self {
        socket.listen(128).expect("a bound socket listens");
        let socket = std::net::TcpListener::from(socket);
        socket
            .set_nonblocking(true)
            .expect("the socket option can be set");
        Self::serve_on(TcpListener::from_std(socket).expect("a runtime"))
    }

    fn serve_on(listener: TcpListener) -> Self {
        let origin = Self(Arc::new(Inner {
            address: listener
                .local_addr()
                .expect("a bound socket has an address"),
            accepting: Mutex::default(),
            requests: Mutex::default(),
            scripts: Mutex::default(),
            refused: Mutex::default(),
            default_reply: Mutex::new(Reply::echo()),
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

    /// Refuses connections from now on. Open ones stay open, unless their last reply was
    /// [`Reply::closing`].
    pub async fn stop_listening(&self) {
        let accepting = self.0.accepting.lock().expect("no poison").take();
        let accepting = accepting.expect("an origin stops listening once");
        accepting.abort();
        // The port is open until the task has ended.
        let _ = accepting.await;
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Responds to this target (path and query, as sent) with `reply` from now on.
    pub fn reply(&self, target: &str, reply: Reply) {
        self.0
            .scripts
            .lock()
            .expect("no poison")
            .entry(target.to_owned())
            .or_default()
            .replies = vec![reply];
    }

    /// Responds to this target with these replies in turn, then always with the last one.
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

    /// Responds to all other targets with this.
    pub fn default_reply(&self, reply: Reply) {
        *self.0.default_reply.lock().expect("no poison") = reply;
    }

    /// Holds back the replies to this target.
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

    /// All requests so far.
    pub fn requests(&self) -> Vec<OriginRequest> {
        self.0.requests.lock().expect("no poison").clone()
    }

    /// The latest request.
    #[track_caller]
    pub fn last_request(&self) -> OriginRequest {
        self.requests()
            .pop()
            .expect("a request has reached the origin")
    }

    #[track_caller]
    pub fn assert_requests(&self, count: usize) {
        let requests = self.requests();
        assert_eq!(
            requests.len(),
            count,
            "requests at the origin: {requests:#?}"
        );
    }

    /// Waits until `count` requests have arrived; their replies may still be held back.
    pub async fn wait_for_requests(&self, count: usize) {
        let what = format!("{count} requests at the origin");
        wait_until(&what, async || self.requests().len() >= count).await;
    }

    async fn serve(&self, mut socket: TcpStream) {
        let mut unread = Vec::new();
        while let Some(request) = read_request(&mut socket, &mut unread).await {
            let number = {
                let mut all = self.0.requests.lock().expect("no poison");
                all.push(request.clone());
                all.len()
            };
            let (reply, gate) = self.script(&request, number);
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
            let (bytes, keep) = reply.render(request.method());
            if socket.write_all(&bytes).await.is_err() || !keep {
                return;
            }
        }
    }

    /// Refuses a token from now on, with this status.
    pub fn refuse(&self, token: &str, status: u16) {
        self.0
            .refused
            .lock()
            .expect("no poison")
            .insert(format!("Bearer {token}"), status);
    }

    /// Accepts a refused token again.
    pub fn admit(&self, token: &str) {
        self.0
            .refused
            .lock()
            .expect("no poison")
            .remove(&format!("Bearer {token}"));
    }

    fn refusal(&self, request: &OriginRequest) -> Option<Reply> {
        let credential = request.header("authorization")?;
        let refused = self.0.refused.lock().expect("no poison");
        refused.get(&credential).map(|status| Reply::new(*status))
    }

    fn script(&self, request: &OriginRequest, number: usize) -> (Reply, Option<Gate>) {
        let mut scripts = self.0.scripts.lock().expect("no poison");
        let script = scripts.entry(request.target().to_owned()).or_default();
        let mut reply = match script.replies.len() {
            0 => self.0.default_reply.lock().expect("no poison").clone(),
            1 => script.replies[0].clone(),
            _ => script.replies.pop().expect("there are several"),
        };
        if let Some(refusal) = self.refusal(request) {
            reply = refusal;
        }
        reply.complete(request, number);
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

    /// The value of a field; several lines are joined by commas.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

/// Reads one request; `None` if the connection ends before.
pub(super) async fn read_request(
    socket: &mut TcpStream,
    unread: &mut Vec<u8>,
) -> Option<OriginRequest> {
    let end = loop {
        match unread.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => read_more(socket, unread).await?,
        }
    };
    let head = String::from_utf8_lossy(&unread.drain(..end).collect::<Vec<_>>()).into_owned();
    let mut request = OriginRequest {
        head,
        body: Vec::new(),
        trailers: String::new(),
    };
    if let Some(length) = request
        .header("content-length")
        .and_then(|length| length.parse().ok())
    {
        while unread.len() < length {
            read_more(socket, unread).await?;
        }
        request.body = unread.drain(..length).collect();
    } else if request.header("transfer-encoding").is_some() {
        read_chunks(socket, unread, &mut request).await?;
    }
    Some(request)
}

async fn read_chunks(
    socket: &mut TcpStream,
    unread: &mut Vec<u8>,
    request: &mut OriginRequest,
) -> Option<()> {
    loop {
        let size = read_line(socket, unread).await?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            break;
        }
        while unread.len() < size + 2 {
            read_more(socket, unread).await?;
        }
        request.body.extend(unread.drain(..size));
        unread.drain(..2);
    }
    loop {
        let line = read_line(socket, unread).await?;
        if line == "\r\n" {
            return Some(());
        }
        request.trailers.push_str(&line);
    }
}

async fn read_line(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        match unread.windows(2).position(|window| window == b"\r\n") {
            Some(at) => {
                let line = unread.drain(..at + 2).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            None => read_more(socket, unread).await?,
        }
    }
}

async fn read_more(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let read = socket.read_buf(unread).await.ok()?;
    (read > 0).then_some(())
}
