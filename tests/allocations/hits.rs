//! Allocations of a hit, compared with a bare hyper server that sends the same prepared response, and of a
//! miss.
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

/// The copy of the prepared `HeaderMap`: its fields and its index.
const BARE: u32 = 2;

/// The values of `Age`, `Cache-Status` and `X-Request-Id`, in one.
const OURS: u32 = BARE + 1;

/// Those of a miss, at most: of both requests, both connections, the fetch and the stored entry.
const MISS: u32 = 84;

#[test]
fn a_hit_allocates_once_more_than_bare_hyper() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    let bare = runtime.block_on(async { bare() });
    assert_eq!(per_request(&runtime, bare, |_| 1), BARE, "bare");

    let writer = LogWriter::start(io::sink(), LogStyle::Json).expect("a thread");
    let proxy = runtime.block_on(async { proxy(&writer, 1) });
    assert_eq!(per_request(&runtime, proxy.address, |_| 1), OURS, "ours");
    runtime.block_on(proxy.stop());
}

#[test]
fn the_allocations_of_a_miss_are_bounded() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let writer = LogWriter::start(io::sink(), LogStyle::Json).expect("a thread");
    let proxy = runtime.block_on(async { proxy(&writer, usize::MAX) });
    let counted = per_request(&runtime, proxy.address, |n| n);
    assert!(counted <= MISS, "{counted}");
    runtime.block_on(proxy.stop());
}

/// Allocations per request: the difference to a connection with twice the requests. `call` is the number of
/// the call that the nth request is for.
fn per_request(runtime: &Runtime, address: SocketAddr, call: fn(u32) -> u32) -> u32 {
    let mut sent = 0;
    let mut count = |hits| {
        let (answered, all_answered) = oneshot::channel();
        let calls = sent..sent + hits;
        sent = calls.end;
        std::thread::spawn(move || answered.send(send_requests(address, calls.map(call))));
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

/// Sends a request for each of these calls on one connection, and reads the responses.
fn send_requests(address: SocketAddr, calls: impl Iterator<Item = u32>) -> io::Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let mut buffer = [0; 2 * BODY];
    for call in calls {
        let request = format!(
            "GET /v1/calls/c{call} HTTP/1.1\r\nhost: a\r\nuser-agent: curl/8.5.0\r\n\
             authorization: Bearer a\r\n\r\n"
        );
        socket.write_all(request.as_bytes())?;
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

/// The proxy as in production, with the access log; the origin answers this number of requests.
fn proxy(writer: &LogWriter, answers: usize) -> Process {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = Config::default();
    config.server.listen.set_port(0);
    config.admin.listen.set_port(0);
    config.upstream.url = OriginUrl::parse(&format!(
        "http://{}",
        origin.local_addr().expect("an address")
    ))
    .expect("an origin");
    std::thread::spawn(move || answer(&origin, answers));
    let clock = Clock::manual(SystemTime::now());
    Process::start(&config, &clock, Some(writer), Sockets::default()).expect("the proxy starts")
}

/// An origin that answers this number of requests on one connection, so that a later miss fails.
fn answer(listener: &TcpListener, answers: usize) -> io::Result<()> {
    let (mut socket, _) = listener.accept()?;
    let mut body = r#"{"status":"busy","text":""#.to_owned();
    body.extend(std::iter::repeat_n('x', BODY - body.len() - 2));
    body.push_str("\"}");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\netag: \"1\"\r\ncache-control: max-age=3600\r\n\
         content-length: {BODY}\r\n\r\n{body}"
    );
    for _ in 0..answers {
        let mut request = [0; BODY];
        let mut filled = 0;
        while !request[..filled].ends_with(b"\r\n\r\n") {
            match socket.read(&mut request[filled..])? {
                0 => return Ok(()),
                read => filled += read,
            }
        }
        socket.write_all(answer.as_bytes())?;
    }
    Ok(())
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
