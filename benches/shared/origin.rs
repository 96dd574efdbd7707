//! The origin: each call has a version, which a PATCH increments; every response shows it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::Result;

/// An origin on threads of this process: one per connection.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The version of each call that was written to.
    versions: Mutex<HashMap<String, u64>>,
    /// GET requests.
    fetches: AtomicU64,
    /// In microseconds.
    latency: AtomicU64,
    /// Bytes of a body.
    size: AtomicU64,
}

impl Origin {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, state) = (listener.local_addr()?, Arc::<State>::default());
        state.size.store(4 << 10, Ordering::Relaxed);
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                thread::spawn(move || {
                    // The proxy has closed the connection.
                    let _ = state.serve(socket);
                });
            }
        });
        Ok(Self { address, state })
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.state.latency.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn set_size(&self, bytes: u64) {
        self.state.size.store(bytes, Ordering::Relaxed);
    }

    /// The fetches since the last time.
    pub(crate) fn take_fetches(&self) -> u64 {
        self.state.fetches.swap(0, Ordering::Relaxed)
    }
}

impl State {
    fn serve(&self, socket: TcpStream) -> Result<()> {
        socket.set_nodelay(true)?;
        let mut writer = socket.try_clone()?;
        let mut reader = BufReader::new(socket);
        loop {
            let (mut line, mut length) = (String::new(), 0);
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next());
            let path = path.unwrap_or_default().to_owned();
            let is_write = method != "GET";
            loop {
                let mut field = String::new();
                reader.read_line(&mut field)?;
                let field = field.trim_end().to_ascii_lowercase();
                if let Some(value) = field.strip_prefix("content-length:") {
                    length = value.trim().parse()?;
                }
                if field.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let latency = Duration::from_micros(self.latency.load(Ordering::Relaxed));
            if !latency.is_zero() {
                thread::sleep(latency);
            }
            let version = self.version(&path, is_write);
            if !is_write {
                self.fetches.fetch_add(1, Ordering::Relaxed);
            }
            let size = usize::try_from(self.size.load(Ordering::Relaxed))?;
            let mut body = format!(
                "{{\"id\":\"{path}\",\"version\":{version},\"status\":\"completed\",\
                 \"transcript\":\"x\",\"summary\":\"x\",\"sentiment\":\"x\",\"text\":\""
            );
            // Text that compresses as a transcript does.
            let mut word = version ^ 0x9E37_79B9;
            while body.len() + 2 < size {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                body.push_str(
                    ["call ", "invoice ", "agent ", "payment "][(word >> 60) as usize % 4],
                );
            }
            body.push_str("\"}");
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                 cache-control: max-age=600\r\netag: \"v{version}\"\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            );
            writer.write_all((head + &body).as_bytes())?;
        }
    }

    /// The version of a call; a write increments it before it is answered.
    fn version(&self, path: &str, is_write: bool) -> u64 {
        let mut versions = self.versions.lock().expect("no thread panics with it");
        let version = versions.entry(path.to_owned()).or_default();
        *version += u64::from(is_write);
        *version
    }
}

/// The version that a body shows.
pub(crate) fn version(body: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(body)?;
    let (_, rest) = text.split_once("\"version\":").ok_or("no version")?;
    let digits = rest.split(',').next().unwrap_or_default();
    Ok(digits.parse()?)
}
