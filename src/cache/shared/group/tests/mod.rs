//! Groups of replicas on an engine in memory, in moved time: without sockets.

mod engine;
mod model;
mod replica;
mod stories;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use self::model::Fault;
use super::*;
use crate::cache::shared::tests::{config, seals};
use crate::config::{Config, ScopeKey};
use crate::in_transit::Ledger;
use crate::policy::{self, Exchange, Facts, Freshness, Moment, RouteRule};
use crate::request::Routes;

/// `shared.lease`.
const LEASE: Duration = Duration::from_millis(60);

/// A rule of the protocol, which a test removes to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removed {
    /// Another primary begins another era.
    Era,
    /// After FLUSHALL, an announcement waits for the leases of replicas that it cannot see.
    EraWait,
    /// A response of another replica is used only under a lease.
    SharedLease,
    /// Stored responses are used only under a lease.
    Lease,
    /// A response from before the beginning of the log is not used.
    Floor,
    /// A replica that misses items forgets everything.
    Gap,
    /// An item has the era that it belongs to.
    Frame,
    /// A response of another replica is used only if the journal has nothing later about it.
    Journal,
    /// A replica that could not announce its own invalidation uses no responses of others.
    Late,
    /// An announcement waits for the other replicas.
    Wait,
}

impl Removed {
    /// The fault that shows that the rule is needed.
    fn focus(self) -> Option<Fault> {
        let fault = match self {
            Self::EraWait => Fault::Flush,
            Self::Era | Self::Frame => Fault::FailOver,
            Self::Floor => Fault::Join,
            Self::Gap => Fault::Cut,
            Self::Late => Fault::Refuse,
            Self::Lease | Self::SharedLease | Self::Journal | Self::Wait => return None,
        };
        Some(fault)
    }
}

/// Common to all replicas of a run: time, chance, and keys.
#[derive(Clone, Debug)]
struct Sim {
    clock: Clock,
    random: Arc<Mutex<u64>>,
    removed: Option<Removed>,
    config: Arc<Config>,
    sealer: Sealer,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    freshness: Freshness,
    /// A sealed invalidation that concerns nothing.
    filler: Bytes,
}

impl Sim {
    fn new(removed: Option<Removed>) -> Self {
        let mut config = config(&ScopeKey::random(), None);
        config.shared.lease = LEASE;
        if removed == Some(Removed::Lease) {
            config.shared.alone = Alone::Own;
        }
        let sealer = seals(&config);
        Self {
            clock: Clock::manual(SystemTime::UNIX_EPOCH),
            random: Arc::default(),
            removed,
            metrics: Arc::new(Metrics::new(&Routes::new(&config.cache.routes))),
            ledger: Ledger::unbounded(),
            freshness: fresh_for_long(&config),
            config: Arc::new(config),
            filler: sealer.seal_item(&Invalidation::of_paths(["/nothing"].into_iter())),
            sealer,
        }
    }

    /// The same, with other chance and its own time.
    fn seeded(&self, seed: u64) -> Self {
        Self {
            clock: Clock::manual(SystemTime::UNIX_EPOCH),
            random: Arc::new(Mutex::new(seed.wrapping_mul(2).wrapping_add(1))),
            ..self.clone()
        }
    }

    fn now(&self) -> Duration {
        self.clock.mono()
    }

    /// A random number in a range (splitmix64).
    fn random(&self, from: u64, to: u64) -> u64 {
        let mut state = self.random.lock().expect("no test has panicked");
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (mixed ^ (mixed >> 31)) % (to - from + 1)
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }

    /// Runs in paused time: the clock is moved with the runtime's timers.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build();
        let clock = self.clock.clone();
        runtime.expect("a runtime").block_on(async move {
            tokio::spawn(async move {
                let millisecond = Duration::from_millis(1);
                let mut ticks = tokio::time::interval(millisecond);
                ticks.tick().await;
                loop {
                    ticks.tick().await;
                    clock.advance(millisecond);
                }
            });
            work.await
        })
    }
}

fn fresh_for_long(config: &Config) -> Freshness {
    let now = Moment {
        mono: Duration::ZERO,
        wall: SystemTime::UNIX_EPOCH,
    };
    let max_age = http::HeaderValue::from_static("max-age=600");
    let fields = http::HeaderMap::from_iter([(http::header::CACHE_CONTROL, max_age)]);
    let exchange = Exchange::new(http::StatusCode::OK, &fields, now, now);
    let rules = &config.freshness;
    policy::assess(&exchange, &Facts::default(), rules, RouteRule::default())
}

/// A shared response: its version in the place of a body, in clear.
#[derive(Clone, Copy, Debug)]
struct Shared {
    position: Position,
    began: u64,
    received: u64,
    version: u64,
}

impl Shared {
    fn bytes(&self) -> Bytes {
        let Position { era, id } = self.position;
        let numbers = [id, self.began, self.received, self.version];
        [&era.0[..], &numbers.map(u64::to_be_bytes).concat()]
            .concat()
            .into()
    }

    fn read(bytes: &Bytes) -> Self {
        let (era, rest) = bytes.split_first_chunk().expect("an era");
        let (numbers, _) = rest.as_chunks();
        let [id, began, received, version] = numbers else {
            panic!("four numbers");
        };
        Self {
            position: Position {
                era: Era(*era),
                id: u64::from_be_bytes(*id),
            },
            began: u64::from_be_bytes(*began),
            received: u64::from_be_bytes(*received),
            version: u64::from_be_bytes(*version),
        }
    }
}
