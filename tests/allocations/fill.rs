//! Bodies that are being read for the cache stay within `limits.in_transit`.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};
use stuut_cache::clock::Clock;
use stuut_cache::config::{self, Config, OriginUrl};
use stuut_cache::request::{Routes, ScopeKey};
use stuut_cache::telemetry::Metrics;
use stuut_cache::upstream::{BodyRead, Upstream};
use tokio::runtime::Builder;

/// A body's bytes.
const BODY: usize = 8 << 20;

/// More than half of the body, so that a doubled buffer would exceed it.
const BUDGET: u64 = 5 << 20;

/// The copied half of a buffer that grows, hyper's read buffers, and a frame beyond the budget.
const SLACK: u64 = 2 << 20;

#[test]
fn a_body_reserves_its_bytes_before_they_are_allocated() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut config = Config::default();
    config.upstream.url = OriginUrl::parse(&format!("http://{}", origin())).expect("a URL");
    config.cache.max_entry = config::ByteSize(2 * BODY as u64);
    config.limits.in_transit = config::ByteSize(BUDGET);
    let metrics = Arc::new(Metrics::new(&Routes::new(&config.cache.routes)));
    let clock = Clock::manual(SystemTime::now());
    let upstream = Upstream::new(&config, metrics, clock).expect("an upstream");
    let token = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
    let target = "/v1/calls/c1".parse().expect("a target");

    let fields = HeaderMap::new();

    let mut body = None;
    let counted = allocation_counter::measure(|| {
        body = Some(runtime.block_on(async {
            let deadline = upstream.deadline();
            let head = upstream.fetch(&token, true, &target, &fields, deadline);
            let head = head.await.expect("a response");
            upstream.read(head.into_body()).await.expect("a body")
        }));
    });
    assert!(matches!(body, Some(BodyRead::Streamed(_))));
    let most = counted.bytes_max;
    assert!(most <= BUDGET + SLACK, "{most} bytes");
}

/// An origin that sends one chunked body, on a thread of its own.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || -> io::Result<()> {
        let (mut socket, _) = listener.accept()?;
        let _ = socket.read(&mut [0; 4096])?;
        socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let chunk = vec![b'a'; 64 << 10];
        for _ in 0..BODY / chunk.len() {
            write!(socket, "{:x}\r\n", chunk.len())?;
            socket.write_all(&chunk)?;
            socket.write_all(b"\r\n")?;
        }
        socket.write_all(b"0\r\n\r\n")
    });
    address
}
