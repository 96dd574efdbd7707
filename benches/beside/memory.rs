//! Memory: per idle connection, per stored byte, and under churn.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::commands::open_files;
use crate::load::{self, Connection, Get, Wire};
use crate::origin::Origin;
use crate::process::Server;
use crate::session::{Session, real, real_bytes};
use crate::setup::{Column, Setup};
use crate::table::{Samples, Unit};
use crate::warm;

/// Numbers of open connections at which memory is measured.
const CONNECTIONS: [usize; 2] = [1_000, 5_000];

/// Number of stored bodies, and the size of each.
const STORED: usize = 10_000;
const SIZE: usize = 40 << 10;

/// Churn: capacity of the cache in MiB, number of fills, and their time limit.
const CAPACITY: u32 = 64;
const FILLS: usize = 30_000;
const FILLING: Duration = Duration::from_secs(40);

/// Number of sizes of bodies, on a logarithmic scale from 4 KiB to 1 MiB.
const STEPS: u32 = 32;

const PREALLOCATED: &str = "it allocates its whole cache when it starts";

/// Measures the three figures of all servers.
pub(crate) fn memory(session: &mut Session) -> Result<()> {
    idle_connections(session)?;
    payload(session)?;
    churn(session)
}

fn idle_connections(session: &mut Session) -> Result<()> {
    let most = open_files();
    let needed = CONNECTIONS[1] + 200;
    if most < needed {
        let why = format!("the limit on open files is {most}, {needed} are needed");
        session.table.empty("idle connection", &why);
        return Ok(());
    }
    let mut samples = [Samples::new(), Samples::new()];
    let columns = session.caches().into_iter().chain([Column::Bare]);
    for column in columns {
        let origin = Origin::start()?;
        let server = Server::start(&Setup::new(origin.address), column)?;
        let get = Get::of("/v1/calls/f4096-1");
        warm_any(&server, &get)?;
        let request = get.bytes();
        let before = server.held_at_rest()?;
        let mut open = Vec::new();
        for (count, samples) in CONNECTIONS.into_iter().zip(&mut samples) {
            while open.len() < count {
                let mut connection = Connection::open(server.address)?;
                connection.exchange(&request)?;
                open.push(connection);
            }
            let more = server.held_at_rest()?.saturating_sub(before);
            let each = real_bytes(more) / real(count) / 1024.0;
            samples.insert(column, vec![each]);
        }
    }
    for (count, samples) in CONNECTIONS.into_iter().zip(&samples) {
        let name = format!("idle connection, one of {count}, after a request");
        session.row(&name, Unit::KiB, samples, &[]);
    }
    Ok(())
}

fn payload(session: &mut Session) -> Result<()> {
    let gets: Vec<_> = (0..STORED)
        .map(|n| Get::of(format!("/v1/calls/r{SIZE}-{n}")))
        .collect();
    let mut samples = Samples::new();
    for column in session.caches() {
        if column == Column::HaProxy {
            continue;
        }
        let origin = Origin::start()?;
        let setup = Setup {
            capacity: 2_048,
            ..Setup::new(origin.address)
        };
        let server = Server::start(&setup, column)?;
        warm::hit(&server, Wire::H1, &Get::of("/v1/calls/r4096-first"))?;
        let before = server.held_at_rest()?;
        warm::fill(&server, &gets, 100)?;
        let due = STORED + 1;
        if origin.fetches() != due {
            let (who, fetched) = (column.name(), origin.fetches());
            return Err(
                format!("{who} did not store all: {fetched} fetches, expected {due}").into(),
            );
        }
        let more = server.held_at_rest()?.saturating_sub(before);
        samples.insert(column, vec![real_bytes(more) / real(STORED * SIZE)]);
    }
    let name = "memory for a stored byte, 10,000 × 40 KB";
    let empty = [(Column::HaProxy, PREALLOCATED)];
    session.row(name, Unit::Number, &samples, &empty);
    Ok(())
}

fn churn(session: &mut Session) -> Result<()> {
    let mut samples = Samples::new();
    let mut least = FILLS;
    for column in session.caches() {
        let origin = Origin::start()?;
        let setup = Setup {
            capacity: CAPACITY,
            ..Setup::new(origin.address)
        };
        let server = Server::start(&setup, column)?;
        let done = AtomicBool::new(false);
        let (filled, peak) = thread::scope(|scope| -> Result<_> {
            let peak = scope.spawn(|| -> Result<u64> {
                let mut peak = 0;
                while !done.load(Ordering::SeqCst) {
                    peak = peak.max(server.held()?);
                    thread::sleep(Duration::from_millis(50));
                }
                Ok(peak)
            });
            let filled = fill_in(&server);
            done.store(true, Ordering::SeqCst);
            let peak = peak.join().map_err(|_| "the sampling panicked")??;
            Ok((filled?, peak))
        })?;
        least = least.min(filled);
        samples.insert(column, vec![real_bytes(peak) / 1024.0 / 1024.0]);
    }
    let bound = f64::from(CAPACITY) * 1.15 + 40.0;
    let name = format!(
        "peak memory under churn, {least} fills of 4 KB to 1 MB into {CAPACITY} MiB (bound {bound:.1} MiB)"
    );
    session.row(&name, Unit::MiB, &samples, &[]);
    Ok(())
}

/// Sends misses of mixed sizes; returns their number.
fn fill_in(server: &Server) -> Result<usize> {
    const SLICE: usize = 1_000;
    let began = Instant::now();
    let mut filled = 0;
    while filled < FILLS && began.elapsed() < FILLING {
        let from = filled;
        filled += load::spread(server.address, SLICE, &|n| {
            let id = from + n;
            // A prime, so that the sizes are shuffled.
            let step = u32::try_from(id * 7_919 % STEPS as usize).unwrap_or_default();
            let size = 4096.0 * 2_f64.powf(f64::from(step) / f64::from(STEPS - 1) * 8.0);
            Cow::Owned(Get::of(format!("/v1/calls/f{size:.0}-{id}")).bytes())
        })?;
    }
    Ok(filled)
}

/// Stores one response.
fn warm_any(server: &Server, get: &Get) -> Result<()> {
    if server.column != Column::Bare {
        warm::hit(server, Wire::H1, get)?;
        return Ok(());
    }
    let origin = Origin::start()?;
    let answer = Connection::open(origin.address)?.fetch(&get.bytes())?;
    warm::ready(server, &get.target, &answer)
}
