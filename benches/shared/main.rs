//! The shared level: what it costs and brings, with a real engine on this machine.
//!
//! `cargo bench --bench shared -- [row …]`, or `-- soak [--seconds N]`: three replicas whose engine is
//! killed or suspended every 20 seconds; no response may be older than an answered write allows, and
//! none may be an error. Needs `redis-server` or `valkey-server`.

#![expect(clippy::disallowed_methods, reason = "measures real time")]

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
        let seconds = match &arguments[1..] {
            [] => 600,
            [name, seconds] if name == "--seconds" => seconds.parse()?,
            _ => return Err("the option of soak is --seconds N (600)".into()),
        };
        return soak::run(seconds);
    }
    rows::run(&arguments)
}
