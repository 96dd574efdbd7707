//! Allocations of a hit, compared with a bare hyper server that sends the same prepared response.
//!
//! The server under test runs on the counted thread; clients, the origin and the log writer run on
//! other threads.

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use stuut_cache::clock::Clock;
use stuut_cache::config::{Config, OriginUrl};
use stuut_cache::process::{Process, Sockets};
use stuut_cache::telemetry::{LogStyle, LogWriter};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// Number of hits over which occasional allocations are averaged.
const HITS: u32 = 1_000;

const BODY: usize = 4 << 10;

const REQUEST: &[u8] = b"GET /v1/calls/c1 HTTP/1.1\r\nhost: a\r\nuser-agent: curl/8.5.0\r\n\
    authorization: Bearer a\r\n\r\n";

/// The copy of the prepared `HeaderMap`: its fields and its index.
const BARE: u32 = 2;

/// The path in the cache key, `Age`, `Cache-Status` and `X-Request-Id`.
const OURS: u32 = BARE + 4;

#[test]
fn a_hit_allocates_four_times_more_than_bare_hyper() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    let bare = runtime.block_on(async { bare() });
    assert_eq!(per_hit(&runtime, bare), BARE, "bare");

    let writer = LogWriter::start(io::sink(), LogStyle::Json).expect("a thread");
    let proxy = runtime.block_on(async { proxy(&writer) });
    assert_eq!(per_hit(&runtime, proxy.address), OURS, "ours");
    runtime.block_on(proxy.stop());
}

/// Allocations per request: the difference to a connection with twice the requests.
fn per_hit(runtime: &Runtime, address: SocketAddr) -> u32 {
    let count = |hits| {
        let (answered, all_answered) = oneshot::channel();
        std::thread::spawn(move || answered.send(send_requests(address, hits)));
        let counted = allocation_counter::measure(|| {
            runtime
                .block_on(all_answered)
                .expect("the client ends")
                .expect("every request is answered");
        });
        u32::try_from(counted.count_total).expect("the count fits u32")
    };
    // A warm-up, for what is allocated once.
    count(HITS);
    let (once, twice) = (count(HITS), count(2 * HITS));
    println!("{once} allocations for {HITS} hits, {twice} for twice as many");
    // Rounded, because the store and the log grow occasionally.
    (twice - once + HITS / 2) / HITS
}

/// Sends the request `times` times on one connection, and reads the responses.
fn send_requests(address: SocketAddr, times: u32) -> io::Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let mut buffer = [0; 2 * BODY];
    for _ in 0..times {
        socket.write_all(REQUEST)?;
        let mut filled = 0;
        while !is_whole(&buffer[..filled]) {
            match socket.read(&mut buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
    }
    Ok(())
}

fn is_whole(response: &[u8]) -> bool {
    let head = response.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    head.is_some_and(|end| response.len() == end + 4 + BODY)
}

/// The proxy as in production, with the access log; the origin answers one request.
fn proxy(writer: &LogWriter) -> Process {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = Config::default();
    config.server.listen.set_port(0);
    config.admin.listen.set_port(0);
    config.upstream.url = OriginUrl::parse(&format!(
        "http://{}",
        origin.local_addr().expect("an address")
    ))
    .expect("an origin");
    std::thread::spawn(move || answer_once(&origin));
    let clock = Clock::manual(SystemTime::now());
    Process::start(&config, &clock, Some(writer), Sockets::default()).expect("the proxy starts")
}

/// An origin that answers one request, so that a later miss fails.
fn answer_once(listener: &TcpListener) -> io::Result<()> {
    let (mut socket, _) = listener.accept()?;
    let _ = socket.read(&mut [0; BODY])?;
    let mut body = r#"{"status":"busy","text":""#.to_owned();
    body.extend(std::iter::repeat_n('x', BODY - body.len() - 2));
    body.push_str("\"}");
    write!(
        socket,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\netag: \"1\"\r\ncache-control: max-age=3600\r\n\
         content-length: {BODY}\r\n\r\n{body}"
    )
}

/// A bare hyper server. Must be called in a runtime.
fn bare() -> SocketAddr {
    let fields = [
        ("content-type", "text/plain"),
        ("etag", "\"1\""),
        ("cache-control", "max-age=3600"),
        ("via", "1.1 stuut-cache"),
        ("age", "0"),
        ("cache-status", "stuut-cache; hit; ttl=3600"),
    ];
    let headers: HeaderMap = fields
        .into_iter()
        .map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect();
    let body = Bytes::from(vec![b'x'; BODY]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (headers, body) = (headers.clone(), body.clone());
            let service = service_fn(move |_: Request<Incoming>| {
                let mut response = Response::new(Full::new(body.clone()));
                *response.headers_mut() = headers.clone();
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(async move {
                let connection = auto::Builder::new(TokioExecutor::new());
                let _ = connection
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    address
}
