//! The end: who is still answered.

use http::Method;
use tokio::task::JoinHandle;

use crate::support::h2::{self, GOAWAY, HEADERS};
use crate::support::{Clients, Origin, Proxy, until};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
}

/// Begins the drain of this proxy; its end can be waited for.
async fn draining(proxy: Proxy) -> JoinHandle<()> {
    let (clients, admin) = (Clients::new(), proxy.admin);
    let stopping = tokio::spawn(proxy.stop());
    until("a drain", async || {
        let ready = clients.request(admin, Method::GET, "/readyz").await;
        ready.status() == 503
    })
    .await;
    stopping
}

/// The system had taken their connections; closing the listener reset them.
#[tokio::test]
async fn connections_that_wait_to_be_accepted_are_reset_by_a_drain() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.server.max_connections = 1).await;
    let gate = origin.hold("/v1/first");
    let mut clients = Vec::new();
    for target in ["/v1/first", "/v1/calls/c1", "/v1/third"] {
        let mut client = proxy.wire().await;
        client.send(get(target)).await;
        clients.push(client);
        origin.until_requests(1).await;
    }
    let address = proxy.address;
    let stopping = tokio::spawn(proxy.stop());
    while tokio::net::TcpStream::connect(address).await.is_ok() {}
    gate.open();
    for client in clients {
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
    stopping.await.expect("the drain ends");
}

/// Closed at once, a connection whose client was just asking again lost that request.
#[tokio::test]
async fn a_kept_connection_is_answered_once_more_in_a_drain_and_told_to_close() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut resting = proxy.wire().await;
    resting.send(get("/v1/calls/c1")).await;
    resting.until("}").await;
    proxy
        .until_metric("stuut_cache_connections_resting", 1)
        .await;
    let gate = origin.hold("/v1/calls/c2");
    let mut waiting = proxy.wire().await;
    waiting.send(get("/v1/calls/c2")).await;
    origin.until_requests(2).await;

    let stopping = draining(proxy).await;
    resting.send(get("/v1/calls/c1")).await;
    let answer = resting.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    gate.open();
    let answer = waiting.rest().await;
    assert!(answer.contains("connection: close"), "{answer}");
    stopping.await.expect("the drain ends");
}

/// What it is speaking is known with its first bytes, and by then the drain was old news: nobody
/// told the client to go, and its requests were broken off with `server.drain_timeout`.
#[tokio::test]
async fn a_connection_that_turns_to_http2_in_a_drain_is_not_told_to_go() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.drain_timeout = std::time::Duration::from_secs(5);
    })
    .await;
    let mut client = proxy.wire().await;
    proxy
        .until_metric("stuut_cache_connections_resting", 1)
        .await;
    let gate = origin.hold("/v1/slow");
    let stopping = draining(proxy).await;
    let ask = h2::get("/v1/slow", &[]);
    client.send([h2::hello(), ask].concat()).await;
    while let frame = client.frame().await.expect("it is told to go")
        && frame.kind != GOAWAY
    {}
    origin.until_requests(1).await;
    gate.open();
    while let frame = client.frame().await.expect("an answer")
        && (frame.kind, frame.stream) != (HEADERS, 1)
    {}
    drop(client);
    stopping.await.expect("the drain ends");
}
