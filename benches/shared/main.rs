//! The shared level: what it costs and brings, with a real engine on this machine.
//!
//! `cargo bench --bench shared -- [row …]`, or `-- soak [--sentinel] [--seconds N]`: three replicas whose
//! engine is killed or suspended every 20 seconds, or whose primary is killed and replaced by Sentinels; no
//! response may be older than an answered write allows, and none may be an error. Needs `redis-server` or
//! `valkey-server`.

#![expect(clippy::disallowed_methods, reason = "measures real time")]

mod engines;
#[path = "../beside/load.rs"]
#[expect(dead_code, reason = "rows of another bench use the rest")]
mod load;
mod origin;
mod rows;
mod setup;
mod soak;

use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    arguments.retain(|argument| argument != "--bench");
    if arguments.first().is_some_and(|first| first == "soak") {
        let (run, rest): (fn(u64) -> Result<()>, _) = match &arguments[1..] {
            [name, rest @ ..] if name == "--sentinel" => (soak::run_with_sentinels, rest),
            rest => (soak::run, rest),
        };
        return match rest {
            [] => run(600),
            [name, seconds] if name == "--seconds" => run(seconds.parse()?),
            _ => Err("the options of soak are --sentinel and --seconds N (600)".into()),
        };
    }
    rows::run(&arguments)
}
