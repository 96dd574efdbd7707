//! CPU time per hit: by size, spread over many keys, of a view, compressed, over HTTP/2, over TLS.

use std::borrow::Cow;

use crate::Result;
use crate::h2;
use crate::load::{self, Connection, Get, Wire};
use crate::origin::Origin;
use crate::process::Server;
use crate::session::{Entrant, Session};
use crate::setup::{Column, Setup};
use crate::tls;
use crate::warm;

/// A row: the requests, and the servers under test.
struct Work<'a> {
    name: &'a str,
    /// The requests, in order.
    gets: Vec<Get>,
    /// Number of requests of a round.
    requests: usize,
    wire: Wire,
    /// Whether each request is sent on a new connection, over TLS.
    handshake: bool,
    /// Whether the bare server has one response for all targets, without a lookup.
    plain: bool,
    /// Columns that are compared, and the reason why the other caches are not.
    compared: &'a [Column],
    why_not: &'static str,
    /// Whether a plain hit of the same size is measured, too.
    own: bool,
    workers: usize,
}

const ALL: &[Column] = &[
    Column::Bare,
    Column::Nginx,
    Column::Varnish,
    Column::HaProxy,
];

impl Work<'_> {
    fn of(name: &'static str, target: &str, requests: usize) -> Self {
        Self {
            name,
            gets: vec![Get::of(target)],
            requests,
            wire: Wire::H1,
            handshake: false,
            plain: false,
            compared: ALL,
            why_not: "",
            own: false,
            workers: 1,
        }
    }
}

/// Hits by size, of many tokens, and of a view.
pub(crate) fn hits(session: &mut Session) -> Result<()> {
    for (name, target, requests) in [
        ("hit, 4 KB", "/v1/calls/f4096-1", 20_000),
        ("hit, 40 KB", "/v1/calls/f40960-1", 10_000),
        ("hit, 400 KB", "/v1/calls/f409600-1", 1_600),
    ] {
        row(session, &Work::of(name, target, requests))?;
    }
    let work = Work {
        plain: true,
        compared: &[Column::Bare],
        why_not: "same as in the first row",
        ..Work::of(
            "hit, 4 KB, vs bare hyper without a lookup",
            "/v1/calls/f4096-1",
            20_000,
        )
    };
    row(session, &work)?;
    let work = Work {
        workers: 2,
        compared: &[Column::Nginx, Column::HaProxy],
        why_not: "only those with a fixed number of workers",
        ..Work::of("hit, 4 KB, two workers", "/v1/calls/f4096-1", 20_000)
    };
    row(session, &work)?;
    // Each token requests its own calls, as services do.
    let gets = (0..1_000).flat_map(|token| {
        (0..20).map(move |call| Get {
            token: format!("bench-token-{token:04}"),
            ..Get::of(format!("/v1/calls/r4096-{token}.{call}"))
        })
    });
    let work = Work {
        gets: gets.collect(),
        own: true,
        ..Work::of("hit, 4 KB, of 1,000 tokens × 20 calls", "", 20_000)
    };
    row(session, &work)?;
    let work = Work {
        compared: &[Column::Bare],
        why_not: "only stuut-cache has views",
        own: true,
        ..Work::of(
            "hit of a view, 40 KB of 80 KB",
            "/v1/calls/f81920-1?strip=other",
            10_000,
        )
    };
    row(session, &work)
}

/// Hits in a content coding that the proxy has compressed.
pub(crate) fn coded(session: &mut Session) -> Result<()> {
    for (name, coding, compared) in [
        ("hit, 40 KB as gzip", "gzip", ALL),
        ("hit, 40 KB as zstd", "zstd", &[Column::Bare] as &[_]),
    ] {
        let mut work = Work {
            compared,
            why_not: "it compresses with gzip, not zstd",
            own: true,
            ..Work::of(name, "/v1/calls/c40960-1", 10_000)
        };
        work.gets[0].codings = Some(coding);
        row(session, &work)?;
    }
    Ok(())
}

/// Hits over HTTP/2.
pub(crate) fn h2c(session: &mut Session) -> Result<()> {
    let work = Work {
        wire: Wire::H2,
        own: true,
        ..Work::of("hit, 4 KB, h2c", "/v1/calls/f4096-1", 20_000)
    };
    row(session, &work)
}

/// Hits over TLS, on open and on new connections.
pub(crate) fn tls(session: &mut Session) -> Result<()> {
    for (name, target, requests, handshake) in [
        ("hit, 4 KB, TLS", "/v1/calls/f4096-1", 20_000, false),
        ("hit, 40 KB, TLS", "/v1/calls/f40960-1", 10_000, false),
        (
            "hit, 4 KB, TLS, each on a new connection",
            "/v1/calls/f4096-1",
            2_000,
            true,
        ),
    ] {
        let work = Work {
            wire: Wire::Tls,
            handshake,
            compared: &[Column::Nginx, Column::HaProxy],
            why_not: "it has no TLS with clients",
            ..Work::of(name, target, requests)
        };
        row(session, &work)?;
    }
    Ok(())
}

fn row(session: &mut Session, work: &Work<'_>) -> Result<()> {
    let origin = Origin::start()?;
    let setup = Setup {
        gzip: work.gets[0].codings.is_some(),
        keep_open: true,
        wire: work.wire,
        plain: work.plain,
        workers: work.workers,
        ..Setup::new(origin.address)
    };
    let ours = Server::start(&setup, Column::StuutCache)?;
    if let Some(coding) = work.gets[0].codings
        && !warm::becomes_coded(&ours, work.wire, &work.gets[0])?
    {
        let why = format!("stuut-cache never sent content-encoding: {coding}");
        session.table.empty(work.name, &why);
        return Ok(());
    }
    if let [get] = work.gets.as_slice() {
        warm::hit(&ours, work.wire, get)?;
    }
    let mut servers = vec![];
    for column in session.installed(work.compared) {
        let server = Server::start(&setup, column)?;
        if column == Column::Bare {
            repeat(&ours, &server, work)?;
        } else if work.gets.len() > 1 {
            warm::fill(&server, &work.gets, 500)?;
        } else {
            warm::hit(&server, work.wire, &work.gets[0])?;
        }
        servers.push(server);
    }
    let plain = if work.own {
        let length = warm::fetch_once(&ours, work.wire, &work.gets[0])?
            .body
            .len();
        let get = Get::of(format!("/v1/calls/f{length}-plain"));
        warm::hit(&ours, Wire::H1, &get)?;
        Some(get)
    } else {
        None
    };

    let gets = work.gets.as_slice();
    let mut entrants = vec![entrant(Column::StuutCache, &ours, gets, work)];
    for server in &servers {
        entrants.push(entrant(server.column, server, gets, work));
    }
    if let Some(plain) = &plain {
        let gets = std::slice::from_ref(plain);
        let one = Work {
            wire: Wire::H1,
            ..Work::of("", "", work.requests)
        };
        entrants.push(entrant(Column::PlainHit, &ours, gets, &one));
    }
    let fetched = origin.fetches();
    let times = session.take_turns(&entrants)?;
    let more = origin.fetches() - fetched;
    if more > 0 {
        return Err(format!("{}: {more} requests were not hits", work.name).into());
    }
    let empty = Column::CACHES.map(|column| (column, work.why_not));
    session.cpu_rows(work.name, &times, &empty);
    Ok(())
}

/// Fills stuut-cache, and prepares each of its hits as a response of the bare server.
fn repeat(ours: &Server, bare: &Server, work: &Work<'_>) -> Result<()> {
    if let [get] = work.gets.as_slice() {
        return warm::ready(bare, &get.target, &warm::hit(ours, work.wire, get)?);
    }
    warm::fill(ours, &work.gets, 500)?;
    let (mut from, mut to) = (
        Connection::open(ours.address)?,
        Connection::open(bare.address)?,
    );
    for get in &work.gets {
        warm::put(&mut to, &get.target, &from.fetch(&get.bytes())?)?;
    }
    Ok(())
}

fn entrant<'a>(
    column: Column,
    server: &'a Server,
    gets: &'a [Get],
    work: &Work<'_>,
) -> Entrant<'a> {
    let (requests, address) = (work.requests, server.address);
    let work: Box<dyn Fn() -> Result<usize>> = match work.wire {
        Wire::H2 => Box::new(move || h2::spread(address, requests, &gets[0])),
        Wire::Tls if work.handshake => {
            Box::new(move || tls::handshakes(address, requests, &gets[0]))
        }
        Wire::Tls => Box::new(move || tls::spread(address, requests, &gets[0])),
        Wire::H1 => {
            let ready: Vec<Vec<u8>> = gets.iter().map(Get::bytes).collect();
            Box::new(move || {
                load::spread(address, requests, &|n| {
                    // A prime, so that successive requests are for distant keys, and all keys occur.
                    Cow::Borrowed(&ready[n * 7_919 % ready.len()][..])
                })
            })
        }
    };
    Entrant {
        column,
        server,
        work,
    }
}
