//! Clients that mean harm, or are merely broken: what each costs is bounded and counted, and what
//! it took comes back.

mod descriptors;
mod http2;
mod leaving;
mod reading;
mod sending;

use crate::support::Program;

const CALL: &str = "/v1/calls/c1";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
}

/// Has a target stored, over a connection that does not stay: a client with a pool may have any
/// number of them.
async fn fill(program: &Program, target: &str) {
    let mut client = program.raw_connection().await;
    client.send(get(target)).await;
    let head = client.read_head().await;
    assert!(head.contains("; stored"), "{head}");
}

/// Connections that ended by this bound.
fn closed_by(bound: &str) -> String {
    format!("stuut_cache_connections_closed_total{{reason=\"{bound}\"}}")
}
