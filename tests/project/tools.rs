//! The programs that check files, if they are installed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

/// Where `.ci/setup` installs packages from registries.
pub(crate) const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/tools/bin");

/// A program; `None`, with a message, if it is not installed.
///
/// # Panics
///
/// Under CI, where `.ci/setup` has installed it: a check must not be skipped silently.
pub(crate) fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::iter::once(Path::new(TOOLS).to_owned())
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if program.is_none() {
        skip(&format!("{name} is not installed; .ci/setup installs it"));
    }
    program.map(Command::new)
}

/// Prints that a check is skipped, and why.
///
/// # Panics
///
/// Under CI, where nothing may be missing.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    // Not by `eprintln!`, which the test harness captures when a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Runs a command that must succeed; returns its output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program runs");
    let output = [stdout, stderr].concat();
    let output = String::from_utf8_lossy(&output).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{output}");
    output
}
