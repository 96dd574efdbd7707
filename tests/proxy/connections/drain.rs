//! The drain: requests that complete, and connections that are closed.

use std::time::Duration;

use http::Method;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::server::{CALL, get};
use crate::support::h2::{self, GOAWAY, HEADERS};
use crate::support::{Clients, Origin, Proxy, RawConnection, Reply, wait_until};

/// Starts a drain; the task ends with it.
async fn start_drain(proxy: Proxy) -> JoinHandle<()> {
    let (clients, admin) = (Clients::new(), proxy.admin);
    let stopping = tokio::spawn(proxy.stop());
    wait_until("a drain", async || {
        let ready = clients.request(admin, Method::GET, "/readyz").await;
        ready.status() == 503
    })
    .await;
    stopping
}

/// Closing a listener resets the connections in its backlog: they are accepted before.
#[tokio::test]
async fn a_drain_serves_connections_in_the_accept_backlog() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.server.max_connections = 1).await;
    let gate = origin.hold("/v1/first");
    let mut clients = Vec::new();
    for target in ["/v1/first", "/v1/calls/c1", "/v1/third"] {
        let mut client = proxy.raw_connection().await;
        client.send(get(target)).await;
        clients.push(client);
        origin.wait_for_requests(1).await;
    }
    let address = proxy.address;
    let stopping = tokio::spawn(proxy.stop());
    while tokio::net::TcpStream::connect(address).await.is_ok() {}
    gate.open();
    for client in clients {
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
    stopping.await.expect("the drain ends");
}

/// Closing an idle connection at once would lose a request that is already on its way.
#[tokio::test]
async fn an_idle_connection_gets_one_more_response_in_a_drain_and_closes() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut idle = proxy.raw_connection().await;
    idle.send(get("/v1/calls/c1")).await;
    idle.read_until("}").await;
    proxy
        .wait_for_metric("stuut_cache_connections_idle", 1)
        .await;
    let gate = origin.hold("/v1/calls/c2");
    let mut waiting = proxy.raw_connection().await;
    waiting.send(get("/v1/calls/c2")).await;
    origin.wait_for_requests(2).await;

    let stopping = start_drain(proxy).await;
    idle.send(get("/v1/calls/c1")).await;
    let answer = idle.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    gate.open();
    let answer = waiting.read_to_end().await;
    assert!(answer.contains("connection: close"), "{answer}");
    stopping.await.expect("the drain ends");
}

/// The protocol is known from the first bytes, which may arrive after the drain began; without
/// GOAWAY, `server.drain_timeout` would cut off the requests of the client.
#[tokio::test]
async fn a_connection_that_starts_http2_during_a_drain_gets_goaway() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.drain_timeout = Duration::from_secs(5);
    })
    .await;
    let mut client = proxy.raw_connection().await;
    proxy
        .wait_for_metric("stuut_cache_connections_idle", 1)
        .await;
    let gate = origin.hold("/v1/slow");
    let stopping = start_drain(proxy).await;
    let request = h2::get("/v1/slow", &[]);
    client.send([h2::preface(), request].concat()).await;
    while let frame = client.read_frame().await.expect("a GOAWAY frame")
        && frame.kind != GOAWAY
    {}
    origin.wait_for_requests(1).await;
    gate.open();
    while let frame = client.read_frame().await.expect("a response")
        && (frame.kind, frame.stream) != (HEADERS, 1)
    {}
    drop(client);
    stopping.await.expect("the drain ends");
}

/// The raw response of the admin listener.
async fn admin(address: std::net::SocketAddr, target: &str) -> String {
    let socket = TcpStream::connect(address)
        .await
        .expect("the listener accepts");
    let mut client = RawConnection::new(socket);
    client
        .send(format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ))
        .await;
    client.read_to_end().await
}

#[tokio::test]
async fn a_drain_completes_requests_in_flight_and_accepts_no_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let (address, admin_address) = (proxy.address, proxy.admin);
    let body = "x".repeat(100_000);
    let mut in_flight = Vec::new();
    let mut gates = Vec::new();
    for target in [CALL, "/v1/other"] {
        origin.reply(target, Reply::json(&body));
        gates.push(origin.hold(target));
        let mut client = proxy.raw_connection().await;
        client.send(get(target)).await;
        in_flight.push(client);
    }
    let mut idle = proxy.raw_connection().await;
    idle.send(get("/v1/idle")).await;
    idle.read_until("}").await;
    origin.wait_for_requests(3).await;
    assert!(
        admin(admin_address, "/readyz")
            .await
            .starts_with("HTTP/1.1 200")
    );

    let stopping = tokio::spawn(proxy.stop());
    assert_eq!(idle.read_to_end().await, "");
    while TcpStream::connect(address).await.is_ok() {}
    let ready = admin(admin_address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let live = admin(admin_address, "/livez").await;
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    assert!(!stopping.is_finished());

    for gate in gates {
        gate.open_for_all();
    }
    for client in in_flight {
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with(&body), "{answer}");
    }
    stopping.await.expect("the drain ends");
}

#[tokio::test]
async fn drain_timeout_closes_connections_that_have_not_finished() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.drain_timeout = Duration::from_millis(100);
    })
    .await;
    let _gate = origin.hold("/v1/stuck");
    let mut stuck = proxy.raw_connection().await;
    stuck.send(get("/v1/stuck")).await;
    let mut dripping = proxy.raw_connection().await;
    dripping.send("GET / HTTP/1.1\r\nho").await;
    origin.wait_for_requests(1).await;

    proxy.stop().await;
    assert_eq!(stuck.read_to_end().await, "");
    assert_eq!(dripping.read_to_end().await, "");
}
