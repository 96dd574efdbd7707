//! Programs that check files, where they are installed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

/// Where `.ci/setup` puts what comes from the package registries.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/tools/bin");

/// A program, or `None` with a word about it where it is not installed.
///
/// # Panics
///
/// Under CI, where `.ci/setup` has installed it: a check that is left out in silence is none.
pub(crate) fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(Path::new(TOOLS).to_owned())
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        leave_out(&format!("{name} is not installed; .ci/setup installs it"));
    }
    found.map(Command::new)
}

/// Says that a check is left out, and why.
///
/// # Panics
///
/// Under CI, where nothing is to be missing.
pub(crate) fn leave_out(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    // Past the test harness, which keeps what passing tests print to itself.
    let _ = writeln!(std::io::stderr(), "left out: {why}");
}

/// What it printed, once it is content.
#[track_caller]
pub(crate) fn content(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program runs");
    let said = [stdout, stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{said}");
    said
}
