//! `doctor`: the canary. Two tokens go through a running proxy by every way that an answer can
//! take, and each must get its own bytes.
//!
//! What a token should get is what it gets past the cache (`no-store`, under a key of its own).
//! Every check asks under keys that nobody else asks under, so it begins with nothing stored and
//! disturbs nobody; it purges but the call that it asks for.

mod checks;
mod patient;
mod purging;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use http::Uri;
use stuut_simulator::demo;

use super::ask::{Where, With};
use super::print;
use super::serve::run_to_end;
use crate::config::Config;
use patient::Patient;
use token::Token;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where services connect
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    proxy: Uri,
    /// Certificate authority of the proxy, in PEM, beside those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File whose first line is a token that may see the call [default: a token of the simulator]
    #[arg(
        long,
        value_name = "FILE",
        requires = "second_token_file",
        requires = "call"
    )]
    first_token_file: Option<PathBuf>,
    /// The same of a token that may not; if it may, bytes alone cannot tell whose they are
    #[arg(long, value_name = "FILE", requires = "first_token_file")]
    second_token_file: Option<PathBuf>,
    /// The call that is asked for
    #[arg(long, value_name = "ID", default_value = demo::CALL)]
    call: String,
    /// A call with a short lifetime, to see it stale
    #[arg(long, value_name = "ID", default_value = demo::ENDED_CALL)]
    young_call: String,
    /// How long to wait for a response to become stale
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Fail when something cannot be tried, too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    listener: Where,
    #[command(flatten)]
    with: With,
}

/// What a check has found: how it went well, or why not.
type Finding = Result<String, Trouble>;

/// Why a check has not gone well.
#[derive(Debug)]
enum Trouble {
    /// The proxy did what it must not do.
    Ill(String),
    /// It could not be tried here.
    Skipped(String),
}

/// How many checks ended how.
#[derive(Debug, Default)]
struct Tally {
    well: usize,
    ill: usize,
    skipped: usize,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let patient = patient(arguments)?;
    run_to_end(0, examine(arguments, patient))
}

fn patient(arguments: &Arguments) -> anyhow::Result<Patient> {
    let base = &arguments.proxy;
    ensure!(
        base.scheme().is_some() && base.authority().is_some() && base.path() == "/",
        "--proxy: write the proxy's address as a URL without a path, e.g. http://127.0.0.1:8080"
    );
    let read = |option: &'static str, file: &Option<PathBuf>, default: &'static str| match file {
        Some(path) => Token::read(path).context(option),
        None => Ok(Token::of_the_simulator(default)),
    };
    let mut settings = Config::default().upstream;
    settings.ca_file.clone_from(&arguments.ca_file);
    Patient::new(
        base,
        &settings,
        [
            read(
                "--first-token-file",
                &arguments.first_token_file,
                demo::TOKEN,
            )?,
            read(
                "--second-token-file",
                &arguments.second_token_file,
                demo::FOREIGN_TOKEN,
            )?,
        ],
        arguments.listener.client()?.with(arguments.with.token()?),
    )
}

async fn examine(arguments: &Arguments, patient: Patient) -> anyhow::Result<ExitCode> {
    let mut tally = Tally::default();
    let call = format!("/v1/calls/{}", arguments.call);
    let young = format!("/v1/calls/{}", arguments.young_call);
    if !tally.tell("reach", patient.meet(&call).await)? {
        print("nothing else can be tried\n")?;
        return Ok(ExitCode::FAILURE);
    }
    let patient = &patient;
    let checks = checks::Checks::new(patient, &call);
    tally.tell("hit", checks.hit().await)?;
    tally.tell("collapse", checks.collapse().await)?;
    tally.tell("view", checks.view().await)?;
    tally.tell("304", checks.not_modified().await)?;
    tally.tell("validate", checks.validate().await)?;
    tally.tell("stranger", checks.stranger().await)?;
    tally.tell("stale", checks.stale(&young, arguments.patience).await)?;
    tally.tell("purge", purging::purge(patient, &call).await)?;
    tally.tell("race", purging::race(patient, &call).await)?;
    tally.tell("secrets", purging::secrets(patient, &arguments.call).await)?;
    tally.conclude(arguments.strict)
}

impl Tally {
    /// One line a check; answers whether it went well.
    fn tell(&mut self, check: &str, finding: Finding) -> anyhow::Result<bool> {
        let well = finding.is_ok();
        let (word, text, count) = match finding {
            Ok(text) => ("ok", text, &mut self.well),
            Err(Trouble::Ill(text)) => ("FAIL", text, &mut self.ill),
            Err(Trouble::Skipped(text)) => ("skip", text, &mut self.skipped),
        };
        *count += 1;
        print(format!("{word:<5} {check:<9} {text}\n"))?;
        Ok(well)
    }

    fn conclude(&self, strict: bool) -> anyhow::Result<ExitCode> {
        let Self { well, ill, skipped } = self;
        let verdict = if *ill > 0 {
            "do not let anybody use this proxy"
        } else {
            "no byte crossed from one token to the other"
        };
        print(format!(
            "{verdict}: {well} checks went well, {ill} failed, {skipped} could not be tried\n"
        ))?;
        if *ill > 0 || (strict && *skipped > 0) {
            Ok(ExitCode::FAILURE)
        } else {
            Ok(ExitCode::SUCCESS)
        }
    }
}
