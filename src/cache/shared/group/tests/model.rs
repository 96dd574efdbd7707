//! The randomised model: three replicas, which join, leave and crash, on one engine; delays, freezes,
//! cuts, failovers with lost writes, lost keys. No read may be answered with what an answered
//! invalidation has invalidated before the read began.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::engine::{Link, Memory};
use super::replica::{Found, Replica};
use super::{LEASE, MemberId, Removed, Sim};
use crate::cache::shared::member::longest;

/// The first ones are read most.
const PATHS: [&str; 5] = [
    "/v1/calls/a",
    "/v1/calls/b",
    "/v1/calls/c",
    "/v1/calls/d",
    "/v1/calls/e",
];

/// How long a run lasts.
const LENGTH: u64 = 300;

/// Runs of the test: a few seconds. More with this variable, in .ci/long.
const RUNS: u64 = 300;
const RUNS_VARIABLE: &str = "STUUT_MODEL_RUNS";

/// A fault; the frequent ones are more than once in `FAULTS`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Freeze,
    Cut,
    BlackHole,
    FailOver,
    Flush,
    EvictGroup,
    EvictLog,
    /// The engine refuses to append.
    Refuse,
    Join,
    Leave,
    Crash,
}

const FAULTS: [Fault; 20] = [
    Fault::Freeze,
    Fault::Freeze,
    Fault::Freeze,
    Fault::Freeze,
    Fault::Cut,
    Fault::Cut,
    Fault::Cut,
    Fault::Cut,
    Fault::BlackHole,
    Fault::BlackHole,
    Fault::FailOver,
    Fault::FailOver,
    Fault::FailOver,
    Fault::Flush,
    Fault::EvictGroup,
    Fault::EvictLog,
    Fault::Refuse,
    Fault::Join,
    Fault::Leave,
    Fault::Crash,
];

/// An answered invalidation: when, its path, the first version that is valid; the replica, if it alone
/// knows.
type Answered = (Duration, usize, u64, Option<MemberId>);

/// One run.
struct World {
    sim: Sim,
    engine: Arc<Mutex<Memory>>,
    origin: Mutex<[u64; PATHS.len()]>,
    replicas: Mutex<Vec<Arc<Replica>>>,
    answered: Mutex<Vec<Answered>>,
    report: Mutex<Report>,
}

/// Counts of runs.
#[derive(Debug, Default)]
struct Report {
    counts: BTreeMap<&'static str, u64>,
    /// The old answers of a run, and its seed.
    old: Vec<String>,
    seed: u64,
}

impl World {
    fn new(sim: Sim) -> Arc<Self> {
        let world = Arc::new(Self {
            sim,
            engine: Arc::default(),
            origin: Mutex::default(),
            replicas: Mutex::default(),
            answered: Mutex::default(),
            report: Mutex::default(),
        });
        for _ in 0..3 {
            world.join();
        }
        world
    }

    fn join(&self) {
        let link = Link::new(&self.sim, &self.engine);
        let replica = Replica::start(&link, self.sim.random(0, u64::MAX - 1));
        self.replicas
            .lock()
            .expect("no panic")
            .push(Arc::new(replica));
    }

    fn replica(&self) -> Arc<Replica> {
        let replicas = self.replicas.lock().expect("no panic");
        Arc::clone(&replicas[self.index(replicas.len())])
    }

    /// A random index.
    fn index(&self, length: usize) -> usize {
        let at = self.sim.random(0, length as u64 - 1);
        usize::try_from(at).expect("an index")
    }

    fn count(&self, what: &'static str) {
        *self
            .report
            .lock()
            .expect("no panic")
            .counts
            .entry(what)
            .or_default() += 1;
    }

    /// Clients, operators and faults, for a while.
    async fn run(self: Arc<Self>) -> Report {
        let mut fault_at = self.sim.random(20, 50);
        for time in 0..LENGTH {
            self.sim.sleep(Duration::from_millis(1)).await;
            let path = self.index(PATHS.len());
            if self.sim.random(0, 9) < 4 {
                let path = path.min(self.index(PATHS.len()));
                tokio::spawn(Arc::clone(&self).read(path));
            }
            if self.sim.random(0, 99) < 4 {
                tokio::spawn(Arc::clone(&self).write(path));
            }
            if self.sim.random(0, 999) < 6 {
                tokio::spawn(Arc::clone(&self).purge(path));
            }
            if time >= fault_at {
                self.fail();
                fault_at = time + self.sim.random(5, 60);
            }
            if self.sim.removed == Some(Removed::EraWait) {
                for replica in self.replicas.lock().expect("no panic").iter() {
                    replica.group.membership.lock().era_seen = Duration::ZERO;
                }
            }
        }
        std::mem::take(&mut *self.report.lock().expect("no panic"))
    }

    async fn read(self: Arc<Self>, path: usize) {
        let replica = self.replica();
        replica.link.thaw().await;
        let began = self.sim.now();
        let (version, found) = replica
            .read(PATHS[path], async || self.fetch(path).await)
            .await;
        self.count(match found {
            Found::Stored => "stored",
            Found::Shared => "shared",
            Found::Origin => "origin",
        });
        let id = replica.group.membership.lock().own().0;
        let answered = self.answered.lock().expect("no panic");
        // While it is alone, a replica uses what it has fetched for the length of a lease.
        let is_alone = !replica.group.lease.is_held(began) && found == Found::Stored;
        let before = if is_alone {
            began.saturating_sub(LEASE)
        } else {
            began
        };
        let valid = answered.iter().filter(|(at, of, _, only)| {
            *at < before && *of == path && only.is_none_or(|only| only == id)
        });
        let valid = valid.map(|(.., version, _)| *version).max().unwrap_or(0);
        if version < valid {
            let old = format!("{began:?} {id} {path} {found:?}: {version} instead of {valid}");
            self.report.lock().expect("no panic").old.push(old);
        }
    }

    async fn fetch(&self, path: usize) -> u64 {
        self.wait(1, 6).await;
        let version = self.origin.lock().expect("no panic")[path];
        self.wait(1, 6).await;
        version
    }

    /// A write by a client.
    async fn write(self: Arc<Self>, path: usize) {
        let replica = self.replica();
        replica.link.thaw().await;
        self.wait(1, 8).await;
        let version = self.change(path);
        self.wait(1, 8).await;
        replica.link.thaw().await;
        self.announce(replica, path, version, 9).await;
    }

    /// A purge by an operator, after the origin has changed.
    async fn purge(self: Arc<Self>, path: usize) {
        let replica = self.replica();
        replica.link.thaw().await;
        let version = self.change(path);
        let kind = self.sim.random(0, 4);
        self.announce(replica, path, version, kind).await;
    }

    async fn announce(
        self: &Arc<Self>,
        replica: Arc<Replica>,
        path: usize,
        version: u64,
        kind: u64,
    ) {
        let invalidation = replica.invalidation(PATHS[path], kind);
        let (number, is_announced) = replica.announce(invalidation).await;
        let id = replica.group.membership.lock().own().0;
        let answer = |only| {
            let answer = (self.sim.now(), path, version, only);
            self.answered.lock().expect("no panic").push(answer);
        };
        if is_announced {
            self.count("announced");
            return answer(None);
        }
        // Cut off from the engine: the other replicas do not know until it is not any more.
        self.count("cut off");
        answer(Some(id));
        replica.announced(number).await;
        self.sim.sleep(longest(LEASE)).await;
        answer(None);
    }

    fn change(&self, path: usize) -> u64 {
        let mut origin = self.origin.lock().expect("no panic");
        origin[path] += 1;
        origin[path]
    }

    async fn wait(&self, from: u64, to: u64) {
        self.sim
            .sleep(Duration::from_millis(self.sim.random(from, to)))
            .await;
    }

    fn fail(&self) {
        let focus = self.sim.removed.and_then(Removed::focus);
        let focus = focus.filter(|_| self.sim.random(0, 9) < 5);
        let fault = focus.unwrap_or_else(|| FAULTS[self.index(FAULTS.len())]);
        let length = Duration::from_millis(self.sim.random(5, 90));
        let replica = self.replica();
        let mut engine = self.engine.lock().expect("no panic");
        match fault {
            Fault::Freeze => replica.link.freeze(length),
            Fault::Cut => replica.link.cut(length),
            Fault::BlackHole => replica.link.black_hole(length),
            Fault::FailOver => {
                engine.fail_over(self.index(12));
                for replica in self.replicas.lock().expect("no panic").iter() {
                    replica.link.read_former(length * 3);
                }
            }
            Fault::Flush => engine.flush_all(),
            Fault::EvictGroup => engine.evict_group(),
            Fault::EvictLog => engine.evict_log(),
            Fault::Refuse => replica.link.refuse_appends(length * 2),
            Fault::Join => self.join(),
            Fault::Leave => self.end(&replica, true),
            Fault::Crash => self.end(&replica, false),
        }
    }

    /// A replica leaves, or crashes.
    fn end(&self, replica: &Arc<Replica>, leaves: bool) {
        let mut replicas = self.replicas.lock().expect("no panic");
        if replicas.len() < 3 {
            return;
        }
        replicas.retain(|other| !Arc::ptr_eq(other, replica));
        let replica = Arc::clone(replica);
        tokio::spawn(async move {
            if leaves {
                replica.group.leave().await;
            } else {
                replica.link.cut(Duration::from_hours(1));
                replica.group.end.cancel();
            }
        });
    }
}

/// Runs with the seeds up to `count`, on two threads; each stops at its first old answer.
fn runs(removed: Option<Removed>, count: u64) -> Report {
    let sim = Sim::new(removed);
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let sim = &sim;
            scope.spawn(move || some_runs(sim, (half..count).step_by(2)))
        });
        let mut all = Report::default();
        for half in halves {
            all.add(half.join().expect("no panic"));
        }
        all
    })
}

fn some_runs(sim: &Sim, seeds: impl Iterator<Item = u64>) -> Report {
    let mut all = Report::default();
    for seed in seeds {
        let sim = sim.seeded(seed);
        let mut report = sim.run(async { World::new(sim.clone()).run().await });
        report.seed = seed;
        all.add(report);
        if !all.old.is_empty() {
            break;
        }
    }
    all
}

impl Report {
    fn add(&mut self, other: Self) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        if self.old.is_empty() {
            self.old = other.old;
            self.seed = other.seed;
        }
    }
}

/// More runs, if a variable says so.
fn wanted() -> Option<u64> {
    let count = std::env::var(RUNS_VARIABLE).ok()?;
    Some(count.parse().expect("a number of runs"))
}

fn expect_old(removed: Removed, count: u64) {
    let report = runs(Some(removed), count);
    assert!(!report.old.is_empty(), "without {removed:?}: {report:?}");
}

#[test]
fn no_read_is_answered_with_what_was_invalidated_before_it_began() {
    let report = runs(None, wanted().unwrap_or(RUNS));
    assert!(report.old.is_empty(), "{report:#?}");
    let is_exercised = report.counts.values().all(|count| *count > RUNS / 10);
    assert!(is_exercised && report.counts.len() == 5, "{report:#?}");
}

#[test]
fn without_one_of_its_rules_the_model_finds_old_answers() {
    for removed in [
        Removed::Wait,
        Removed::Lease,
        Removed::SharedLease,
        Removed::Journal,
        Removed::Era,
        Removed::EraWait,
        Removed::Gap,
        Removed::Late,
        Removed::Floor,
    ] {
        expect_old(removed, 10 * RUNS);
    }
}

/// This needs thousands of runs: an era that begins with a longer log than the former one had is rare. A
/// table of `member` has the case.
#[test]
fn without_the_era_of_items_many_runs_find_old_answers() {
    if let Some(count) = wanted() {
        expect_old(Removed::Frame, count);
    }
}
