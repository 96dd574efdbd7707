//! The whole program compared with others, over real sockets, in one run: bare hyper, and where
//! they are installed nginx, Varnish and `HAProxy`.
//!
//! `cargo bench --bench beside` prints one table. Servers run on processor 0, the load and the
//! origin on processor 1. Every ratio is between two figures of the same run: a slow or
//! busy machine affects all of them alike.
//!
//! ```text
//! cargo bench --bench beside -- [GROUP…] [--rounds N] [--instructions]
//! ```
//!
//! Groups are `hits coded h2c misses latency collapse memory start`; without any, all are
//! measured. `--instructions` counts instructions under valgrind, after the groups, or alone
//! where no group is named.
//!
//! | module | content |
//! |---|---|
//! | `session` `table` | a run and its rounds; the output |
//! | `hits` `misses` `collapse` `memory` `start` `instructions` | the rows |
//! | `warm` | filling servers, and checking that they answer from their store |
//! | `load` `h2` `origin` `body` | the clients, and the origin |
//! | `setup` `commands` `bare` `process` | the servers that are measured |

mod bare;
mod body;
#[path = "../call/mod.rs"]
mod call;
mod collapse;
mod commands;
mod h2;
mod hits;
mod instructions;
mod load;
mod memory;
mod misses;
mod origin;
mod process;
mod session;
mod setup;
mod start;
mod table;
mod warm;

use std::error::Error;
use std::process::Command;

use session::{GROUPS, Session};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const LOAD_CPU: &str = "1";

const ROUNDS: usize = 7;

/// The arguments of a run.
struct Arguments {
    groups: Vec<String>,
    rounds: usize,
    instructions: bool,
}

fn main() -> Result<()> {
    // Cargo says that this is a benchmark.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments.first().map(String::as_str) {
        Some("bare") => bare::serve(&arguments[1..]),
        Some("load") => measure(&Arguments::read(&arguments[1..])?),
        _ => {
            Arguments::read(&arguments)?;
            again(&arguments)
        }
    }
}

/// Starts this program again: on the processor for the load, with as many open files as may be.
fn again(arguments: &[String]) -> Result<()> {
    let status = Command::new("sh")
        .args([
            "-c",
            // 20,000 files that nginx keeps open; where that is forbidden, as many as may be.
            "ulimit -n 65536 2>/dev/null || ulimit -S -n \"$(ulimit -H -n)\"; exec taskset -c \"$@\"",
        ])
        .args(["sh", LOAD_CPU])
        .arg(std::env::current_exe()?)
        .arg("load")
        .args(arguments)
        .status()
        .map_err(|error| format!("sh: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("the run failed, or taskset (package util-linux) found no processor 1".into())
    }
}

fn measure(wanted: &Arguments) -> Result<()> {
    let mut session = Session::begin(wanted.rounds);
    let mut failed = Vec::new();
    for group in &wanted.groups {
        let measured = match group.as_str() {
            "hits" => hits::hits(&mut session),
            "coded" => hits::coded(&mut session),
            "h2c" => hits::h2c(&mut session),
            "misses" => misses::misses(&mut session),
            "latency" => misses::latency(&mut session),
            "collapse" => collapse::collapse(&mut session),
            "memory" => memory::memory(&mut session),
            _ => start::start(&mut session),
        };
        if let Err(error) = measured {
            // The rows so far remain; the run fails all the same.
            session.table.empty(group, &format!("failed: {error}"));
            failed.push(group.as_str());
        }
    }
    if wanted.instructions {
        instructions::instructions(&mut session)?;
    }
    session.end();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(" ")).into())
    }
}

// === impl Arguments ===

impl Arguments {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut wanted = Self {
            groups: Vec::new(),
            rounds: ROUNDS,
            instructions: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--rounds" => {
                    let rounds = rest.next().ok_or("--rounds: a number follows it")?;
                    wanted.rounds = rounds
                        .parse()
                        .ok()
                        .filter(|&rounds| rounds > 0)
                        .ok_or_else(|| format!("--rounds: {rounds:?} is no number of rounds"))?;
                }
                "--instructions" => wanted.instructions = true,
                group if GROUPS.contains(&group) => wanted.groups.push(group.to_owned()),
                other => {
                    let groups = GROUPS.join(" ");
                    return Err(format!(
                        "{other:?} is neither --rounds, --instructions nor one of {groups}"
                    )
                    .into());
                }
            }
        }
        if wanted.groups.is_empty() && !wanted.instructions {
            wanted.groups = GROUPS.map(str::to_owned).to_vec();
        }
        Ok(wanted)
    }
}
