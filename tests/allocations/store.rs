//! The store never exceeds its capacity, not even while it is filled: with many large bodies, with bodies
//! smaller than their keys, and with deep paths. Every allocated byte is counted.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use stuut_cache::cache::{Entry, Fence, Representation, Store};
use stuut_cache::clock::Clock;
use stuut_cache::config::{ByteSize, Config, Route, RoutePattern};
use stuut_cache::in_transit::{Ledger, StoredBody};
use stuut_cache::policy::{self, Exchange, Facts, RouteRule, Selecting, ViewLimits};
use stuut_cache::request::{CacheKey, Routes, Scope, ScopeKey};
use stuut_cache::telemetry::Metrics;

const CAPACITY: u64 = 64 << 20;

/// Allowed allocations: the capacity, the excess that is stored before an eviction, and the part of
/// an entry's memory that its weight does not include.
const ALLOWED: u64 = CAPACITY + CAPACITY / 64 + CAPACITY / 50;

/// Set in a process that runs this test alone: moka frees memory by epochs on any of its threads, so
/// other tests in the process would delay it.
const ALONE: &str = "STUUT_CACHE_TEST_ALONE";

/// One kind of load.
struct Load {
    name: &'static str,
    responses: usize,
    /// Bytes of each body.
    body: usize,
    /// Bytes of each query, which is part of the key.
    query: usize,
    /// Segments of each path after its number.
    depth: usize,
}

#[test]
fn the_store_stays_within_its_capacity_while_it_is_filled() {
    if std::env::var_os(ALONE).is_none() {
        let this = std::env::current_exe().expect("a test binary has a path");
        let name = "store::the_store_stays_within_its_capacity_while_it_is_filled";
        let status = Command::new(this)
            .args([name, "--exact", "--nocapture"])
            .env(ALONE, "1")
            .status();
        assert!(status.expect("the test binary runs").success());
        return;
    }
    let loads = [
        Load {
            name: "20,000 bodies of 40 KB",
            responses: 20_000,
            body: 40_000,
            query: 0,
            depth: 0,
        },
        Load {
            name: "empty bodies with keys of 1 KB",
            // 200,000 of them take half a minute in a debug build.
            responses: if cfg!(debug_assertions) {
                50_000
            } else {
                200_000
            },
            body: 0,
            query: 1_000,
            depth: 0,
        },
        Load {
            name: "500 bodies of the maximum size",
            responses: 500,
            body: 8 << 20,
            query: 0,
            depth: 0,
        },
        Load {
            name: "empty bodies of paths with ten segments",
            responses: 60_000,
            body: 0,
            query: 0,
            depth: 8,
        },
    ];
    // The metrics take memory too, bounded by themselves: with this load they reach their maximum.
    let metrics = Metrics::new(&Routes::new(&Config::default().cache.routes));
    let metrics = Arc::new(metrics);
    let first = Load {
        responses: 8_000,
        ..loads[0]
    };
    fill(&first, &metrics);
    for load in loads {
        let most = allocation_counter::measure(|| fill(&load, &metrics)).bytes_max;
        // Plus the one that is being stored, and a few that moka has not freed yet.
        let allowed = ALLOWED + 4 * load.body as u64;
        eprintln!("{}: {:.1} MiB at most", load.name, mib(most));
        assert!(
            most <= allowed,
            "{}: {:.1} MiB, but {:.1} are allowed",
            load.name,
            mib(most),
            mib(allowed)
        );
    }
}

fn fill(load: &Load, metrics: &Arc<Metrics>) {
    let mut config = Config::default();
    config.cache.capacity = ByteSize(CAPACITY);
    if load.depth > 0 {
        config.cache.routes = vec![Route {
            path: RoutePattern::parse("/v1/{*rest}").expect("a pattern"),
            ttl: None,
        }];
    }
    let store = Store::new(&config, Arc::clone(metrics));
    let scope = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
    let now = Clock::system().now();
    let ledger = Ledger::unbounded();
    let pad = "x".repeat(load.query);
    for number in 0..load.responses {
        let query = format!("{pad}{number}");
        let path = format!("/v1/calls/{number}{}", "/x".repeat(load.depth));
        let target = if load.query > 0 {
            format!("{path}?{query}")
        } else {
            path
        };
        let key = CacheKey::new(scope, target.parse().expect("a target"));
        let fence = store.fence(&key, &scope, now.mono);
        let entry = Arc::new(entry(&config, &ledger, &fence, scope, load.body));
        store
            .put(&key, &HeaderMap::new(), &entry, &fence)
            .expect("nothing invalidates it meanwhile");
    }
    store.update_gauges();
    // It is full: it has evicted the excess, and no more.
    let weight = metrics.weight.get();
    assert!(
        (48 << 20..=64 << 20).contains(&weight),
        "{}: it weighs {weight}",
        load.name
    );
}

fn entry(config: &Config, ledger: &Arc<Ledger>, fence: &Fence, scope: Scope, body: usize) -> Entry {
    let now = Clock::system().now();
    let headers = HeaderMap::from_iter([
        (
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (
            http::header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=600"),
        ),
    ]);
    let exchange = Exchange::new(StatusCode::OK, &headers, now, now);
    let freshness = policy::assess(
        &exchange,
        &Facts::default(),
        &config.freshness,
        RouteRule::default(),
    );
    let body = StoredBody::new(Bytes::from(vec![b'x'; body]), ledger);
    let (status, limits) = (StatusCode::OK, ViewLimits::default());
    let whole = Representation::new(status, headers.clone(), body, limits);
    Entry::new(whole, freshness, Selecting::default(), scope, fence, false)
}

#[expect(clippy::cast_precision_loss, reason = "a rounded size for a message")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
