//! Processor time a hit: by size, spread over many keys, of a view, in a coding, over HTTP/2.

use std::borrow::Cow;

use crate::Result;
use crate::h2;
use crate::load::{self, Ask, Connection, Wire};
use crate::origin::Origin;
use crate::process::Server;
use crate::session::{Entrant, Session};
use crate::setup::{Column, Setup};
use crate::table::Unit;
use crate::warm;

/// A row: the requests, and the servers that get them.
struct Work<'a> {
    name: &'a str,
    /// The requests, one after the other.
    asks: Vec<Ask>,
    /// Requests of a round.
    requests: usize,
    wire: Wire,
    /// The bare server has one answer and looks nothing up.
    plain: bool,
    /// Columns that have such a thing; why the other caches have not.
    beside: &'a [Column],
    why_not: &'static str,
    /// Whether a plain hit of that size is measured too.
    own: bool,
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
            asks: vec![Ask::of(target)],
            requests,
            wire: Wire::H1,
            plain: false,
            beside: ALL,
            why_not: "",
            own: false,
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
        beside: &[Column::Bare],
        why_not: "as in the row of 4 KB",
        ..Work::of(
            "hit, 4 KB, beside bare hyper without a lookup",
            "/v1/calls/f4096-1",
            20_000,
        )
    };
    row(session, &work)?;
    // Each token asks for calls of its own, as services do.
    let asks = (0..1_000).flat_map(|token| {
        (0..20).map(move |call| Ask {
            token: format!("bench-token-{token:04}"),
            ..Ask::of(format!("/v1/calls/r4096-{token}.{call}"))
        })
    });
    let work = Work {
        asks: asks.collect(),
        own: true,
        ..Work::of("hit, 4 KB, of 1,000 tokens × 20 calls", "", 20_000)
    };
    row(session, &work)?;
    let work = Work {
        beside: &[Column::Bare],
        why_not: "views are stuut-cache's own",
        own: true,
        ..Work::of(
            "hit of a view, 40 KB of 80 KB",
            "/v1/calls/f81920-1?strip=other",
            10_000,
        )
    };
    row(session, &work)
}

/// Hits in a content coding that the proxy makes.
pub(crate) fn coded(session: &mut Session) -> Result<()> {
    for (name, coding, beside) in [
        ("hit, 40 KB as gzip", "gzip", ALL),
        ("hit, 40 KB as zstd", "zstd", &[Column::Bare] as &[_]),
    ] {
        let mut work = Work {
            beside,
            why_not: "it makes gzip, not zstd",
            own: true,
            ..Work::of(name, "/v1/calls/c40960-1", 10_000)
        };
        work.asks[0].codings = Some(coding);
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

fn row(session: &mut Session, work: &Work<'_>) -> Result<()> {
    let origin = Origin::start()?;
    let setup = Setup {
        gzip: work.asks[0].codings.is_some(),
        keep_open: true,
        wire: work.wire,
        plain: work.plain,
        ..Setup::new(origin.address)
    };
    let ours = Server::start(&setup, Column::StuutCache)?;
    if let Some(coding) = work.asks[0].codings
        && !warm::comes_coded(&ours, work.wire, &work.asks[0])?
    {
        let why = format!("stuut-cache never answered with content-encoding: {coding}");
        session.table.empty(work.name, &why);
        return Ok(());
    }
    if let [ask] = work.asks.as_slice() {
        warm::hit(&ours, work.wire, ask)?;
    }
    let mut servers = vec![];
    for column in session.there(work.beside) {
        let server = Server::start(&setup, column)?;
        if column == Column::Bare {
            repeat(&ours, &server, work)?;
        } else if work.asks.len() > 1 {
            warm::fill(&server, &work.asks, 500)?;
        } else {
            warm::hit(&server, work.wire, &work.asks[0])?;
        }
        servers.push(server);
    }
    let plain = if work.own {
        let length = warm::ask_once(&ours, work.wire, &work.asks[0])?.body.len();
        let ask = Ask::of(format!("/v1/calls/f{length}-plain"));
        warm::hit(&ours, Wire::H1, &ask)?;
        Some(ask)
    } else {
        None
    };

    let asks = work.asks.as_slice();
    let mut entrants = vec![entrant(Column::StuutCache, &ours, asks, work)];
    for server in &servers {
        entrants.push(entrant(server.column, server, asks, work));
    }
    if let Some(plain) = &plain {
        let asks = std::slice::from_ref(plain);
        let one = Work {
            wire: Wire::H1,
            ..Work::of("", "", work.requests)
        };
        entrants.push(entrant(Column::PlainHit, &ours, asks, &one));
    }
    let fetched = origin.fetches();
    let samples = session.take_turns(&entrants)?;
    let more = origin.fetches() - fetched;
    if more > 0 {
        return Err(format!("{}: {more} requests were no hits", work.name).into());
    }
    let empty = Column::CACHES.map(|column| (column, work.why_not));
    session.row(work.name, Unit::Microseconds, &samples, &empty);
    Ok(())
}

/// Fills stuut-cache, and makes each of its hits an answer of the bare server.
fn repeat(ours: &Server, bare: &Server, work: &Work<'_>) -> Result<()> {
    if let [ask] = work.asks.as_slice() {
        return warm::ready(bare, &ask.target, &warm::hit(ours, work.wire, ask)?);
    }
    warm::fill(ours, &work.asks, 500)?;
    let (mut from, mut to) = (
        Connection::open(ours.address)?,
        Connection::open(bare.address)?,
    );
    for ask in &work.asks {
        warm::put(&mut to, &ask.target, &from.ask(&ask.bytes())?)?;
    }
    Ok(())
}

fn entrant<'a>(
    column: Column,
    server: &'a Server,
    asks: &'a [Ask],
    work: &Work<'_>,
) -> Entrant<'a> {
    let (requests, address) = (work.requests, server.address);
    let work: Box<dyn Fn() -> Result<usize>> = match work.wire {
        Wire::H2 => Box::new(move || h2::spread(address, requests, &asks[0])),
        Wire::H1 => {
            let ready: Vec<Vec<u8>> = asks.iter().map(Ask::bytes).collect();
            Box::new(move || {
                load::spread(address, requests, &|n| {
                    // A prime: neighbours in time are no neighbours in the store, and all come.
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
