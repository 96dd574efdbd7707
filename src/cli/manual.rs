//! `man` and `completions`: manual pages and shell completions.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, print};

/// The sections of the program's own page that the command line does not have.
const SECTIONS: &str = include_str!("manual.roff");

#[derive(Debug, Args)]
pub(super) struct Manual {
    /// Command to document [default: the program itself]
    command: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Shell to complete for
    shell: Shell,
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
    let is_main = arguments.command.is_none();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().after_help(""))
        .render(&mut page)
        .context("cannot write to memory")?;
    if is_main {
        page.extend_from_slice(SECTIONS.as_bytes());
    }
    print(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the script of a shell.
pub(super) fn completions(arguments: &Completions) -> anyhow::Result<ExitCode> {
    let generate = |shell, name: &str| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), name, &mut script);
        script
    };
    print(&match arguments.shell {
        Shell::Bash => bash(&generate(Shell::Bash, "stuut_cache")),
        shell => generate(shell, "stuut-cache"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Sets the program's name in a bash script. `clap_complete` writes a hyphen in the name in two ways,
/// and then does not find the program's commands: so the script is generated for a name without one,
/// and the real name is used only where the script registers itself.
fn bash(script: &[u8]) -> Vec<u8> {
    let lines = String::from_utf8_lossy(script);
    let lines = lines
        .lines()
        .map(|line| match line.strip_suffix(" stuut_cache") {
            Some(rest) if rest.trim_start().starts_with("complete ") => {
                format!("{rest} stuut-cache\n")
            }
            _ => format!("{line}\n"),
        });
    lines.collect::<String>().into_bytes()
}
