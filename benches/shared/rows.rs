//! The rows: times are medians of one run on a machine that does everything at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Connection, Get};
use crate::origin::{Origin, version};
use crate::setup::{Group, Replica};

type Row = (&'static str, fn() -> Result<()>);

const ROWS: [Row; 9] = [
    ("memory", memory_hits),
    ("shared", shared_hits),
    ("misses", misses),
    ("traffic", traffic),
    ("collapse", collapse),
    ("takeover", takeover),
    ("purge", purges),
    ("writes", writes),
    ("restart", restart),
];

pub(crate) fn run(names: &[String]) -> Result<()> {
    let mut has_failed = false;
    for (name, row) in ROWS {
        let is_wanted = names.is_empty() || names.iter().any(|wanted| wanted == name);
        if is_wanted && let Err(error) = row() {
            println!("{name}: {error}");
            has_failed = true;
        }
    }
    if has_failed {
        return Err("rows have failed".into());
    }
    Ok(())
}

/// Sorted times, in microseconds.
struct Times(Vec<u128>);

impl Times {
    /// Of this many calls of `work`.
    fn of(count: usize, mut work: impl FnMut(usize) -> Result<()>) -> Result<Self> {
        let mut times = Vec::with_capacity(count);
        for number in 0..count {
            let began = Instant::now();
            work(number)?;
            times.push(began.elapsed().as_micros());
        }
        Ok(Self::sorted(times))
    }

    fn sorted(mut times: Vec<u128>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn quantile(&self, per_mille: usize) -> u128 {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get(last * per_mille / 1_000)
            .copied()
            .unwrap_or_default()
    }

    fn median(&self) -> u128 {
        self.quantile(500)
    }
}

fn call(number: usize) -> Get {
    Get::of(format!("/v1/calls/c{number}"))
}

/// Fetches a target; an error unless the response has this in its `Cache-Status`.
fn expect(connection: &mut Connection, get: &Get, status: &str) -> Result<u64> {
    let answer = connection.fetch(&get.bytes())?;
    let field = answer.field("cache-status");
    if answer.status != 200 || !field.contains(status) {
        return Err(format!("{}: {} {field}, not {status}", get.target, answer.status).into());
    }
    version(&answer.body)
}

/// The time of hits in memory, with the shared level and without, in turn. Between two processes it
/// differs by more than the work does, so there are several of both.
fn memory_hits() -> Result<()> {
    let mut ratios = Vec::new();
    for _ in 0..9 {
        let groups = [Group::start(1, true)?, Group::start(1, false)?];
        let mut medians = [Vec::new(), Vec::new()];
        for round in 0..6 {
            for (group, medians) in groups.iter().zip(&mut medians) {
                let mut connection = Connection::open(group.replicas[0].address)?;
                let expected = if round == 0 { "fwd=miss" } else { "hit" };
                expect(&mut connection, &call(1), expected)?;
                let bytes = call(1).bytes();
                let times = Times::of(3_000, |_| connection.fetch(&bytes).map(drop))?;
                medians.push(times.median());
            }
        }
        let [on, off] = medians.map(|medians| Times::sorted(medians).median());
        ratios.push(on * 1_000 / off);
    }
    let ratios = Times::sorted(ratios);
    println!(
        "hit 4 KB in memory: with the shared level ÷ without, in thousandths: {} (of nine pairs of processes: {:?})",
        ratios.median(),
        ratios.0
    );
    Ok(())
}

/// The time of hits in the shared level, beside hits in memory.
fn shared_hits() -> Result<()> {
    const COUNT: usize = 1_000;
    let group = Group::start(2, true)?;
    group.origin.set_size(40 << 10);
    let mut one = Connection::open(group.replicas[0].address)?;
    let mut two = Connection::open(group.replicas[1].address)?;
    for number in 0..COUNT {
        expect(&mut one, &call(number), "fwd=miss")?;
    }
    wait_for_stores(&group.replicas[0], COUNT)?;
    let shared = Times::of(COUNT, |number| {
        expect(&mut two, &call(number), "detail=shared").map(drop)
    })?;
    let memory = Times::of(COUNT, |number| {
        expect(&mut two, &call(number), "hit").map(drop)
    })?;
    let (shared, memory) = (shared.median(), memory.median());
    let more = shared.saturating_sub(memory);
    println!("hit 40 KB in the shared level: p50 {shared} µs, in memory {memory}: {more} more");
    Ok(())
}

fn wait_for_stores(replica: &Replica, count: usize) -> Result<()> {
    let series = "stuut_cache_shared_stores_total{result=\"stored\"}";
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let wanted = count as f64;
    let began = Instant::now();
    while replica.metric(series)? < wanted {
        if began.elapsed() > Duration::from_secs(10) {
            return Err(format!("{} of {count} stored", replica.metric(series)?).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The time of misses with the shared level and without, in turn; then with an engine that does not
/// answer.
fn misses() -> Result<()> {
    let (on, off) = (Group::start(1, true)?, Group::start(1, false)?);
    let mut connections = [&on, &off].map(|group| Connection::open(group.replicas[0].address));
    let mut number = 0;
    let mut both = || -> Result<[u128; 2]> {
        let mut all = [Vec::new(), Vec::new()];
        for _ in 0..40 {
            for (connection, all) in connections.iter_mut().zip(&mut all) {
                let connection = connection.as_mut().map_err(|error| error.to_string())?;
                number += 50;
                let miss = |n| expect(connection, &call(number + n), "fwd=miss").map(drop);
                all.extend(Times::of(50, miss)?.0);
            }
        }
        Ok(all.map(|times| Times::sorted(times).median()))
    };
    both()?;
    let answering = both()?;
    on.engine.signal("STOP")?;
    let mut connection = Connection::open(on.replicas[0].address)?;
    let first = Times::of(5, |number| {
        expect(&mut connection, &call(100_000 + number), "fwd=miss").map(drop)
    });
    thread::sleep(Duration::from_millis(2_500));
    let suspended = both();
    on.engine.signal("CONT")?;
    let (first, suspended) = (first?.quantile(1_000), suspended?);
    println!(
        "miss 4 KB, p50: {} µs with the shared level, {} without; engine suspended: first 5 at most {first} µs, then {} and {}",
        answering[0], answering[1], suspended[0], suspended[1]
    );
    Ok(())
}

/// A pseudo-random number below `limit`.
fn random(state: &mut u64, limit: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % (limit as u64)).unwrap_or_default()
}

/// The number of a call by Zipf's law, of 1,000.
fn zipf(state: &mut u64) -> usize {
    // The inverse of the distribution function of 1/n.
    #[expect(clippy::cast_precision_loss, reason = "a random number")]
    let uniform = random(state, 1 << 30) as f64 / f64::from(1 << 30);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 1,000"
    )]
    let number = 1_000_f64.powf(uniform) as usize;
    number - 1
}

/// Requests to the origin for the same requests of clients: of one replica, and of four.
fn traffic() -> Result<()> {
    const REQUESTS: usize = 40_000;
    let mut fetches = [0, 0];
    for (count, fetches) in [1, 4].into_iter().zip(&mut fetches) {
        let group = Group::start(count, true)?;
        group.origin.set_latency(Duration::from_millis(2));
        let addresses: Vec<_> = group
            .replicas
            .iter()
            .map(|replica| replica.address)
            .collect();
        thread::scope(|scope| {
            let clients = (0..8_u64).map(|client| {
                let addresses = &addresses;
                scope.spawn(move || -> Result<()> {
                    let connections = addresses.iter().map(|address| Connection::open(*address));
                    let mut connections = connections.collect::<Result<Vec<_>>>()?;
                    let mut state = 0x9E37_79B9_7F4A_7C15 ^ (client << 32 | 1);
                    for _ in 0..REQUESTS / 8 {
                        let mut get = call(zipf(&mut state));
                        get.token = format!("token-{}", random(&mut state, 20));
                        let replica = random(&mut state, connections.len());
                        let answer = connections[replica].fetch(&get.bytes())?;
                        if answer.status != 200 {
                            return Err(format!("status {}", answer.status).into());
                        }
                    }
                    Ok(())
                })
            });
            let clients: Vec<_> = clients.collect();
            clients
                .into_iter()
                .try_for_each(|client| client.join().expect("it does not panic"))
        })?;
        *fetches = group.origin.take_fetches();
    }
    let [one, four] = fetches;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let ratio = four as f64 / one as f64;
    println!(
        "{REQUESTS} requests, Zipf: the origin gets {one} with one replica, {four} with four, ratio {ratio:.3}"
    );
    Ok(())
}

/// Sends one request for the same call through 50 connections to each replica; returns the time to the
/// last answer, and the number of failed ones.
fn burst(group: &Group, during: impl FnOnce() -> Result<()>) -> Result<(Duration, u64)> {
    let began = Instant::now();
    let failed = AtomicU64::new(0);
    thread::scope(|scope| -> Result<()> {
        for replica in &group.replicas {
            for _ in 0..50 {
                let failed = &failed;
                scope.spawn(move || {
                    let fetch = || Connection::open(replica.address)?.fetch(&call(1).bytes());
                    if !fetch().is_ok_and(|answer| answer.status == 200) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        during()
    })?;
    Ok((began.elapsed(), failed.into_inner()))
}

/// 4 replicas × 50 clients on a cold key.
fn collapse() -> Result<()> {
    let group = Group::start(4, true)?;
    group.origin.set_latency(Duration::from_millis(100));
    let (time, failed) = burst(&group, || Ok(()))?;
    let fetches = group.origin.take_fetches();
    println!(
        "4 replicas × 50 clients, cold key, origin 100 ms: {fetches} fetches, last answer after {} ms, {failed} failed",
        time.as_millis()
    );
    Ok(())
}

/// The same, but the replica that fetches is killed after 50 ms.
fn takeover() -> Result<()> {
    let mut group = Group::start(4, true)?;
    group.origin.set_latency(Duration::from_millis(100));
    let owner = group.replicas.remove(0);
    // Its request comes first, so it fetches.
    let address = owner.address;
    let first = thread::spawn(move || Connection::open(address)?.fetch(&call(1).bytes()));
    thread::sleep(Duration::from_millis(10));
    let (time, failed) = burst(&group, || {
        thread::sleep(Duration::from_millis(40));
        drop(owner);
        Ok(())
    })?;
    // Its client has lost its connection.
    let _ = first.join();
    let fetches = group.origin.take_fetches();
    println!(
        "the same, the fetching replica killed after 50 ms: {fetches} fetches, last answer after {} ms, {failed} failed",
        time.as_millis()
    );
    Ok(())
}

/// Purges that four replicas confirm; then with one of them suspended.
fn purges() -> Result<()> {
    let group = Group::start(4, true)?;
    let purge = |number: usize| -> Result<()> {
        let answer = group.replicas[0].purge(&format!("c{number}"))?;
        if answer.contains("\"confirmed\":4") {
            Ok(())
        } else {
            Err(answer.into())
        }
    };
    let times = Times::of(1_000, purge)?;
    println!(
        "purge confirmed by 4 replicas: p50 {} µs, p99 {} µs",
        times.median(),
        times.quantile(990)
    );
    let mut connection = Connection::open(group.replicas[3].address)?;
    for number in 0..100 {
        expect(&mut connection, &call(number), "fwd=miss")?;
    }
    let frozen = group.replicas[3].running.as_ref().ok_or("it runs")?;
    frozen.signal("STOP")?;
    for number in 0..100 {
        write(
            &mut Connection::open(group.replicas[0].address)?,
            number,
            false,
        )?;
    }
    let began = Instant::now();
    let answer = group.replicas[0].purge("c0");
    let took = began.elapsed();
    frozen.signal("CONT")?;
    let answer = answer?;
    let mut old = 0;
    for number in 0..10_000 {
        let answer = connection.fetch(&call(number % 100).bytes())?;
        old += u64::from(version(&answer.body)? == 0);
    }
    println!(
        "purge with one replica frozen: answered after {} ms ({}), {old} of 10,000 old answers after it wakes",
        took.as_millis(),
        answer.trim()
    );
    Ok(())
}

/// Writes a call; an error unless it is answered with 200.
fn write(connection: &mut Connection, number: usize, is_checked: bool) -> Result<()> {
    let request = format!(
        "PATCH /v1/calls/c{number} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer bench-token-1\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    let answer = connection.fetch(request.as_bytes())?;
    if is_checked && answer.status != 200 {
        return Err(format!("a write got {}", answer.status).into());
    }
    Ok(())
}

/// Writes through one replica, each read back through another.
fn writes() -> Result<()> {
    const COUNT: usize = 10_000;
    let (on, off) = (Group::start(2, true)?, Group::start(1, false)?);
    let mut writer = Connection::open(on.replicas[0].address)?;
    let mut reader = Connection::open(on.replicas[1].address)?;
    let mut alone = Connection::open(off.replicas[0].address)?;
    for connection in [&mut writer, &mut reader, &mut alone] {
        expect(connection, &call(0), "")?;
    }
    let off = Times::of(COUNT / 10, |number| write(&mut alone, number % 100, true))?;
    let (mut old, mut times) = (0, Vec::new());
    for round in 1..=COUNT {
        let number = round % 100;
        let began = Instant::now();
        write(&mut writer, number, true)?;
        times.push(began.elapsed().as_micros());
        let answer = reader.fetch(&call(number).bytes())?;
        let expected = round.div_ceil(100) as u64;
        old += u64::from(version(&answer.body)? < expected);
    }
    times.sort_unstable();
    let on = Times(times);
    println!(
        "write, then read through another replica, {COUNT} times: {old} old; a write takes p50 {} µs, {} alone; p99 {} and {}",
        on.median(),
        off.median(),
        on.quantile(990),
        off.quantile(990)
    );
    Ok(())
}

/// The hit ratio of a replica before and after its restart.
fn restart() -> Result<()> {
    let mut group = Group::start(2, true)?;
    let mut state = 0x9E37_79B9_7F4A_7C15;
    let mut ratio = |replica: &Replica, count: usize, origin: &Origin| -> Result<f64> {
        let mut connection = Connection::open(replica.address)?;
        origin.take_fetches();
        for _ in 0..count {
            expect(&mut connection, &call(zipf(&mut state)), "")?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let ratio = 1.0 - origin.take_fetches() as f64 / count as f64;
        Ok(ratio)
    };
    ratio(&group.replicas[0], 5_000, &group.origin)?;
    let before = ratio(&group.replicas[0], 1_000, &group.origin)?;
    thread::sleep(Duration::from_millis(200));
    group.replicas[0].restart()?;
    group.settle()?;
    let after = ratio(&group.replicas[0], 1_000, &group.origin)?;
    println!("hit ratio of 1,000 requests: {before:.3} before a restart, {after:.3} after it");
    Ok(())
}
