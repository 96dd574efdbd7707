//! The end: who is still answered.

use crate::support::{Origin, Proxy};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
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
