//! Time from the start of a process to its first response from the origin; memory at rest.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Connection, Get};
use crate::origin::Origin;
use crate::process::Server;
use crate::session::{Session, real_bytes};
use crate::setup::{Column, Setup};
use crate::table::{Samples, Unit};
use crate::warm;

/// Timeout of a start.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pause before the memory of a server is read.
const REST: Duration = Duration::from_millis(500);

pub(crate) fn start(session: &mut Session) -> Result<()> {
    let origin = Origin::start()?;
    let setup = Setup {
        // The default of stuut-cache.
        capacity: 256,
        ..Setup::new(origin.address)
    };
    let get = Get::of("/v1/calls/f4096-1");
    let mut columns = vec![Column::StuutCache, Column::Bare];
    columns.extend(session.installed(&Column::CACHES));
    let (mut times, mut memory) = (Samples::new(), Samples::new());
    for round in 0..=session.rounds {
        for &column in &columns {
            let server = Server::spawn(&setup, column)?;
            let took = first_answer(&server, &get, origin.address)?;
            thread::sleep(REST);
            let resident = real_bytes(server.resident()?) / 1024.0 / 1024.0;
            if round > 0 {
                let millis = took.as_secs_f64() * 1e3;
                times.entry(column).or_default().push(millis);
                memory.entry(column).or_default().push(resident);
            }
        }
    }
    session.row("start to the first 200", Unit::Milliseconds, &times, &[]);
    session.row("memory at rest", Unit::MiB, &memory, &[]);
    Ok(())
}

/// Repeats the request until it gets a 200. The bare server is given a response first.
fn first_answer(server: &Server, get: &Get, origin: std::net::SocketAddr) -> Result<Duration> {
    let ready = Connection::open(origin)?.fetch(&get.bytes())?;
    let began = Instant::now();
    let mut last = String::new();
    while began.elapsed() < TIMEOUT {
        let answer = Connection::open(server.address).and_then(|mut connection| {
            if server.column == Column::Bare {
                warm::put(&mut connection, &get.target, &ready)?;
            }
            connection.fetch(&get.bytes())
        });
        match answer {
            Ok(answer) if answer.status == 200 => return Ok(server.spawned.elapsed()),
            Ok(answer) => last = format!("status {}", answer.status),
            Err(error) => last = error.to_string(),
        }
        thread::sleep(Duration::from_micros(500));
    }
    let (who, messages) = (server.column.name(), server.messages());
    Err(format!("{who} did not answer within {TIMEOUT:?}: {last}\n{messages}").into())
}
