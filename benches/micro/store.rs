//! The store: lookups, and verdicts on stored responses.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use http::{HeaderMap, HeaderValue, StatusCode};
use stuut_cache::cache::{Entry, Fence, Representation, Store, StoreLookup};
use stuut_cache::clock::Clock;
use stuut_cache::config::Config;
use stuut_cache::in_transit::{Ledger, StoredBody};
use stuut_cache::policy::{
    self, Exchange, Facts, Freshness, Moment, RequestDirectives, RouteRule, Selecting, ViewLimits,
};
use stuut_cache::request::{CacheKey, Parser, Routes};
use stuut_cache::telemetry::Metrics;

use crate::request;

static LEDGER: LazyLock<Arc<Ledger>> = LazyLock::new(Ledger::unbounded);

/// Number of stored responses: their index does not fit into a CPU cache.
const STORED: usize = 20_000;

/// Lookups of one of many stored responses, and of none.
pub(crate) fn finding(c: &mut Criterion) {
    let (config, now) = (Config::default(), Clock::system().now());
    let metrics = Metrics::new(&Routes::new(&config.cache.routes));
    let store = Store::new(&config, Arc::new(metrics));
    let parser = request::parser();
    let keys: Vec<_> = (0..STORED).map(|n| key(&parser, n)).collect();
    for key in &keys {
        let fence = store.fence(key, key.scope(), now.mono);
        let whole = representation(response(), ViewLimits::default());
        let entry = Arc::new(entry_of(whole, key, &fence, now));
        store
            .put(key, &HeaderMap::new(), &entry, &fence)
            .expect("nothing invalidates it meanwhile");
    }
    let absent = key(&parser, STORED);
    let token = keys[0].scope();
    let find = |key| store.find(key, token, now.mono, None, HeaderMap::new);
    assert!(matches!(find(&keys[0]), StoreLookup::Entry(_)));
    assert!(matches!(find(&absent), StoreLookup::Nothing));

    let mut group = c.benchmark_group("store");
    group.bench_function("find one", |b| {
        b.iter(|| find(black_box(&keys[0])));
    });
    let mut at = 0;
    group.bench_function("find one of 20,000", |b| {
        b.iter(|| {
            at = (at + 7_919) % STORED;
            find(black_box(&keys[at]))
        });
    });
    group.bench_function("find nothing", |b| {
        b.iter(|| find(black_box(&absent)));
    });
    group.finish();
}

/// The verdict on a stored response: fresh, capped by a view, stale.
pub(crate) fn judging(c: &mut Criterion) {
    let (config, clock) = (Config::default(), Clock::system());
    let received = clock.now();
    let fresh = freshness(&config, received);
    let nothing = RequestDirectives::read(&HeaderMap::new(), config.freshness.client_directives);
    let capped = ViewLimits {
        live: Some(Duration::from_mins(1)),
        signed_until: Some(received.wall + Duration::from_hours(1)),
    };
    let later = |seconds| Moment {
        mono: received.mono + Duration::from_secs(seconds),
        wall: received.wall + Duration::from_secs(seconds),
    };
    let mut group = c.benchmark_group("verdict");
    for (name, limits, now) in [
        ("fresh", ViewLimits::default(), later(10)),
        ("fresh, with caps", capped, later(10)),
        ("stale", ViewLimits::default(), later(7_200)),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| policy::verdict(black_box(&fresh), limits, &nothing, black_box(now)));
        });
    }
    group.bench_function("directives of the request", |b| {
        let head = request::head("/v1/calls/call_1");
        b.iter(|| {
            RequestDirectives::read(black_box(&head.headers), config.freshness.client_directives)
        });
    });
    group.finish();
}

pub(crate) fn key(parser: &Parser, number: usize) -> CacheKey {
    let head = request::head(&format!("/v1/calls/call_{number:016x}"));
    request::call(parser, &head).key
}

pub(crate) fn representation(headers: HeaderMap, limits: ViewLimits) -> Representation {
    let body = StoredBody::new(Bytes::from_static(b"{}"), &LEDGER);
    Representation::new(StatusCode::OK, headers, body, limits)
}

pub(crate) fn entry_of(whole: Representation, key: &CacheKey, fence: &Fence, now: Moment) -> Entry {
    Entry::new(
        whole,
        freshness(&Config::default(), now),
        Selecting::default(),
        *key.scope(),
        fence,
        false,
    )
}

pub(crate) fn response() -> HeaderMap {
    let fields = [
        ("content-type", "application/json"),
        ("cache-control", "max-age=3600"),
        ("etag", "\"1\""),
    ];
    fields
        .into_iter()
        .map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect()
}

fn freshness(config: &Config, received: Moment) -> Freshness {
    let response = response();
    let exchange = Exchange::new(StatusCode::OK, &response, received, received);
    policy::assess(
        &exchange,
        &Facts::default(),
        &config.freshness,
        RouteRule::default(),
    )
}
