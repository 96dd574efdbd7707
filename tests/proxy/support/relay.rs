//! A relay in front of a server that does what networks do: nothing arrives, or late, or in part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A fate of bytes. Replies are those of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// They are held, in both directions, until there is another fault.
    Pause,
    /// They are lost, in both directions.
    BlackHole,
    /// Each part of a reply arrives this much later.
    Delay(Duration),
    /// After this many bytes of replies the connection is closed, once.
    CutAfter(usize),
    /// A bit of the reply's byte at this place is flipped, once.
    Flip(usize),
}

/// A running relay.
pub struct Relay {
    address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    connections: Arc<AtomicUsize>,
}

impl Relay {
    /// Starts it without a fault.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let relay = Self {
            address: listener.local_addr().expect("it is bound"),
            fault: Arc::new(watch::Sender::new(Fault::None)),
            connections: Arc::default(),
        };
        let (fault, connections) = (Arc::clone(&relay.fault), Arc::clone(&relay.connections));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(relayed(client, server, Arc::clone(&fault)));
            }
        });
        relay
    }

    /// For `shared.url`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub fn fault(&self) -> Fault {
        *self.fault.borrow()
    }
}

async fn relayed(client: TcpStream, server: u16, fault: Arc<watch::Sender<Fault>>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("the option exists");
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The end of one direction is the end of both.
    tokio::select! {
        () = forward(from_client, to_server, &fault, false) => {}
        () = forward(from_server, to_client, &fault, true) => {}
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    fault: &watch::Sender<Fault>,
    is_reply: bool,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut bytes = &mut buffer[..length];
        let mut changes = fault.subscribe();
        let now = changes.wait_for(|fault| *fault != Fault::Pause).await;
        let now = *now.expect("the sender exists");
        let mut is_last = false;
        match now {
            Fault::BlackHole => continue,
            Fault::Delay(by) if is_reply => tokio::time::sleep(by).await,
            Fault::CutAfter(place) | Fault::Flip(place) if is_reply => {
                let left = place.checked_sub(bytes.len());
                let (next, is_hit) = match (now, left) {
                    (Fault::CutAfter(_), Some(left)) => (Fault::CutAfter(left), false),
                    (_, Some(left)) => (Fault::Flip(left), false),
                    (_, None) => (Fault::None, true),
                };
                fault.send_replace(next);
                if is_hit && matches!(now, Fault::CutAfter(_)) {
                    bytes = &mut bytes[..place];
                    is_last = true;
                } else if is_hit {
                    bytes[place] ^= 1;
                }
            }
            _ => {}
        }
        if to.write_all(bytes).await.is_err() || is_last {
            return;
        }
    }
}
