//! Runs a command of the real program to its exit.

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
