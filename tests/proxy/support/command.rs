//! Runs a command of the real program to its exit.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The output and exit code of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `stuut-cache` with these arguments and an empty environment.
pub async fn run(arguments: &[&str]) -> CommandOutput {
    run_with(arguments, &[]).await
}

/// The same, with these environment variables.
pub async fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    // The test's proxy may run on this thread.
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("it does not panic");
    let output = output.expect("the program starts");
    CommandOutput {
        code: output.status.code().expect("no signal killed it"),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

impl CommandOutput {
    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Asserts that stdout or stderr contains this.
    #[track_caller]
    pub fn assert_prints(self, text: &str) -> Self {
        let is_printed = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(is_printed, "expected {text:?}: {self:#?}");
        self
    }
}

/// A program of the system, by one of its names; `None` if it is not installed: the test is skipped,
/// with a message on stderr.
pub fn installed(names: &[&str], test: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where `.ci/setup` installs packages from registries, and where Debian has programs for root.
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/tools/bin");
    let program = std::env::split_paths(&path)
        .chain([tools, "/usr/sbin"].map(PathBuf::from))
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|program| program.is_file());
    if program.is_none() {
        let name = names[0];
        // Not `eprintln!`: the test runner captures that and shows it for failures only.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: {name} is not installed; .ci/setup installs it"
        );
    }
    program.map(Command::new)
}
