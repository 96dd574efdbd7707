//! Invalidated responses are never read again, in any order of events.
//!
//! The origin's call has a version that only grows. A read that begins after a write or a purge
//! has completed must not return a version from before it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use stuut_cache::cache::{
    Entry, Fence, InFlight, Invalidation, Leader, Representation, Role, Store, StoreLookup,
    Superseded, Waiter,
};
use stuut_cache::config::Config;
use stuut_cache::in_transit::{Ledger, StoredBody};
use stuut_cache::policy::{Freshness, Lifetime, Moment, Rule, Selecting, StaleUse, ViewLimits};
use stuut_cache::request::{CacheKey, Routes, Scope, ScopeKey};
use stuut_cache::telemetry::Metrics;

use crate::isolation::named_scopes::shared;
use crate::support::{Gate, Origin, Pending, Proxy, Reply};

/// A small random number generator (xorshift64): a failing seed can be repeated.
struct SeededRng(Cell<u64>);

impl SeededRng {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    fn below(&self, bound: usize) -> usize {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        usize::try_from((x >> 16) % bound as u64).expect("below a usize")
    }
}

/// The store and the in-flight fetches, as the proxy uses them; the origin is a version number.
struct World {
    store: Store,
    ledger: Arc<Ledger>,
    in_flight: Arc<InFlight<u64>>,
    scope: Scope,
    key: CacheKey,
    request_fields: HeaderMap,
    /// The version that the origin would return now.
    version: AtomicU64,
    /// No read that begins now may return less.
    floor: AtomicU64,
}

/// A fetch in flight.
struct Fetch {
    leader: Leader<u64>,
    fence: Fence,
    /// The version that the origin has returned, once it has.
    response: Option<u64>,
}

impl World {
    fn new() -> Self {
        let config = Config::default();
        let metrics = Arc::new(Metrics::new(&Routes::new(&config.cache.routes)));
        let scope = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
        Self {
            store: Store::new(&config, metrics),
            ledger: Ledger::unbounded(),
            in_flight: Arc::default(),
            scope,
            key: CacheKey::new(scope, "/v1/calls/c0".parse().expect("a target")),
            request_fields: HeaderMap::new(),
            version: AtomicU64::new(0),
            floor: AtomicU64::new(0),
        }
    }

    /// Continues with another call, of which nothing is stored yet.
    fn switch_to_call(&mut self, number: u64) {
        let target = format!("/v1/calls/c{number}").parse();
        self.key = CacheKey::new(self.scope, target.expect("a target"));
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    fn change(&self) -> u64 {
        self.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn floor(&self) -> u64 {
        self.floor.load(Ordering::SeqCst)
    }

    /// Records a completed invalidation of `version` and all before it.
    fn raise_floor(&self, version: u64) {
        self.floor.fetch_max(version, Ordering::SeqCst);
    }

    fn stored(&self) -> Option<u64> {
        match self
            .store
            .find(&self.key, &self.scope, Duration::ZERO, None, || {
                self.request_fields.clone()
            }) {
            StoreLookup::Entry(entry) => Some(number(&entry.whole.body)),
            StoreLookup::OtherVariant | StoreLookup::NotAdmitted(_) => {
                panic!("there is one variant")
            }
            StoreLookup::Nothing => None,
        }
    }

    fn store(&self, fence: &Fence, version: u64) {
        let body = StoredBody::new(Bytes::from(version.to_string()), &self.ledger);
        let (status, limits) = (StatusCode::OK, ViewLimits::default());
        let whole = Representation::new(status, HeaderMap::new(), body, limits);
        let entry = Entry::new(
            whole,
            freshness(),
            Selecting::default(),
            self.scope,
            fence,
            false,
        );
        // It may be fenced or stored.
        let entry = Arc::new(entry);
        let _ = self
            .store
            .put(&self.key, &self.request_fields, &entry, fence);
    }

    fn invalidate(&self, kind: usize) {
        let invalidation = match kind {
            0 => Invalidation::of_paths(std::iter::once(self.key.path())),
            1 => Invalidation::ScopeId(self.scope.id()),
            _ => Invalidation::All,
        };
        self.store.invalidate(&invalidation, Duration::ZERO);
    }
}

fn number(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).expect("digits");
    text.parse().expect("a number")
}

/// Always fresh: this module does not test freshness.
fn freshness() -> Freshness {
    Freshness {
        received: Moment {
            mono: Duration::ZERO,
            wall: SystemTime::UNIX_EPOCH,
        },
        body_sent: SystemTime::UNIX_EPOCH,
        initial_age: Duration::ZERO,
        lifetime: Lifetime {
            length: Duration::MAX,
            rule: Rule::MaxAge,
        },
        stale_use: StaleUse::Forbidden,
        hard_limit: Duration::MAX,
        status: None,
        is_unknown: false,
    }
}

#[test]
fn ten_thousand_random_orders_restore_nothing_invalidated() {
    let mut world = World::new();
    let mut hits = 0;
    for seed in 1..=10_000 {
        world.switch_to_call(seed);
        hits += interleave(&world, &SeededRng::new(seed), seed);
    }
    assert!(hits > 10_000, "some reads are hits: {hits}");
}

/// Runs 30 steps in random order; returns the number of reads that were hits.
fn interleave(world: &World, rng: &SeededRng, seed: u64) -> usize {
    let mut fetches: Vec<Fetch> = Vec::new();
    let mut waiting: Vec<(Waiter<u64>, u64)> = Vec::new();
    let mut writes: Vec<u64> = Vec::new();
    let mut hits = 0;
    for step in 0..30 {
        match rng.below(12) {
            0..=3 => {
                let floor = world.floor();
                if let Some(version) = world.stored() {
                    assert!(
                        version >= floor,
                        "seed {seed}, step {step}: {version} < {floor}"
                    );
                    hits += 1;
                    continue;
                }
                let fence = world.store.fence(&world.key, &world.scope, Duration::ZERO);
                let role =
                    world
                        .in_flight
                        .join_or_lead(&world.key, fence.generation(), Duration::ZERO);
                match role {
                    Role::Leader(leader) => fetches.push(Fetch {
                        leader,
                        fence,
                        response: None,
                    }),
                    Role::Waiter(waiter) => waiting.push((waiter, floor)),
                    Role::Alone(_) => unreachable!("every result is shareable"),
                }
            }
            // The origin responds to one of the fetches.
            4 | 5 if !fetches.is_empty() => {
                let fetch = rng.below(fetches.len());
                fetches[fetch].response.get_or_insert(world.version());
            }
            // One completes, or is dropped without a response.
            6 | 7 if !fetches.is_empty() => {
                let fetch = fetches.swap_remove(rng.below(fetches.len()));
                let Some(version) = fetch.response else {
                    continue;
                };
                if rng.below(8) == 0 {
                    // It is uncacheable, and supersedes the stored response.
                    world.store.supersede(
                        &world.key,
                        &fetch.fence,
                        Superseded::Selected(&world.request_fields),
                    );
                } else {
                    world.store(&fetch.fence, version);
                }
                fetch.leader.complete(Some(version), Duration::ZERO);
            }
            // A write reaches the origin, and later completes.
            8 => writes.push(world.change()),
            9 if !writes.is_empty() => {
                let version = writes.swap_remove(rng.below(writes.len()));
                world.invalidate(0);
                world.raise_floor(version);
            }
            // The call changes by itself.
            10 => {
                world.change();
            }
            11 => {
                let version = world.version();
                world.invalidate(rng.below(3));
                world.raise_floor(version);
            }
            _ => {}
        }
    }
    for fetch in fetches {
        let version = fetch.response.unwrap_or_else(|| world.version());
        world.store(&fetch.fence, version);
        fetch.leader.complete(Some(version), Duration::ZERO);
    }
    for (waiter, floor) in waiting {
        let result = waiter.result().now_or_never();
        let result = result.expect("all fetches have completed");
        // `None`: the fetch was dropped, and the waiter fetches itself.
        assert!(
            result.is_none_or(|version| version >= floor),
            "seed {seed}: {result:?} < {floor}"
        );
    }
    let last = world.stored();
    assert!(
        last.is_none_or(|version| version >= world.floor()),
        "seed {seed}: {last:?} at the end"
    );
    hits
}

#[test]
fn concurrent_threads_restore_nothing_invalidated() {
    const ROUNDS: usize = 30_000;
    let world = World::new();
    let done = AtomicBool::new(false);
    let violations = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for seed in 1..=2 {
            let (world, done) = (&world, &done);
            threads.spawn(move || {
                let rng = SeededRng::new(seed);
                while !done.load(Ordering::Relaxed) {
                    let fence = world.store.fence(&world.key, &world.scope, Duration::ZERO);
                    let version = world.version();
                    if rng.below(2) == 0 {
                        std::thread::yield_now();
                    }
                    world.store(&fence, version);
                }
            });
        }
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let floor = world.floor();
                if let Some(version) = world.stored().filter(|version| *version < floor) {
                    violations.lock().expect("no poison").push((version, floor));
                }
            }
        });
        let rng = SeededRng::new(3);
        for _ in 0..ROUNDS {
            let version = world.change();
            world.invalidate(rng.below(3));
            world.raise_floor(version);
            if rng.below(4) == 0 {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(*violations.lock().expect("no poison"), []);
}

/// The same over sockets, with validation, stale use, views and coalescing.
#[tokio::test]
async fn random_orders_over_sockets_restore_nothing_invalidated() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply("/v1/me", Reply::new(401));
    let mut hits = 0;
    for seed in 1..=300 {
        hits += over_sockets(&origin, &proxy, &["a"], &SeededRng::new(seed), seed).await;
    }
    assert!(hits > 100, "some reads are hits: {hits}");
}

#[tokio::test]
async fn random_orders_in_a_shared_scope_restore_nothing_invalidated() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, shared).await;
    origin.reply("/v1/me", Reply::new(401));
    let mut hits = 0;
    for seed in 1..=300 {
        hits += over_sockets(
            &origin,
            &proxy,
            &["a", "b", "c"],
            &SeededRng::new(seed),
            seed,
        )
        .await;
    }
    assert!(hits > 100, "some reads are hits: {hits}");
}

/// The readers are one token, or several that share a scope. Of several, a refusal concerns only
/// one, and does not invalidate the call.
async fn over_sockets(
    origin: &Origin,
    proxy: &Proxy,
    readers: &[&str],
    rng: &SeededRng,
    seed: u64,
) -> usize {
    let call = format!("/v1/calls/c{seed}");
    let set_reply = |version: u64| {
        let rule = "max-age=10, stale-while-revalidate=10, stale-if-error=60";
        let reply = match rng.below(12) {
            0 => Reply::new(503),
            1 => return origin.reply(&call, Reply::reset()),
            _ => Reply::json(&format!("{{\"version\":{version},\"b\":1}}")),
        };
        let rule = if rng.below(8) == 0 { "no-store" } else { rule };
        let reply = reply.header("cache-control", rule);
        origin.reply(&call, reply.validating(&format!("\"{version}\"")));
    };
    let (mut version, mut floor) = (1, 0);
    let mut reads: Vec<(Pending, u64)> = Vec::new();
    let mut gate: Option<Gate> = None;
    let mut hits = 0;
    set_reply(version);
    for _ in 0..20 {
        match rng.below(12) {
            0..=4 => {
                let query = ["", "?strip=b"][rng.below(2)];
                let reader = readers[rng.below(readers.len())];
                let read = proxy.get(&format!("{call}{query}")).bearer(reader);
                reads.push((read.start(), floor));
            }
            5 => {
                version += 1;
                set_reply(version);
            }
            6 => {
                version += 1;
                set_reply(version);
                let approve = format!("{call}/approve");
                proxy
                    .request(Method::POST, &approve)
                    .bearer("w")
                    .await
                    .assert_status(200);
                floor = version;
            }
            7 => {
                let id = format!("c{seed}");
                let selectors = [
                    format!("call={id}"),
                    format!("path={call}"),
                    "all".to_owned(),
                ];
                let target = format!("/purge?{}", selectors[rng.below(3)]);
                proxy.admin(Method::POST, &target).await.assert_status(200);
                floor = version;
            }
            8 => {
                proxy.get("/v1/me").bearer("a").await.assert_status(401);
                if readers.len() == 1 {
                    floor = version;
                }
            }
            9 => {
                if let Some(open) = gate.replace(origin.hold(&call)) {
                    // The replies held so far are released now, the next ones later.
                    open.open_for_all();
                }
            }
            10 => proxy.advance_seconds(6),
            _ => {
                if let Some(open) = gate.take() {
                    open.open_for_all();
                }
                origin.hold(&call).open_for_all();
                for (read, floor) in reads.drain(..) {
                    hits += check(read, floor, seed).await;
                }
            }
        }
    }
    if let Some(open) = gate {
        open.open_for_all();
    }
    for (read, floor) in reads {
        hits += check(read, floor, seed).await;
    }
    hits
}

/// Asserts that a successful read returns no less than its floor; returns 1 for a hit.
async fn check(read: Pending, floor: u64, seed: u64) -> usize {
    let response = read.await;
    if response.status() != 200 {
        return 0;
    }
    let version = response.json()["version"].as_u64();
    assert!(
        version >= Some(floor),
        "seed {seed}: {version:?} < {floor}: {response}"
    );
    usize::from(response.cache_status().contains("hit"))
}
