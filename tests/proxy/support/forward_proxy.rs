//! A forward proxy that answers CONNECT as scripted, and records all that it sees.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use stuut_cache::config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::origin::read_request;

/// The response to CONNECT.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A tunnel to this address, whatever the name in the request.
    Tunnel(SocketAddr),
    /// These bytes, then the end of the connection.
    Bytes(String),
    /// Nothing, while the connection stays open.
    Silence,
}

/// A proxy for CONNECT.
pub struct ForwardProxy {
    pub address: SocketAddr,
    script: Arc<Mutex<Answer>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    tunnelled: Vec<u8>,
}

impl ForwardProxy {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let script = Arc::new(Mutex::new(answer));
        let seen = Arc::default();
        let shared = (Arc::clone(&script), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (script, seen) = shared.clone();
                tokio::spawn(serve(socket, script, seen));
            }
        });
        Self {
            address,
            script,
            seen,
        }
    }

    /// Answers like this from now on.
    pub fn set_answer(&self, answer: Answer) {
        *self.script.lock().expect("no poison") = answer;
    }

    /// Its address as `upstream.proxy`.
    pub fn setting(&self) -> config::ForwardProxy {
        let url = format!("http://{}", self.address);
        config::ForwardProxy::parse(&url).expect("the URL of a proxy")
    }

    /// The heads of all requests, byte for byte.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("no poison").requests.clone()
    }

    /// All bytes to the origins, as text.
    pub fn tunnelled(&self) -> String {
        let seen = self.seen.lock().expect("no poison");
        String::from_utf8_lossy(&seen.tunnelled).into_owned()
    }
}

async fn serve(mut client: TcpStream, script: Arc<Mutex<Answer>>, seen: Arc<Mutex<Seen>>) {
    let Some(request) = read_request(&mut client, &mut Vec::new()).await else {
        return;
    };
    seen.lock().expect("no poison").requests.push(request.head);
    let answer = script.lock().expect("no poison").clone();
    let origin = match answer {
        Answer::Tunnel(address) => TcpStream::connect(address).await.expect("an origin"),
        Answer::Bytes(bytes) => {
            // The client may have closed already.
            let _ = client.write_all(bytes.as_bytes()).await;
            return;
        }
        Answer::Silence => {
            let _ = client.read_to_end(&mut Vec::new()).await;
            return;
        }
    };
    let established = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.0 200 Connection established\r\nvia: 1.0 proxy\r\n\r\n";
    client
        .write_all(established)
        .await
        .expect("the client reads");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_origin, mut to_origin) = origin.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_origin, &mut to_client).await });
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        let bytes = &buffer[..read];
        seen.lock().expect("no poison").tunnelled.extend(bytes);
        if to_origin.write_all(bytes).await.is_err() {
            return;
        }
    }
}
