//! Request coalescing: many concurrent clients of one cold key.

use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Connection, Get, Wire};
use crate::origin::Origin;
use crate::process::Server;
use crate::session::{Session, real};
use crate::setup::Setup;
use crate::table::{Samples, Unit};
use crate::warm;

const CLIENTS: usize = 200;

/// Latency of the origin, as in the names of the rows.
const ORIGIN: Duration = Duration::from_millis(100);

/// Number of fetches, and the time until the last client has its response.
pub(crate) fn collapse(session: &mut Session) -> Result<()> {
    let origin = Origin::with_latency(ORIGIN)?;
    let setup = Setup::new(origin.address);
    let servers = session.start_caches(&setup)?;
    for server in &servers {
        warm::hit(server, Wire::H1, &Get::of("/v1/calls/f4096-first"))?;
    }
    let (mut fetches, mut times) = (Samples::new(), Samples::new());
    for round in 0..=session.rounds {
        for server in &servers {
            let before = origin.fetches();
            let took = stampede(server, round)?;
            if round > 0 {
                let count = real(origin.fetches() - before);
                fetches.entry(server.column).or_default().push(count);
                let millis = took.as_secs_f64() * 1e3;
                times.entry(server.column).or_default().push(millis);
            }
        }
    }
    let name = format!("{CLIENTS} clients on a cold key, origin 100 ms: fetches");
    session.row(&name, Unit::Number, &fetches, &[]);
    let name = format!("{CLIENTS} clients on a cold key, origin 100 ms: last response");
    session.row(&name, Unit::Milliseconds, &times, &[]);
    Ok(())
}

/// Time from the first request to the last response. One thread sends and reads all, so that the
/// scheduler does not influence it; responses wait in the sockets.
fn stampede(server: &Server, round: usize) -> Result<Duration> {
    let request = Get::of(format!("/v1/calls/f4096-{round}")).bytes();
    let mut clients = (0..CLIENTS)
        .map(|_| Connection::open(server.address))
        .collect::<Result<Vec<_>>>()?;
    // All are accepted before the first request.
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    for client in &mut clients {
        client.send(&request)?;
    }
    for client in &mut clients {
        let answer = client.receive()?;
        if answer.status != 200 || answer.body.len() != 4096 {
            let who = server.column.name();
            return Err(format!("{who} answered one of the clients with {}", answer.status).into());
        }
    }
    Ok(began.elapsed())
}
