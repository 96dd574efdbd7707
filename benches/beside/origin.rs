//! The origin server: keep-alive, prepared responses, and a count of requests.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::Result;
use crate::body::{BodySpec, Shape};

/// An origin in the process of the load generator, on its CPU.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    fetches: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) fn start() -> Result<Self> {
        Self::with_latency(Duration::ZERO)
    }

    /// An origin with this latency.
    pub(crate) fn with_latency(delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let fetches = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetches);
        let date = httpdate::fmt_http_date(SystemTime::now());
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                let (count, date) = (Arc::clone(&count), date.clone());
                // Ends with its connection; a close by the proxy is no error.
                thread::spawn(move || serve(socket, delay, &date, &count));
            }
        });
        Ok(Self { address, fetches })
    }

    /// Number of requests so far.
    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn serve(
    mut socket: TcpStream,
    delay: Duration,
    date: &str,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut ready: HashMap<BodySpec, Vec<u8>> = HashMap::new();
    let mut buffer = [0; 16 << 10];
    let mut filled = 0;
    loop {
        let read = socket.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        // The servers under test do not pipeline, and send no body.
        if !buffer[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&buffer[..filled]);
        let target = head.split(' ').nth(1).unwrap_or_default();
        filled = 0;
        let Some(spec) = BodySpec::of(target) else {
            socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        };
        count.fetch_add(1, Ordering::SeqCst);
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        if spec.shape == Shape::Random {
            socket.write_all(&answer(spec, date))?;
        } else {
            let answer = ready.entry(spec).or_insert_with(|| answer(spec, date));
            socket.write_all(answer)?;
        }
    }
}

fn answer(spec: BodySpec, date: &str) -> Vec<u8> {
    let body = spec.body();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-type: application/json\r\netag: \"1\"\r\n\
         cache-control: max-age=3600\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}
