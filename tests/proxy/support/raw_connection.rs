//! Connections moved by hand: for stories in which the order of bytes is the point.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::OriginRequest;
use super::origin::read_request;

/// An origin that does nothing by itself: the story accepts, reads and answers.
pub struct RawOrigin {
    listener: TcpListener,
    pub address: SocketAddr,
}

/// One connection, at either end.
pub struct RawConnection {
    socket: TcpStream,
    unread: Vec<u8>,
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
        let (socket, _) = self.listener.accept().await.expect("a connection comes");
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
            .expect("the other side takes bytes");
    }

    /// Sends to somebody who may be gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.socket.write_all(bytes.as_ref()).await
    }

    /// The next request, whole.
    pub async fn read_request(&mut self) -> OriginRequest {
        self.try_read_request().await.expect("a request comes")
    }

    /// The next request, unless the connection ends before.
    pub async fn try_read_request(&mut self) -> Option<OriginRequest> {
        read_request(&mut self.socket, &mut self.unread).await
    }

    /// Everything up to and with `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        let at = loop {
            let found = self
                .unread
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            match found {
                Some(at) => break at + end.len(),
                None => assert!(
                    self.more().await,
                    "closed before {end:?}: {:?}",
                    String::from_utf8_lossy(&self.unread)
                ),
            }
        };
        let read = self.unread.drain(..at).collect::<Vec<_>>();
        String::from_utf8_lossy(&read).into_owned()
    }

    /// So many bytes.
    pub async fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let read = self.try_read_exact(count).await;
        read.unwrap_or_else(|| panic!("closed after {} bytes", self.unread.len()))
    }

    /// So many bytes; `None` if the connection ends before.
    pub async fn try_read_exact(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.unread.split_off(count);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    /// A head, with its empty line.
    pub async fn read_head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    /// What has come and was not read yet, or what comes next; `None` at the end.
    pub async fn read_some(&mut self) -> Option<Vec<u8>> {
        if self.unread.is_empty() && !self.more().await {
            return None;
        }
        Some(std::mem::take(&mut self.unread))
    }

    /// Everything until the other side closes or resets.
    pub async fn read_to_end(mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// Sends no more, but still reads.
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
            .expect("a socket takes the option");
    }

    async fn more(&mut self) -> bool {
        matches!(self.socket.read_buf(&mut self.unread).await, Ok(1..))
    }
}
