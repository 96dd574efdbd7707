//! Faults of an origin, one per row, for a fetch and for a forwarded request. The client gets a
//! clear error or an aborted connection, never a truncated body that looks complete; nothing
//! truncated is stored, and the next request succeeds.

mod rows;

use stuut_cache::config::ByteSize;

use crate::support::Step::{self, Hold};
use crate::support::{FaultyOrigin, Proxy, Received};
use Expected::{Forwarded, Problem, Stored, Truncated};
use rows::rows;

const CALL: &str = "/v1/calls/c1?fields=id";
const OTHER: &str = "/v1/other";

/// The largest body that is stored.
const MAX_ENTRY: usize = 100_000;

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nfine";

struct Row {
    fault: &'static str,
    script: Vec<Step>,
    /// The result of a fetch, and of a forwarded request.
    fetched: Expected,
    forwarded: Expected,
}

#[derive(Clone, Debug)]
enum Expected {
    /// A problem document with this status and of this type.
    Problem(u16, &'static str),
    /// The connection is aborted.
    Truncated,
    /// The complete body, which is not stored.
    Forwarded(Vec<u8>),
    /// The complete body, which is stored.
    Stored(Vec<u8>),
}

fn send(bytes: impl AsRef<[u8]>) -> Step {
    Step::Send(bytes.as_ref().to_vec())
}

async fn get(proxy: &Proxy, target: &str) -> Received {
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nconnection: close\r\n\r\n"
    );
    Received::of(&proxy.raw_bytes(request).await)
}

#[track_caller]
fn assert_received(what: &str, received: &Received, expected: &Expected) {
    match (expected, received) {
        (Truncated, Received::Truncated) => {}
        (Problem(status, slug), Received::Complete(head, body)) => {
            let body = String::from_utf8_lossy(body);
            let is_problem = head.starts_with(&format!("http/1.1 {status} "))
                && head.contains(&format!(
                    "proxy-status: stuut-cache; error={slug}; details="
                ))
                && body.contains(&format!("urn:stuut-cache:{slug}"));
            assert!(is_problem, "{what}: expected {expected:?}: {head}\n{body}");
        }
        (Forwarded(content) | Stored(content), Received::Complete(head, body)) => {
            assert!(
                !head.contains("problem+json"),
                "{what}: {head}\n{}",
                String::from_utf8_lossy(body)
            );
            assert!(
                body == content,
                "{what}: {} bytes instead of {}",
                body.len(),
                content.len()
            );
        }
        _ => panic!("{what}: expected {expected:?}: {received:?}"),
    }
}

async fn check(row: &Row, target: &str, expected: &Expected) {
    let what = format!("{}, {target}", row.fault);
    let origin = FaultyOrigin::start(&row.script).await;
    let proxy = Proxy::in_front_of(&format!("http://{}", origin.address), |config| {
        config.cache.max_entry = ByteSize(MAX_ENTRY as u64);
    })
    .await;
    origin.use_clock(&proxy.clock);
    let received = get(&proxy, target).await;
    assert_received(&what, &received, expected);
    let stored = usize::from(matches!(expected, Stored(_)));
    let entries = proxy.metric("stuut_cache_entries").await;
    assert_eq!(
        entries.to_string(),
        stored.to_string(),
        "{what}: stored entries"
    );
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;

    origin.set_script(&[send(FINE), Hold]);
    for next in ["/v1/calls/next", "/v1/next", target] {
        let fine = match expected {
            Stored(body) if next == target => Stored(body.clone()),
            _ => Forwarded(b"fine".to_vec()),
        };
        assert_received(
            &format!("{what}, then {next}"),
            &get(&proxy, next).await,
            &fine,
        );
    }
}

#[tokio::test]
async fn every_fault_of_the_origin_on_a_fetch() {
    let rows = rows();
    assert!(rows.len() >= 50, "{} faults", rows.len());
    for row in &rows {
        check(row, CALL, &row.fetched).await;
    }
}

#[tokio::test]
async fn every_fault_of_the_origin_on_a_forwarded_request() {
    for row in &rows() {
        check(row, OTHER, &row.forwarded).await;
    }
}
