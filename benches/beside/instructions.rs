//! User instructions per request, counted by valgrind: the difference between a run and one with
//! twice as many requests. Unlike CPU time, they hardly vary between runs.

use std::borrow::Cow;
use std::process::{Command, Stdio};

use crate::Result;
use crate::load::{self, Connection, Get, Wire};
use crate::origin::Origin;
use crate::process::Server;
use crate::session::{Session, real, real_bytes};
use crate::setup::{Column, Setup};
use crate::table::{Samples, Unit};
use crate::warm;

const REQUESTS: usize = 2_000;

const NOT_COUNTED: &str = "only stuut-cache and bare hyper run under valgrind";

/// A hit of 4 KB, one whose lifetimes are lowered, and a miss of 4 KB.
pub(crate) fn instructions(session: &mut Session) -> Result<()> {
    let version = Command::new("valgrind")
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    if version.is_err() {
        let why = "valgrind is not installed (package valgrind)";
        eprintln!("{why}; instructions are not counted");
        session.table.empty("instructions", why);
        return Ok(());
    }
    for (name, id, every_other) in [
        ("hit, 4 KB: instructions", "f4096-1", false),
        (
            "hit of a call with live parts, 4 KB: instructions",
            "c4096-1",
            false,
        ),
        ("miss, 4 KB: instructions", "c4096", true),
    ] {
        let ours = per_request(Column::StuutCache, id, every_other)?;
        let bare = per_request(Column::Bare, id, every_other)?;
        let samples = Samples::from([(Column::StuutCache, vec![ours]), (Column::Bare, vec![bare])]);
        let empty = Column::CACHES.map(|column| (column, NOT_COUNTED));
        session.row(name, Unit::Instructions, &samples, &empty);
    }
    Ok(())
}

fn per_request(column: Column, id: &str, every_other: bool) -> Result<f64> {
    let once = total(column, id, every_other, REQUESTS)?;
    let twice = total(column, id, every_other, REQUESTS * 2)?;
    Ok(real_bytes(twice.saturating_sub(once)) / real(REQUESTS))
}

/// Instructions of a process that answers this number of requests.
fn total(column: Column, id: &str, every_other: bool, requests: usize) -> Result<u64> {
    let origin = Origin::start()?;
    let setup = Setup {
        under: [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Setup::new(origin.address)
    };
    let server = Server::start(&setup, column)?;
    let target = |name: &str| format!("/v1/calls/{id}{name}");
    let first = Get::of(target(if every_other { "-first" } else { "" }));
    if column == Column::Bare {
        let answer = Connection::open(origin.address)?.fetch(&first.bytes())?;
        warm::ready(&server, &first.target, &answer)?;
    } else {
        warm::hit(&server, Wire::H1, &first)?;
    }
    let request = first.bytes();
    load::spread(server.address, requests, &|n| {
        if every_other {
            Cow::Owned(Get::of(target(&format!("-{n}"))).bytes())
        } else {
            Cow::Borrowed(&request[..])
        }
    })?;
    let stderr = server.stop()?;
    let count = stderr.lines().find_map(|line| {
        let (_, count) = line.split_once("Collected : ")?;
        count.split_whitespace().next()?.parse().ok()
    });
    count.ok_or_else(|| format!("no total in valgrind's output: {stderr}").into())
}
