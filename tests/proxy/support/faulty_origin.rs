//! An origin that does what no origin should, act by act, whatever it is asked; and a client that
//! believes nothing: it says what came, and whether it was whole.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stuut_cache::clock::Clock;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::RawConnection;

/// What an origin does once it has been asked.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// Lets all who wait live through a second.
    AdvanceSecond,
    /// This, again and again, until nobody takes it.
    SendForever(Vec<u8>),
    /// The same, once a second.
    SendForeverSlowly(Vec<u8>),
    /// The connection stays open. What follows a script without it is the end of the connection.
    Hold,
    Reset,
    /// Says no more, and listens on.
    HalfClose,
}

/// An origin that follows a script.
pub struct FaultyOrigin {
    pub address: SocketAddr,
    script: Arc<Mutex<Vec<Step>>>,
    clock: Arc<Mutex<Option<Clock>>>,
    /// Held by every connection that is open.
    open: Arc<()>,
    accepting: AbortHandle,
}

/// What a client has got.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Less than a response.
    Truncated,
    /// All of it, and its body.
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

    /// The clock that [`Step::AdvanceSecond`] moves.
    pub fn use_clock(&self, clock: &Clock) {
        *self.clock.lock().expect("no poison") = Some(clock.clone());
    }

    /// Whether no connection is open. One that accepts has a hold on it itself.
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.open) == 2
    }

    /// From now on it does this.
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
    mut line: RawConnection,
    script: Arc<Mutex<Vec<Step>>>,
    clock: Arc<Mutex<Option<Clock>>>,
) {
    let second = || {
        let clock = clock.lock().expect("no poison");
        clock
            .as_ref()
            .expect("the script has a clock to move")
            .advance_waiters(Duration::from_secs(1));
    };
    while line.try_read_request().await.is_some() {
        let acts = script.lock().expect("no poison").clone();
        let mut stays = false;
        for act in acts {
            match act {
                Step::Send(bytes) => {
                    // The proxy may have had enough.
                    if line.try_send(&bytes).await.is_err() {
                        return;
                    }
                }
                Step::AdvanceSecond => {
                    // What was sent is read before the time passes.
                    tokio::task::yield_now().await;
                    second();
                }
                Step::SendForever(bytes) => while line.try_send(&bytes).await.is_ok() {},
                Step::SendForeverSlowly(bytes) => {
                    while line.try_send(&bytes).await.is_ok() {
                        second();
                        tokio::task::yield_now().await;
                    }
                }
                Step::Hold => stays = true,
                Step::Reset => return line.reset(),
                Step::HalfClose => {
                    line.half_close().await;
                    stays = true;
                }
            }
        }
        if !stays {
            return;
        }
    }
}

impl Received {
    /// Reads what was received until the end of the connection.
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
            // Where neither says it, only an answer without a body is whole.
            body.is_empty().then(Vec::new)
        };
        body.map_or(Self::Truncated, |body| Self::Complete(head, body))
    }
}

/// The body in these chunks, if the last one has come.
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
