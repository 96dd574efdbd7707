//! The load over HTTP/1.1: kept-alive connections.

use std::borrow::Cow;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::iter::StepBy;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

use crate::Result;

/// Concurrent connections of a round.
pub(crate) const CONNECTIONS: usize = 8;

/// Timeout of a read or write.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A GET.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    pub(crate) target: String,
    pub(crate) token: String,
    /// `Accept-Encoding`, if any.
    pub(crate) codings: Option<&'static str>,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// The version of HTTP, with or without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    H1,
    /// Without TLS (h2c), by prior knowledge.
    H2,
    /// HTTP/1.1 over TLS.
    Tls,
}

/// A socket, with or without TLS.
pub(crate) trait Socket: Read + Write + Send + fmt::Debug {}

impl<S: Read + Write + Send + fmt::Debug> Socket for S {}

/// A kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    buffer: Vec<u8>,
}

/// The framing of a body.
enum Framing {
    Length(usize),
    Chunked,
}

// === impl Get ===

impl Get {
    /// A GET of this target, with the token of most rows.
    pub(crate) fn of(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            token: "bench-token-1".to_owned(),
            codings: None,
        }
    }

    /// As it is sent over HTTP/1.1.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { target, token, .. } = self;
        let codings = self.codings.map_or(String::new(), |codings| {
            format!("accept-encoding: {codings}\r\n")
        });
        format!(
            "GET {target} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\
             accept: */*\r\n{codings}\r\n"
        )
        .into_bytes()
    }
}

// === impl Answer ===

impl Answer {
    /// A field's value, or "".
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

// === impl Connection ===

impl Connection {
    /// Opens a connection without TLS.
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self::on(connect(address)?))
    }

    pub(crate) fn on(socket: impl Socket + 'static) -> Self {
        Self {
            socket: Box::new(socket),
            buffer: vec![0; 64 << 10],
        }
    }

    /// Sends a request; returns the whole response.
    pub(crate) fn fetch(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(request)?)
    }

    /// Reads a whole response.
    pub(crate) fn receive(&mut self) -> Result<Answer> {
        let (head, filled) = self.head()?;
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let status = text.get(9..12).ok_or("no status line")?.parse()?;
        let mut headers = HeaderMap::new();
        for line in text.lines().skip(1) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            headers.append(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_str(value.trim())?,
            );
        }
        let framing = framing(&self.buffer[..head])?;
        let mut body = self.buffer[head..filled].to_vec();
        match framing {
            Framing::Length(length) => {
                while body.len() < length {
                    self.more(&mut body)?;
                }
            }
            Framing::Chunked => {
                while !is_last_chunk(&body) {
                    self.more(&mut body)?;
                }
                body = unchunked(&body)?;
            }
        }
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    fn more(&mut self, body: &mut Vec<u8>) -> Result<()> {
        let read = self.fill(0)?;
        body.extend_from_slice(&self.buffer[..read]);
        Ok(())
    }

    /// Sends a request, reads and drops the response; an error unless it is 200.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<()> {
        self.send(request)?;
        let (head, filled) = self.head()?;
        if !self.buffer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&self.buffer[..head]).into());
        }
        match framing(&self.buffer[..head])? {
            Framing::Length(length) => {
                let mut got = filled - head;
                while got < length {
                    got += self.fill(0)?;
                }
            }
            Framing::Chunked => {
                // The end marker may arrive in two reads.
                let mut filled = filled;
                while !is_last_chunk(&self.buffer[..filled]) {
                    let kept = filled.min(8);
                    self.buffer.copy_within(filled - kept..filled, 0);
                    filled = kept + self.fill(kept)?;
                }
            }
        }
        Ok(())
    }

    /// Reads a whole head; returns its length, and the number of bytes read so far.
    fn head(&mut self) -> Result<(usize, usize)> {
        let mut filled = 0;
        loop {
            filled += self.fill(filled)?;
            if let Some(end) = memmem::find(&self.buffer[..filled], b"\r\n\r\n") {
                return Ok((end + 4, filled));
            }
        }
    }

    fn fill(&mut self, from: usize) -> Result<usize> {
        match self.socket.read(&mut self.buffer[from..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(from),
            Ok(0) => Err("the server closed the connection".into()),
            Ok(read) => Ok(read),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(format!("no response within {TIMEOUT:?}").into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a socket with timeouts.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

fn framing(head: &[u8]) -> Result<Framing> {
    if head.starts_with(b"HTTP/1.1 304") {
        return Ok(Framing::Length(0));
    }
    let field = |name: &str| {
        head.split(|&byte| byte == b'\n').find_map(|line| {
            let (prefix, value) = line.split_at_checked(name.len())?;
            prefix
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value.trim_ascii())
        })
    };
    if let Some(length) = field("content-length:") {
        return Ok(Framing::Length(std::str::from_utf8(length)?.parse()?));
    }
    match field("transfer-encoding:") {
        Some(b"chunked") => Ok(Framing::Chunked),
        _ => Err("a response without a length".into()),
    }
}

/// Whether a chunked body ends here. A gzip body may contain these bytes, but a read that ends with
/// them by chance is unlikely.
fn is_last_chunk(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n0\r\n\r\n")
}

fn unchunked(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::with_capacity(bytes.len());
    loop {
        let line = memmem::find(bytes, b"\r\n").ok_or("a chunk without a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line])?, 16)?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = line + 2..line + 2 + size;
        body.extend_from_slice(bytes.get(chunk.clone()).ok_or("a truncated chunk")?);
        bytes = bytes.get(chunk.end + 2..).ok_or("an unterminated chunk")?;
    }
}

/// Sends the requests of a round over all connections, one at a time each; returns the number of
/// responses, all of them 200.
pub(crate) fn spread<'a>(
    address: SocketAddr,
    requests: usize,
    request: &(dyn Fn(usize) -> Cow<'a, [u8]> + Sync),
) -> Result<usize> {
    share(requests, &|numbers| {
        let mut connection = Connection::open(address)?;
        for number in numbers {
            connection.exchange(&request(number))?;
        }
        Ok(())
    })
}

/// Shares the numbers of a round's requests among as many threads as there are connections;
/// returns how many there were.
pub(crate) fn share(
    requests: usize,
    client: &(dyn Fn(StepBy<Range<usize>>) -> Result<()> + Sync),
) -> Result<usize> {
    let requests = requests - requests % CONNECTIONS;
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..CONNECTIONS)
            .map(|first| scope.spawn(move || client((first..requests).step_by(CONNECTIONS))))
            .collect();
        for load in loads {
            load.join().map_err(|_| "a client panicked")??;
        }
        Ok(requests)
    })
}
