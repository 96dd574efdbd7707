//! An origin that misbehaves step by step, whatever the request; and a strict parser of what the
//! client receives, which tells whether it is complete.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stuut_cache::clock::Clock;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::RawConnection;

/// One step of the origin's response to a request.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// Advances the clock and all waiters by one second.
    AdvanceSecond,
    /// Sends this repeatedly until the peer disconnects.
    SendForever(Vec<u8>),
    /// The same, once per second of the test's clock.
    SendForeverSlowly(Vec<u8>),
    /// Keeps the connection open; a script without it ends by closing the connection.
    Hold,
    Reset,
    /// Closes the sending direction; reading continues.
    HalfClose,
}

/// An origin that follows a script.
pub struct FaultyOrigin {
    pub address: SocketAddr,
    script: Arc<Mutex<Vec<Step>>>,
    clock: Arc<Mutex<Option<Clock>>>,
    /// Cloned by every open connection.
    open: Arc<()>,
    accepting: AbortHandle,
}

/// The result of parsing what a client received.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// An incomplete response.
    Truncated,
    /// The head in lower case, and the body.
    Complete(String, Vec<u8>),
}

impl FaultyOrigin {
    pub async fn start(script: &[Step]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let script = Arc::new(Mutex::new(script.to_vec()));
        let clock = Arc::default();
        let serving = (Arc::clone(&script), Arc::clone(&clock));
        let open = Arc::new(());
        let opened = Arc::clone(&open);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (script, clock) = serving.clone();
                let open = Arc::clone(&opened);
                tokio::spawn(async move {
                    serve(RawConnection::new(socket), script, clock).await;
                    drop(open);
                });
            }
        });
        Self {
            address,
            script,
            clock,
            open,
            accepting: accepting.abort_handle(),
        }
    }

    /// Sets the clock that [`Step::AdvanceSecond`] advances.
    pub fn use_clock(&self, clock: &Clock) {
        *self.clock.lock().expect("no poison") = Some(clock.clone());
    }

    /// Whether no connection is open. Two clones belong to the origin itself.
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.open) == 2
    }

    /// Follows this script from now on.
    pub fn set_script(&self, script: &[Step]) {
        *self.script.lock().expect("no poison") = script.to_vec();
    }
}

impl Drop for FaultyOrigin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut connection: RawConnection,
    script: Arc<Mutex<Vec<Step>>>,
    clock: Arc<Mutex<Option<Clock>>>,
) {
    let advance_second = || {
        let clock = clock.lock().expect("no poison");
        clock
            .as_ref()
            .expect("the test has called `use_clock`")
            .advance_waiters(Duration::from_secs(1));
    };
    while connection.try_read_request().await.is_some() {
        let steps = script.lock().expect("no poison").clone();
        let mut stays_open = false;
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    // The proxy may have disconnected.
                    if connection.try_send(&bytes).await.is_err() {
                        return;
                    }
                }
                Step::AdvanceSecond => {
                    // The proxy reads what was sent before the time passes.
                    tokio::task::yield_now().await;
                    advance_second();
                }
                Step::SendForever(bytes) => while connection.try_send(&bytes).await.is_ok() {},
                Step::SendForeverSlowly(bytes) => {
                    while connection.try_send(&bytes).await.is_ok() {
                        advance_second();
                        tokio::task::yield_now().await;
                    }
                }
                Step::Hold => stays_open = true,
                Step::Reset => return connection.reset(),
                Step::HalfClose => {
                    connection.half_close().await;
                    stays_open = true;
                }
            }
        }
        if !stays_open {
            return;
        }
    }
}

impl Received {
    /// Parses the bytes received until the end of the connection.
    pub fn of(received: &[u8]) -> Self {
        let text = String::from_utf8_lossy(received);
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Self::Truncated;
        };
        let head = text[..end].to_lowercase();
        let body = &received[end + 4..];
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let body = if let Some(length) = field("content-length") {
            let length: usize = length.parse().expect("a length is a number");
            (body.len() == length).then(|| body.to_vec())
        } else if field("transfer-encoding") == Some("chunked") {
            unchunked(body)
        } else {
            // Without either, only a response without a body is complete.
            body.is_empty().then(Vec::new)
        };
        body.map_or(Self::Truncated, |body| Self::Complete(head, body))
    }
}

/// The body of these chunks, if the last chunk has arrived.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return rest.ends_with(b"\r\n").then_some(body);
        }
        body.extend(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
