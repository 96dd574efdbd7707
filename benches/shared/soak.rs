//! The soak: three replicas, readers and writers, and every 20 seconds an engine that is killed, emptied
//! or suspended, or whose primary is killed and replaced by Sentinels.
//!
//! A read must not show an older version than the last write that was answered before it began.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::engines::{Endpoint, Engine, Pair};
use crate::load::{Connection, Get};
use crate::origin::version;
use crate::setup::Group;

const CALLS: usize = 50;
const READERS: u64 = 6;

#[derive(Debug, Default)]
struct Tally {
    reads: AtomicU64,
    hits: AtomicU64,
    shared: AtomicU64,
    writes: AtomicU64,
    old: AtomicU64,
    errors: AtomicU64,
    over: AtomicBool,
    /// For each call, the version of the last write that was answered.
    answered: Vec<AtomicU64>,
}

/// With an engine of one server.
pub(crate) fn run(seconds: u64) -> Result<()> {
    let mut faults = (0..).map(|round| round % 3);
    run_on(Engine::start()?, seconds, |engine| match faults.next() {
        Some(0) => {
            engine.kill();
            thread::sleep(Duration::from_millis(1_500));
            engine.restart()
        }
        Some(1) => {
            engine.signal("STOP")?;
            thread::sleep(Duration::from_secs(3));
            engine.signal("CONT")
        }
        _ => engine.restart(),
    })
}

/// With an engine whose primary the Sentinels choose.
pub(crate) fn run_with_sentinels(seconds: u64) -> Result<()> {
    run_on(Pair::start()?, seconds, Pair::fail_over)
}

fn run_on<E: Endpoint>(
    engine: E,
    seconds: u64,
    disturb: impl FnMut(&mut E) -> Result<()>,
) -> Result<()> {
    let mut group = Group::on(engine, 3)?;
    group.origin.set_latency(Duration::from_millis(2));
    let tally = Tally {
        answered: (0..CALLS).map(|_| AtomicU64::new(0)).collect(),
        ..Tally::default()
    };
    let addresses: Vec<_> = group
        .replicas
        .iter()
        .map(|replica| replica.address)
        .collect();
    let disturbances = thread::scope(|scope| {
        for seed in 1..=READERS {
            let (tally, addresses) = (&tally, &addresses);
            scope.spawn(move || read(tally, addresses, seed));
        }
        // One writer for each half of the calls, so that their order is known.
        for half in 0..2 {
            let (tally, addresses) = (&tally, &addresses);
            scope.spawn(move || write(tally, addresses, half));
        }
        let disturbed = disturb_for(seconds, &mut group.engine, disturb);
        tally.over.store(true, Ordering::Relaxed);
        disturbed
    })?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{seconds} s, 3 replicas, {disturbances} faults: {} reads, {} hits, {} of them shared, {} writes, {} fetches; {} old, {} errors",
        count(&tally.reads),
        count(&tally.hits),
        count(&tally.shared),
        count(&tally.writes),
        group.origin.take_fetches(),
        count(&tally.old),
        count(&tally.errors)
    );
    for (number, replica) in group.replicas.iter().enumerate() {
        let metrics = [
            "shared_state",
            "shared_unconfirmed_total",
            "shared_replicas",
        ];
        for name in metrics {
            let value = replica.metric(&format!("stuut_cache_{name}"))?;
            println!("replica {number}: {name} {value}");
        }
    }
    if count(&tally.old) + count(&tally.errors) > 0 {
        std::process::exit(1);
    }
    Ok(())
}

/// Returns the number of disturbances.
fn disturb_for<E>(
    seconds: u64,
    engine: &mut E,
    mut disturb: impl FnMut(&mut E) -> Result<()>,
) -> Result<u64> {
    let began = Instant::now();
    for count in 0.. {
        for _ in 0..20 {
            if began.elapsed() > Duration::from_secs(seconds) {
                return Ok(count);
            }
            thread::sleep(Duration::from_secs(1));
        }
        disturb(engine)?;
    }
    unreachable!("it disturbs until the time is over")
}

fn random(state: &mut u64, limit: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % (limit as u64)).unwrap_or_default()
}

fn read(tally: &Tally, addresses: &[std::net::SocketAddr], seed: u64) {
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ (seed << 32 | 1);
    let mut connections = open(addresses);
    while !tally.over.load(Ordering::Relaxed) {
        let (number, replica) = (
            random(&mut state, CALLS),
            random(&mut state, addresses.len()),
        );
        let least = tally.answered[number].load(Ordering::SeqCst);
        let get = Get::of(format!("/v1/calls/c{number}"));
        tally.reads.fetch_add(1, Ordering::Relaxed);
        let answer = connections[replica].fetch(&get.bytes());
        let shown = answer.and_then(|answer| {
            if answer.status != 200 {
                return Err(format!("status {}", answer.status).into());
            }
            let field = answer.field("cache-status");
            tally
                .hits
                .fetch_add(u64::from(field.contains("hit")), Ordering::Relaxed);
            tally
                .shared
                .fetch_add(u64::from(field.contains("shared")), Ordering::Relaxed);
            Ok((version(&answer.body)?, field.to_owned()))
        });
        match shown {
            Ok((shown, field)) if shown < least => {
                tally.old.fetch_add(1, Ordering::Relaxed);
                println!("! c{number} at replica {replica}: {shown}, not {least}: {field}");
            }
            Ok(_) => {}
            Err(error) => {
                tally.errors.fetch_add(1, Ordering::Relaxed);
                println!("! c{number} at replica {replica}: {error}");
                connections = open(addresses);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn write(tally: &Tally, addresses: &[std::net::SocketAddr], half: usize) {
    let mut state = 0x1234_5678_9ABC_DEF1 ^ (half as u64) << 32;
    let mut connections = open(addresses);
    let token = Get::of("").token;
    while !tally.over.load(Ordering::Relaxed) {
        let number = random(&mut state, CALLS / 2) * 2 + half;
        let replica = random(&mut state, addresses.len());
        let request = format!(
            "PATCH /v1/calls/c{number} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\
             content-length: 2\r\n\r\n{{}}"
        );
        tally.writes.fetch_add(1, Ordering::Relaxed);
        match connections[replica].fetch(request.as_bytes()) {
            Ok(answer) if answer.status == 200 => {
                let written = version(&answer.body).unwrap_or_default();
                tally.answered[number].fetch_max(written, Ordering::SeqCst);
            }
            Ok(answer) => {
                tally.errors.fetch_add(1, Ordering::Relaxed);
                println!("! a write at replica {replica}: status {}", answer.status);
            }
            Err(error) => {
                tally.errors.fetch_add(1, Ordering::Relaxed);
                println!("! a write at replica {replica}: {error}");
                connections = open(addresses);
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn open(addresses: &[std::net::SocketAddr]) -> Vec<Connection> {
    let connections = addresses.iter().map(|address| Connection::open(*address));
    connections
        .map(|connection| connection.expect("the replica runs"))
        .collect()
}
