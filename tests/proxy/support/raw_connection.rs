//! Connections controlled byte by byte, for tests in which the order of bytes matters.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::OriginRequest;
use super::origin::read_request;

/// An origin that does nothing by itself: the test accepts, reads and responds.
pub struct RawOrigin {
    listener: TcpListener,
    pub address: SocketAddr,
}

/// One connection, as the client or as the origin.
pub struct RawConnection {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// A received HTTP/2 frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl RawOrigin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        Self { listener, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connection.
    pub async fn accept(&self) -> RawConnection {
        let accepted = tokio::time::timeout(Duration::from_mins(1), self.listener.accept());
        let accepted = accepted.await.expect("a connection within a minute");
        let (socket, _) = accepted.expect("a connection can be accepted");
        RawConnection::new(socket)
    }
}

impl RawConnection {
    pub fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            unread: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .await
            .expect("the peer reads the bytes");
    }

    /// Sends to a peer that may have disconnected.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.socket.write_all(bytes.as_ref()).await
    }

    /// Reads the next request with its body.
    pub async fn read_request(&mut self) -> OriginRequest {
        self.try_read_request().await.expect("a request arrives")
    }

    /// Reads the next request; `None` if the connection ends before.
    pub async fn try_read_request(&mut self) -> Option<OriginRequest> {
        read_request(&mut self.socket, &mut self.unread).await
    }

    /// Reads up to and including `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        let at = loop {
            let position = self
                .unread
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            match position {
                Some(at) => break at + end.len(),
                None => assert!(
                    self.read_more().await,
                    "closed before {end:?}: {:?}",
                    String::from_utf8_lossy(&self.unread)
                ),
            }
        };
        let read = self.unread.drain(..at).collect::<Vec<_>>();
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads `count` bytes.
    pub async fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let read = self.try_read_exact(count).await;
        read.unwrap_or_else(|| panic!("closed after {} bytes", self.unread.len()))
    }

    /// Reads `count` bytes; `None` if the connection ends before.
    pub async fn try_read_exact(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            if !self.read_more().await {
                return None;
            }
        }
        let rest = self.unread.split_off(count);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    /// Reads the next HTTP/2 frame; `None` at the end.
    pub async fn read_frame(&mut self) -> Option<Frame> {
        let head = self.try_read_exact(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = self
            .try_read_exact(usize::try_from(length).expect("a length"))
            .await?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Reads a head with its empty line.
    pub async fn read_head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    /// Returns the buffered bytes, or reads some; `None` at the end.
    pub async fn read_some(&mut self) -> Option<Vec<u8>> {
        if self.unread.is_empty() && !self.read_more().await {
            return None;
        }
        Some(std::mem::take(&mut self.unread))
    }

    /// Reads until the peer closes or resets.
    pub async fn read_to_end(mut self) -> String {
        while self.read_more().await {}
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// Closes the sending direction; reading continues.
    pub async fn half_close(&mut self) {
        self.socket
            .shutdown()
            .await
            .expect("an open socket can be shut down");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.socket)
            .set_linger(Some(Duration::ZERO))
            .expect("the socket option can be set");
    }

    async fn read_more(&mut self) -> bool {
        matches!(self.socket.read_buf(&mut self.unread).await, Ok(1..))
    }
}
