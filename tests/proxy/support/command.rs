//! A command of the real program that runs to its end.

use std::process::{Command, Stdio};

/// What a command has said, and how it ended.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `stuut-cache` with these arguments, and nothing of ours in its environment.
pub async fn run(arguments: &[&str]) -> CommandOutput {
    run_with(arguments, &[]).await
}

/// The same, with these variables.
pub async fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    // A proxy of the story runs on this thread.
    let ended = tokio::task::spawn_blocking(move || command.output());
    let ended = ended.await.expect("it does not panic");
    let ended = ended.expect("the program starts");
    CommandOutput {
        code: ended.status.code().expect("it ends by itself"),
        stdout: String::from_utf8(ended.stdout).expect("text"),
        stderr: String::from_utf8(ended.stderr).expect("text"),
    }
}

impl CommandOutput {
    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// This is among what it has said, on either of its outputs.
    #[track_caller]
    pub fn assert_prints(self, text: &str) -> Self {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(found, "expected {text:?}: {self:#?}");
        self
    }
}
