//! `man` and `completions`: what the program says of itself, for the system to keep.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, ValueEnum};

use super::Cli;

#[derive(Debug, Args)]
pub(super) struct Manual {
    /// Command that the page is about; the program itself where none is named
    command: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Shell that is to complete
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints a page in roff.
pub(super) fn manual(arguments: &Manual) -> anyhow::Result<ExitCode> {
    let mut cli = Cli::command();
    cli.build();
    let command = match &arguments.command {
        Some(name) => cli
            .find_subcommand(name)
            .with_context(|| format!("there is no command {name:?}; see stuut-cache --help"))?,
        None => &cli,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .context("cannot write to memory")?;
    print(&page)
}

/// Prints the script of a shell.
pub(super) fn completions(arguments: &Completions) -> anyhow::Result<ExitCode> {
    let shell = match arguments.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stuut-cache", &mut script);
    print(&script)
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    io::stdout()
        .write_all(bytes)
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
