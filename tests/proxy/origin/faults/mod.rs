//! What an origin can do wrong, one row each, as a fetch for the cache and as a request that is
//! forwarded. Whatever it does: a clear answer or an aborted connection, never a torn body as a
//! whole one; nothing torn is stored, and the next request is fine.

mod rows;

use stuut_cache::config::ByteSize;

use crate::support::Step::{self, Hold};
use crate::support::{FaultyOrigin, Proxy, Received};
use Then::{Passed, Problem, Stored, Torn};
use rows::rows;

const CALL: &str = "/v1/calls/c1?fields=id";
const OTHER: &str = "/v1/other";

/// The largest body that is stored.
const MAX_ENTRY: usize = 100_000;

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nfine";

struct Row {
    fault: &'static str,
    acts: Vec<Step>,
    /// What comes of a fetch for the cache, and of a request that is forwarded.
    fetched: Then,
    forwarded: Then,
}

#[derive(Clone, Debug)]
enum Then {
    /// A problem document with this status and of this type.
    Problem(u16, &'static str),
    /// The connection breaks off.
    Torn,
    /// All of it, and it is not stored.
    Passed(Vec<u8>),
    /// All of it, and it is stored.
    Stored(Vec<u8>),
}

fn send(bytes: impl AsRef<[u8]>) -> Step {
    Step::Send(bytes.as_ref().to_vec())
}

async fn get(proxy: &Proxy, target: &str) -> Received {
    let asked = format!(
        "GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nconnection: close\r\n\r\n"
    );
    Received::of(&proxy.raw_bytes(asked).await)
}

#[track_caller]
fn assert_got(what: &str, got: &Received, then: &Then) {
    match (then, got) {
        (Torn, Received::Truncated) => {}
        (Problem(status, slug), Received::Complete(head, body)) => {
            let body = String::from_utf8_lossy(body);
            let kind = format!("urn:stuut-cache:{slug}");
            let is_it = head.starts_with(&format!("http/1.1 {status} ")) && body.contains(&kind);
            assert!(is_it, "{what}: expected {then:?}: {head}\n{body}");
        }
        (Passed(expected) | Stored(expected), Received::Complete(head, body)) => {
            assert!(
                !head.contains("problem+json"),
                "{what}: {head}\n{}",
                String::from_utf8_lossy(body)
            );
            assert!(
                body == expected,
                "{what}: {} bytes for {}",
                body.len(),
                expected.len()
            );
        }
        _ => panic!("{what}: expected {then:?}: {got:?}"),
    }
}

async fn suffer(row: &Row, target: &str, then: &Then) {
    let what = format!("{}, {target}", row.fault);
    let origin = FaultyOrigin::start(&row.acts).await;
    let proxy = Proxy::in_front_of(&format!("http://{}", origin.address), |config| {
        config.cache.max_entry = ByteSize(MAX_ENTRY as u64);
    })
    .await;
    origin.use_clock(&proxy.clock);
    let got = get(&proxy, target).await;
    assert_got(&what, &got, then);
    let stored = usize::from(matches!(then, Stored(_)));
    let entries = proxy.metric("stuut_cache_entries").await;
    assert_eq!(entries.to_string(), stored.to_string(), "{what}: stored");
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;

    origin.set_script(&[send(FINE), Hold]);
    for next in ["/v1/calls/next", "/v1/next", target] {
        let fine = match then {
            Stored(body) if next == target => Stored(body.clone()),
            _ => Passed(b"fine".to_vec()),
        };
        assert_got(
            &format!("{what}, then {next}"),
            &get(&proxy, next).await,
            &fine,
        );
    }
}

#[tokio::test]
async fn whatever_the_origin_does_to_a_fetch() {
    let rows = rows();
    assert!(rows.len() >= 50, "{} faults", rows.len());
    for row in &rows {
        suffer(row, CALL, &row.fetched).await;
    }
}

#[tokio::test]
async fn whatever_the_origin_does_to_what_is_forwarded() {
    for row in &rows() {
        suffer(row, OTHER, &row.forwarded).await;
    }
}
