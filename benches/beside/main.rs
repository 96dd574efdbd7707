//! Compares the whole program with others, over real sockets, in one run: bare hyper and, if
//! installed, nginx, Varnish and `HAProxy`.
//!
//! `cargo bench --bench beside` prints one table. Servers run on CPU 0, the load generator and the
//! origin on CPU 1. Every ratio is between two figures of the same run, so that a slow or busy
//! machine affects both alike.
//!
//! ```text
//! cargo bench --bench beside -- [GROUP…] [--rounds N] [--instructions]
//! ```
//!
//! Groups are `hits coded h2c tls misses latency paced collapse memory start`; the default is all.
//! `--instructions` counts instructions under valgrind, after the given groups, or alone.
//!
//! | module | content |
//! |---|---|
//! | `session` `table` | a run and its rounds; output |
//! | `hits` `misses` `paced` `collapse` `memory` `start` `instructions` | the rows |
//! | `warm` | fills the caches, and checks that they serve hits |
//! | `load` `h2` `tls` `origin` `body` | the load generator, and the origin |
//! | `setup` `commands` `bare` `process` | the servers under test |

#![expect(clippy::disallowed_methods, reason = "measures real time")]

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
mod paced;
mod process;
mod session;
mod setup;
mod start;
mod table;
mod tls;
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
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments.first().map(String::as_str) {
        Some("bare") => bare::serve(&arguments[1..]),
        Some("load") => measure(&Arguments::read(&arguments[1..])?),
        _ => {
            Arguments::read(&arguments)?;
            restart(&arguments)
        }
    }
}

/// Restarts this program on the CPU for the load, with a raised limit on open files.
fn restart(arguments: &[String]) -> Result<()> {
    let status = Command::new("sh")
        .args([
            "-c",
            // nginx keeps 20,000 files open; else the hard limit.
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
        Err("the run failed, or taskset (package util-linux) found no CPU 1".into())
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let mut session = Session::begin(arguments.rounds);
    let mut failed = Vec::new();
    for group in &arguments.groups {
        let measured = match group.as_str() {
            "hits" => hits::hits(&mut session),
            "coded" => hits::coded(&mut session),
            "h2c" => hits::h2c(&mut session),
            "tls" => hits::tls(&mut session),
            "misses" => misses::misses(&mut session),
            "latency" => misses::latency(&mut session),
            "paced" => paced::paced(&mut session),
            "collapse" => collapse::collapse(&mut session),
            "memory" => memory::memory(&mut session),
            _ => start::start(&mut session),
        };
        if let Err(error) = measured {
            // Prints the other rows, but fails the run.
            session.table.empty(group, &format!("failed: {error}"));
            failed.push(group.as_str());
        }
    }
    if arguments.instructions {
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
    fn read(words: &[String]) -> Result<Self> {
        let mut arguments = Self {
            groups: Vec::new(),
            rounds: ROUNDS,
            instructions: false,
        };
        let mut rest = words.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--rounds" => {
                    let rounds = rest.next().ok_or("--rounds needs a number")?;
                    arguments.rounds = rounds
                        .parse()
                        .ok()
                        .filter(|&rounds| rounds > 0)
                        .ok_or_else(|| format!("--rounds: {rounds:?} is not a positive number"))?;
                }
                "--instructions" => arguments.instructions = true,
                group if GROUPS.contains(&group) => arguments.groups.push(group.to_owned()),
                other => {
                    let groups = GROUPS.join(" ");
                    return Err(format!(
                        "{other:?} is neither --rounds, --instructions nor one of {groups}"
                    )
                    .into());
                }
            }
        }
        if arguments.groups.is_empty() && !arguments.instructions {
            arguments.groups = GROUPS.map(str::to_owned).to_vec();
        }
        Ok(arguments)
    }
}
