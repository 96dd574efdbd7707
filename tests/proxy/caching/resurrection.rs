//! Nothing that was voided is ever read again, in whatever order things happen.
//!
//! The origin's call has a version that only grows. A read that begins when a write or a purge
//! has completed must not see a version from before it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use stuut_cache::cache::{
    Encodings, Entry, Fence, InFlight, Leader, Representation, Role, Store, StoreLookup,
    Superseded, Waiter,
};
use stuut_cache::config::Config;
use stuut_cache::policy::{Freshness, Lifetime, Moment, Rule, Selecting, StaleUse, ViewLimits};
use stuut_cache::request::{CacheKey, Routes, Scope, ScopeKey};
use stuut_cache::telemetry::{Invalidation, Metrics};

use crate::isolation::named_scopes::shared;
use crate::support::{Gate, Origin, Pending, Proxy, Reply};

/// A small generator (xorshift64), so that a failing seed can be run again.
struct Dice(Cell<u64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    fn below(&self, bound: usize) -> usize {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        usize::try_from((x >> 16) % bound as u64).expect("it is below a usize")
    }
}

/// The store and the fetches in flight, as the proxy uses them, and an origin that is a number.
struct World {
    store: Store,
    in_flight: Arc<InFlight<u64>>,
    scope: Scope,
    key: CacheKey,
    sent: HeaderMap,
    /// What the origin would answer now.
    version: AtomicU64,
    /// No read that begins now may see less.
    floor: AtomicU64,
}

/// A fetch in the air.
struct Fetch {
    lead: Leader<u64>,
    fence: Fence,
    /// What the origin has answered, once it has.
    seen: Option<u64>,
}

impl World {
    fn new() -> Self {
        let config = Config::default();
        let metrics = Arc::new(Metrics::new(&Routes::new(&config.cache.routes)));
        let scope = ScopeKey::random().scope(&HeaderValue::from_static("Bearer a"));
        Self {
            store: Store::new(&config, metrics),
            in_flight: Arc::default(),
            scope,
            key: CacheKey::new(scope, "/v1/calls/c0", None),
            sent: HeaderMap::new(),
            version: AtomicU64::new(0),
            floor: AtomicU64::new(0),
        }
    }

    /// Goes on with another call, about which nothing is known yet.
    fn turn_to(&mut self, number: u64) {
        self.key = CacheKey::new(self.scope, &format!("/v1/calls/c{number}"), None);
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

    /// Something that voids `version` and all before it has completed.
    fn raise_floor(&self, version: u64) {
        self.floor.fetch_max(version, Ordering::SeqCst);
    }

    fn stored(&self) -> Option<u64> {
        match self
            .store
            .find(&self.key, &self.scope, Duration::ZERO, || self.sent.clone())
        {
            StoreLookup::Entry(entry) => Some(number(&entry.whole.body)),
            StoreLookup::OtherVariant | StoreLookup::NotAdmitted(_) => {
                panic!("there is one variant")
            }
            StoreLookup::Nothing => None,
        }
    }

    fn store(&self, fence: &Fence, version: u64) {
        let whole = Representation {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(version.to_string()),
            cap: ViewLimits::default(),
            encodings: Encodings::default(),
        };
        let entry = Entry::new(
            whole,
            freshness(),
            Selecting::default(),
            self.scope,
            fence,
            false,
        );
        // Fenced or stored: both are fine.
        let entry = Arc::new(entry);
        let _ = self.store.put(&self.key, &self.sent, &entry, fence);
    }

    fn void(&self, how: usize) {
        let path = self.key.path();
        match how {
            0 => self
                .store
                .invalidate_paths([path].into_iter(), Invalidation::PurgeCall),
            1 => self
                .store
                .invalidate_scope(self.scope.id(), Invalidation::Refusal),
            _ => self.store.invalidate_all(),
        }
    }
}

fn number(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).expect("digits");
    text.parse().expect("a number")
}

/// For ever: freshness is not what is tried here.
fn freshness() -> Freshness {
    Freshness {
        received: Moment {
            mono: Duration::ZERO,
            wall: SystemTime::UNIX_EPOCH,
        },
        initial_age: Duration::ZERO,
        lifetime: Lifetime {
            length: Duration::MAX,
            rule: Rule::MaxAge,
        },
        stale_use: StaleUse::Forbidden,
        hard_limit: Duration::MAX,
    }
}

#[test]
fn ten_thousand_random_orders_bring_nothing_back() {
    let mut world = World::new();
    let mut hits = 0;
    for seed in 1..=10_000 {
        world.turn_to(seed);
        hits += interleave(&world, &Dice::new(seed), seed);
    }
    assert!(
        hits > 10_000,
        "reads are answered from the store too: {hits}"
    );
}

/// Some thirty steps in random order; answers how many reads were hits.
fn interleave(world: &World, dice: &Dice, seed: u64) -> usize {
    let mut air: Vec<Fetch> = Vec::new();
    let mut waiting: Vec<(Waiter<u64>, u64)> = Vec::new();
    let mut writes: Vec<u64> = Vec::new();
    let mut hits = 0;
    for step in 0..30 {
        match dice.below(12) {
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
                match world.in_flight.join_or_lead(&world.key, fence.generation()) {
                    Role::Leader(lead) => air.push(Fetch {
                        lead,
                        fence,
                        seen: None,
                    }),
                    Role::Waiter(place) => waiting.push((place, floor)),
                }
            }
            // The origin answers one of the fetches.
            4 | 5 if !air.is_empty() => {
                let fetch = dice.below(air.len());
                air[fetch].seen.get_or_insert(world.version());
            }
            // One lands, or is lost.
            6 | 7 if !air.is_empty() => {
                let fetch = air.swap_remove(dice.below(air.len()));
                let Some(version) = fetch.seen else { continue };
                if dice.below(8) == 0 {
                    // It may not be stored, and ends what is.
                    world.store.supersede(
                        &world.key,
                        &fetch.fence,
                        Superseded::Selected(&world.sent),
                    );
                } else {
                    world.store(&fetch.fence, version);
                }
                fetch.lead.complete(version);
            }
            // A write reaches the origin, and later completes.
            8 => writes.push(world.change()),
            9 if !writes.is_empty() => {
                let version = writes.swap_remove(dice.below(writes.len()));
                world.void(0);
                world.raise_floor(version);
            }
            // The call changes by itself.
            10 => {
                world.change();
            }
            11 => {
                let version = world.version();
                world.void(dice.below(3));
                world.raise_floor(version);
            }
            _ => {}
        }
    }
    for fetch in air {
        let version = fetch.seen.unwrap_or_else(|| world.version());
        world.store(&fetch.fence, version);
        fetch.lead.complete(version);
    }
    for (place, floor) in waiting {
        let landed = place.result().now_or_never().expect("all have landed");
        // `None`: the fetch was lost, and who waited asks again.
        assert!(
            landed.is_none_or(|version| version >= floor),
            "seed {seed}: {landed:?} < {floor}"
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
fn threads_that_fetch_write_and_read_bring_nothing_back() {
    const ROUNDS: usize = 30_000;
    let world = World::new();
    let done = AtomicBool::new(false);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for seed in 1..=2 {
            let (world, done) = (&world, &done);
            threads.spawn(move || {
                let dice = Dice::new(seed);
                while !done.load(Ordering::Relaxed) {
                    let fence = world.store.fence(&world.key, &world.scope, Duration::ZERO);
                    let version = world.version();
                    if dice.below(2) == 0 {
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
                    wrong.lock().expect("no poison").push((version, floor));
                }
            }
        });
        let dice = Dice::new(3);
        for _ in 0..ROUNDS {
            let version = world.change();
            world.void(dice.below(3));
            world.raise_floor(version);
            if dice.below(4) == 0 {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(*wrong.lock().expect("no poison"), []);
}

/// The same over sockets: with validation, stale use, views and collapsing.
#[tokio::test]
async fn hundreds_of_random_orders_over_the_running_proxy_bring_nothing_back() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply("/v1/me", Reply::new(401));
    let mut hits = 0;
    for seed in 1..=300 {
        hits += over_sockets(&origin, &proxy, &["a"], &Dice::new(seed), seed).await;
    }
    assert!(hits > 100, "reads are answered from the store too: {hits}");
}

#[tokio::test]
async fn nor_do_they_where_tokens_share_a_store() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, shared).await;
    origin.reply("/v1/me", Reply::new(401));
    let mut hits = 0;
    for seed in 1..=300 {
        hits += over_sockets(&origin, &proxy, &["a", "b", "c"], &Dice::new(seed), seed).await;
    }
    assert!(hits > 100, "reads are answered from the store too: {hits}");
}

/// Readers are one token, or several that share a store. Of several, a refusal shuts out one and
/// says nothing about the call.
async fn over_sockets(
    origin: &Origin,
    proxy: &Proxy,
    readers: &[&str],
    dice: &Dice,
    seed: u64,
) -> usize {
    let call = format!("/v1/calls/c{seed}");
    let script = |version: u64| {
        let rule = "max-age=10, stale-while-revalidate=10, stale-if-error=60";
        let reply = match dice.below(12) {
            0 => Reply::new(503),
            1 => return origin.reply(&call, Reply::reset()),
            _ => Reply::json(&format!("{{\"version\":{version},\"b\":1}}")),
        };
        let rule = if dice.below(8) == 0 { "no-store" } else { rule };
        let reply = reply.header("cache-control", rule);
        origin.reply(&call, reply.validating(&format!("\"{version}\"")));
    };
    let (mut version, mut floor) = (1, 0);
    let mut reads: Vec<(Pending, u64)> = Vec::new();
    let mut gate: Option<Gate> = None;
    let mut hits = 0;
    script(version);
    for _ in 0..20 {
        match dice.below(12) {
            0..=4 => {
                let query = ["", "?strip=b"][dice.below(2)];
                let reader = readers[dice.below(readers.len())];
                let read = proxy.get(&format!("{call}{query}")).bearer(reader);
                reads.push((read.start(), floor));
            }
            5 => {
                version += 1;
                script(version);
            }
            6 => {
                version += 1;
                script(version);
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
                let what = [
                    format!("call={id}"),
                    format!("path={call}"),
                    "all".to_owned(),
                ];
                let target = format!("/purge?{}", what[dice.below(3)]);
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
                    // What was held so far goes on at some later time.
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

/// A read that is answered has to be answered with no less than its floor.
async fn check(read: Pending, floor: u64, seed: u64) -> usize {
    let answer = read.await;
    if answer.status() != 200 {
        return 0;
    }
    let version = answer.json()["version"].as_u64();
    assert!(
        version >= Some(floor),
        "seed {seed}: {version:?} < {floor}: {answer}"
    );
    usize::from(answer.cache_status().contains("hit"))
}
