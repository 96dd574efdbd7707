//! An origin on a raw socket: it records every byte it is sent, and answers as scripted, whole,
//! torn, late or not at all.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::until;

/// A scripted origin. What is not scripted is answered by an echo: 200, JSON, with the target,
/// the credential that asked and a number that grows with every request.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
    seen: Mutex<Vec<Seen>>,
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
pub struct Seen {
    /// Everything up to the empty line, byte for byte.
    pub head: String,
    /// The body, chunks put together.
    pub body: Vec<u8>,
    /// The lines behind the last chunk.
    pub trailers: String,
}

/// An answer, in the order its parts go out.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    raw: Option<Raw>,
    /// The body is made when it is asked for, of the request and its number.
    made: Option<fn(&Seen, usize) -> String>,
    /// The connection is reset in place of an answer.
    reset: bool,
    /// Who has the entity tag already is answered 304.
    validating: bool,
}

#[derive(Clone, Debug)]
struct Raw {
    bytes: Vec<u8>,
    kept_open: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    #[default]
    Length,
    /// The same, and the connection closes behind it.
    Closing,
    /// In chunks of this size.
    Chunked(usize),
    /// No length: the body ends with the connection.
    Close,
    /// The length is declared, but only so many bytes are sent before the connection closes.
    TornAfter(usize),
    /// The same with chunks.
    TornChunksAfter(usize),
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
    pub fn nowhere() -> (SocketAddr, socket2::Socket) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).expect("a loopback port");
        let address = socket.local_addr().expect("an address");
        (address.as_socket().expect("an IPv4 address"), socket)
    }

    /// Takes the connections of such a socket.
    #[expect(clippy::unused_async, reason = "it has to be called in a runtime")]
    pub async fn on(socket: socket2::Socket) -> Self {
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
    pub async fn go_away(&self) {
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
    pub fn otherwise(&self, reply: Reply) {
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
    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().expect("no poison").clone()
    }

    /// The newest request.
    #[track_caller]
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request has reached the origin")
    }

    #[track_caller]
    pub fn assert_requests(&self, count: usize) {
        let seen = self.seen();
        assert_eq!(seen.len(), count, "requests at the origin: {seen:#?}");
    }

    /// Waits until so many requests have arrived (they may still be held).
    pub async fn until_requests(&self, count: usize) {
        let what = format!("{count} requests at the origin");
        until(&what, async || self.seen().len() >= count).await;
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
            if reply.reset {
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

    fn refusal(&self, seen: &Seen) -> Option<Reply> {
        let credential = seen.header("authorization")?;
        let refused = self.0.refused.lock().expect("no poison");
        refused.get(&credential).map(|status| Reply::new(*status))
    }

    fn script(&self, seen: &Seen, number: usize) -> (Reply, Option<Gate>) {
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
        if let Some(made) = reply.made {
            reply.body = made(seen, number).into_bytes();
        }
        if reply.validating && seen.header("if-none-match").as_deref() == reply.tag() {
            reply.status = 304;
        }
        (reply, script.gate.clone())
    }
}

fn echo(seen: &Seen, number: usize) -> String {
    let body = serde_json::json!({
        "target": seen.target(),
        "asked_by": seen.header("authorization"),
        "number": number,
    });
    body.to_string()
}

/// All that an origin can make its answer of: the fields in order of their names.
fn mirror(seen: &Seen, _number: usize) -> String {
    let mut fields: Vec<_> = seen
        .head
        .lines()
        .skip(1)
        .filter(|l| !l.is_empty())
        .collect();
    fields.sort_unstable();
    let body = serde_json::json!({
        "method": seen.method(),
        "target": seen.target(),
        "fields": fields,
        "body": String::from_utf8_lossy(&seen.body),
    });
    body.to_string()
}

impl Seen {
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

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// 200 with a JSON body.
    pub fn json(body: &str) -> Self {
        Self::new(200)
            .header("content-type", "application/json")
            .body(body)
    }

    /// 200 with what was asked, by whom, and a number that grows with every request.
    pub fn echo() -> Self {
        Self {
            made: Some(echo),
            ..Self::json("")
        }
    }

    /// 200 with the whole request.
    pub fn mirror() -> Self {
        Self {
            made: Some(mirror),
            ..Self::json("")
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn chunked(mut self, size: usize) -> Self {
        self.framing = Framing::Chunked(size);
        self
    }

    /// No length; the connection closes behind the body.
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// The declared length is a promise that is broken after so many bytes.
    pub fn torn_after(mut self, bytes: usize) -> Self {
        self.framing = Framing::TornAfter(bytes);
        self
    }

    /// The last chunk never comes.
    pub fn torn_chunks_after(mut self, bytes: usize) -> Self {
        self.framing = Framing::TornChunksAfter(bytes);
        self
    }

    /// The connection closes behind the answer, so that the next request needs a new one.
    pub fn closing(mut self) -> Self {
        self.framing = Framing::Closing;
        self.header("connection", "close")
    }

    /// With this entity tag; who has it already is answered 304.
    pub fn validating(mut self, tag: &str) -> Self {
        self.validating = true;
        self.header("etag", tag)
    }

    fn tag(&self) -> Option<&str> {
        let (_, tag) = self.headers.iter().find(|(name, _)| name == "etag")?;
        Some(tag)
    }

    /// The connection is reset in place of an answer.
    pub fn reset() -> Self {
        Self {
            reset: true,
            ..Self::default()
        }
    }

    /// These bytes and nothing else, then the connection closes.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            raw: Some(Raw {
                bytes: bytes.as_ref().to_vec(),
                kept_open: false,
            }),
            ..Self::default()
        }
    }

    /// These bytes and nothing else, and the connection stays open.
    pub fn raw_kept_open(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            raw: Some(Raw {
                bytes: bytes.as_ref().to_vec(),
                kept_open: true,
            }),
            ..Self::default()
        }
    }

    /// The bytes, and whether the connection stays open behind them.
    fn render(&self, method: &str) -> (Vec<u8>, bool) {
        if let Some(raw) = &self.raw {
            return (raw.bytes.clone(), raw.kept_open);
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("a string takes what is written to it");
        }
        let bodiless = method == "HEAD" || matches!(self.status, 204 | 304);
        match self.framing {
            _ if self.status == 304 || self.status == 204 => {}
            Framing::Length | Framing::Closing | Framing::TornAfter(_) => {
                write!(head, "content-length: {}\r\n", self.body.len()).expect("as above");
            }
            Framing::Chunked(_) | Framing::TornChunksAfter(_) => {
                head.push_str("transfer-encoding: chunked\r\n");
            }
            Framing::Close => head.push_str("connection: close\r\n"),
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if bodiless {
            return (bytes, self.framing != Framing::Closing);
        }
        match self.framing {
            Framing::Length | Framing::Closing | Framing::Close => bytes.extend(&self.body),
            Framing::TornAfter(sent) => bytes.extend(&self.body[..sent]),
            Framing::Chunked(size) => {
                chunks(&mut bytes, &self.body, size);
                bytes.extend(b"0\r\n\r\n");
            }
            Framing::TornChunksAfter(sent) => chunks(&mut bytes, &self.body[..sent], 16),
        }
        let whole = matches!(self.framing, Framing::Length | Framing::Chunked(_));
        (bytes, whole)
    }
}

fn chunks(out: &mut Vec<u8>, body: &[u8], size: usize) {
    for chunk in body.chunks(size) {
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
}

/// Reads one request; `None` when the connection ends.
pub(super) async fn read_request(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        match unread.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => more(socket, unread).await?,
        }
    };
    let head = String::from_utf8_lossy(&unread.drain(..end).collect::<Vec<_>>()).into_owned();
    let mut seen = Seen {
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

async fn read_chunks(socket: &mut TcpStream, unread: &mut Vec<u8>, seen: &mut Seen) -> Option<()> {
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
