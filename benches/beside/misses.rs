//! Misses: CPU time per miss, and the latency that it adds to the origin's.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Instant;

use crate::Result;
use crate::load::{self, Connection, Get, Wire};
use crate::origin::Origin;
use crate::process::Server;
use crate::session::{Entrant, Session};
use crate::setup::{Column, Setup};
use crate::table::{Samples, Unit, median};
use crate::warm;

/// Name, prefix of the ids, requests of a round, and requests of the single client.
const SIZES: [(&str, &str, usize, usize); 2] = [
    ("4 KB", "c4096", 4_000, 2_000),
    ("40 KB", "c40960", 1_600, 1_000),
];

/// Capacity in MiB of a cache that the misses of one round fill: after the warm-up round, every miss
/// evicts.
const FULL: u32 = 16;

/// CPU time per miss: every request is for another id. With a cache that has room for all, and with
/// a full one, like that of a cache that has run for a while.
pub(crate) fn misses(session: &mut Session) -> Result<()> {
    for (size, kind, requests, _) in SIZES {
        let roomy = Setup::new;
        misses_into(session, &format!("miss, {size}"), kind, requests, roomy)?;
        let full = |origin| Setup {
            capacity: FULL,
            ..Setup::new(origin)
        };
        let name = format!("miss, {size}, into a full store");
        misses_into(session, &name, kind, requests, full)?;
    }
    Ok(())
}

fn misses_into(
    session: &mut Session,
    name: &str,
    kind: &str,
    requests: usize,
    setup: impl Fn(SocketAddr) -> Setup,
) -> Result<()> {
    let origin = Origin::start()?;
    let setup = setup(origin.address);
    let mut servers = session.start_caches(&setup)?;
    // Its store has no bound.
    if setup.capacity != FULL {
        servers.push(Server::start(&setup, Column::Bare)?);
    }
    let mut entrants = Vec::new();
    for server in &servers {
        let first = Get::of(format!("/v1/calls/{kind}-first"));
        warm::hit(server, Wire::H1, &first)?;
        let (origin, used, address) = (&origin, Cell::new(0), server.address);
        entrants.push(Entrant {
            column: server.column,
            server,
            work: Box::new(move || {
                let (fetched, from) = (origin.fetches(), used.get());
                used.set(from + requests);
                let answered = load::spread(address, requests, &|n| {
                    let id = from + n;
                    Cow::Owned(Get::of(format!("/v1/calls/{kind}-{id}")).bytes())
                })?;
                let fetched = origin.fetches() - fetched;
                if fetched == answered {
                    Ok(answered)
                } else {
                    Err(format!("{answered} misses, {fetched} fetches").into())
                }
            }),
        });
    }
    let times = session.take_turns(&entrants)?;
    session.cpu_rows(name, &times, &[]);
    Ok(())
}

/// The latency that a miss adds: the difference between the medians of one client that sends each
/// request to the origin itself and to every server in turn.
pub(crate) fn latency(session: &mut Session) -> Result<()> {
    for (size, kind, _, requests) in SIZES {
        let origin = Origin::start()?;
        let setup = Setup::new(origin.address);
        let mut servers = session.start_caches(&setup)?;
        servers.push(Server::start(&setup, Column::Bare)?);
        let mut direct = Connection::open(origin.address)?;
        let mut connections = Vec::new();
        for server in &servers {
            let first = Get::of(format!("/v1/calls/{kind}-first"));
            warm::hit(server, Wire::H1, &first)?;
            connections.push(Connection::open(server.address)?);
        }
        let mut took = vec![Vec::new(); servers.len() + 1];
        let fetched = origin.fetches();
        let warm_up = requests / 10;
        for n in 0..requests + warm_up {
            let request = Get::of(format!("/v1/calls/{kind}-{n}")).bytes();
            for (who, connection) in std::iter::once(&mut direct)
                .chain(&mut connections)
                .enumerate()
            {
                let began = Instant::now();
                connection.exchange(&request)?;
                let micros = began.elapsed().as_secs_f64() * 1e6;
                if n >= warm_up {
                    took[who].push(micros);
                }
            }
        }
        let (due, fetched) = (
            (requests + warm_up) * took.len(),
            origin.fetches() - fetched,
        );
        if fetched != due {
            return Err(format!("latency: {due} misses, {fetched} fetches").into());
        }
        let mut took = took.into_iter().map(median);
        let alone = took.next().unwrap_or_default();
        let samples: Samples = servers
            .iter()
            .zip(took)
            .map(|(server, through)| (server.column, vec![through - alone]))
            .collect();
        let name = format!("miss, {size}: added p50 (the origin itself: {alone:.0} µs)");
        session.row(&name, Unit::Microseconds, &samples, &[]);
    }
    Ok(())
}
