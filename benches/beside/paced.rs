//! Hits at a fixed rate, which does not wait for the server: CPU time per request, and the 99th percentile of
//! the time from when a request is due to its response.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Connection, Get, Wire};
use crate::origin::Origin;
use crate::process::Server;
use crate::session::{Entrant, Session};
use crate::setup::{Column, Setup};
use crate::table::{Samples, Unit};
use crate::warm;

/// Connections, and requests per second of all together.
const PACES: [(usize, u32); 2] = [(1_000, 1_000), (8, 4_000)];

/// Number of requests of a round.
const REQUESTS: usize = 2_000;

/// The connections to a server, and the times of its responses in microseconds.
struct Client {
    connections: Vec<Connection>,
    took: Vec<f64>,
}

pub(crate) fn paced(session: &mut Session) -> Result<()> {
    for (connections, rate) in PACES {
        let origin = Origin::start()?;
        let setup = Setup {
            keep_open: true,
            ..Setup::new(origin.address)
        };
        let get = Get::of("/v1/calls/f4096-1");
        let mut servers = vec![Server::start(&setup, Column::Bare)?];
        for server in session.start_caches(&setup)? {
            let answer = warm::hit(&server, Wire::H1, &get)?;
            if server.column == Column::StuutCache {
                warm::ready(&servers[0], &get.target, &answer)?;
            }
            servers.push(server);
        }
        let open = |server: &Server| -> Result<_> {
            let open = (0..connections).map(|_| Connection::open(server.address));
            Ok(RefCell::new(Client {
                connections: open.collect::<Result<_>>()?,
                took: Vec::new(),
            }))
        };
        let clients: Vec<_> = servers.iter().map(open).collect::<Result<_>>()?;
        let request = get.bytes();
        let entrants: Vec<_> = std::iter::zip(&servers, &clients)
            .map(|(server, client)| Entrant {
                column: server.column,
                server,
                work: Box::new(|| client.borrow_mut().send(&request, rate)),
            })
            .collect();
        let times = session.take_turns(&entrants)?;
        drop(entrants);
        let name = format!("hit, 4 KB, {connections} connections, {rate} requests/s");
        session.cpu_rows(&name, &times, &[]);
        let slowest = std::iter::zip(&servers, clients)
            .map(|(server, client)| (server.column, vec![p99(client.into_inner().took)]));
        let samples: Samples = slowest.collect();
        session.row(&format!("{name}: p99"), Unit::Microseconds, &samples, &[]);
    }
    Ok(())
}

impl Client {
    /// Sends each request when it is due, on the next connection; returns their number.
    fn send(&mut self, request: &[u8], rate: u32) -> Result<usize> {
        let (interval, mut due) = (Duration::from_secs(1) / rate, Instant::now());
        for n in 0..REQUESTS {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let next = n % self.connections.len();
            self.connections[next].exchange(request)?;
            self.took.push(due.elapsed().as_secs_f64() * 1e6);
            due += interval;
        }
        Ok(REQUESTS)
    }
}

fn p99(mut took: Vec<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}
