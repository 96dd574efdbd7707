//! Malicious and broken clients: the cost of each is bounded and counted, and its resources are
//! released.

mod descriptors;
mod evicted;
mod http2;
mod leaving;
mod memory;
mod reading;
mod sending;

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::support::{Origin, Program, RawConnection, Reply};

const CALL: &str = "/v1/calls/c1";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
}

/// A program with a store of 16 MiB and as much in transit. The origin's responses can be stored.
async fn small_program(origin: &Origin) -> Program {
    origin.default_reply(Reply::echo().header("cache-control", "max-age=600"));
    let variables = [
        ("LOG__ACCESS", "false"),
        ("CACHE__CAPACITY", "16MiB"),
        ("LIMITS__IN_TRANSIT", "16MiB"),
    ];
    Program::start(origin, &variables).await
}

/// A connection with a small receive buffer.
async fn connect_narrow(address: SocketAddr) -> RawConnection {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(4 << 10)
        .expect("the option is supported");
    let socket = socket.connect(address).await;
    RawConnection::new(socket.expect("the listener accepts"))
}

/// Stores a target over a connection of its own: a client with a pool would leave idle connections.
async fn fill(program: &Program, target: &str) {
    let mut client = program.raw_connection().await;
    client.send(get(target)).await;
    let head = client.read_head().await;
    assert!(head.contains("; stored"), "{head}");
}

/// The metric of connections closed for this reason.
fn closed_by(reason: &str) -> String {
    format!("stuut_cache_connections_closed_total{{reason=\"{reason}\"}}")
}
