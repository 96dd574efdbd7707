//! The `stuut-cache` executable: parses the command line, runs the command, returns its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use stuut_cache::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("stuut-cache: {error:#}");
            ExitCode::FAILURE
        }
    }
}
