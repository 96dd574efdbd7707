//! The command line: commands and their arguments.

mod admin_client;
mod callers;
mod core_dumps;
mod demo;
mod digest;
mod doctor;
mod explain;
mod healthcheck;
mod manual;
mod open_files;
mod purge;
mod serve;
mod simulate;
mod stats;
mod stats_document;
mod systemd;
mod tail;
#[cfg(feature = "top")]
mod top;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use secrecy::zeroize::Zeroizing;

use crate::config::{self, Loaded, Problems, ScopeKey};
use crate::proxy::openapi;
use crate::server::Tls;
use crate::upstream::Connector;
use crate::version;
use crate::view;
use admin_client::AdminError;

/// Exit status for an invalid configuration (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// After the commands and options of `--help`.
const AFTER_HELP: &str = "\
Examples:
  stuut-cache demo                              see it work, without account or network
  stuut-cache --upstream https://api.stuut.ai   serve on 127.0.0.1:8080
  stuut-cache --listen :8080 --config proxy.toml
  stuut-cache check --config proxy.toml         every fault of a file, or all settings
  stuut-cache tail --status 5xx                 requests that fail, as they end
  stuut-cache explain /v1/calls/call_123        why was this not a hit?
  stuut-cache purge --call call_123             forget one call, for every token

Environment:
  STUUT_CACHE__SECTION__KEY   sets the key of a section, such as STUUT_CACHE__CACHE__CAPACITY=1GiB
  HTTPS_PROXY, NO_PROXY       the way to the origin, unless upstream.proxy is set
  NO_COLOR                    no colours in log lines for a terminal";

/// A caching reverse proxy for the Stuut API.
///
/// Services change only their base URL. Responses are stored separately for each bearer token.
#[derive(Debug, Parser)]
#[command(version = version::TEXT.as_str(), about, long_about, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (the default command)
    Serve(Settings),
    /// Check the configuration: print every error, or the settings in effect
    Check(Settings),
    /// Demonstrate the proxy on a simulated API, without account or network, until Ctrl-C
    Demo(demo::DemoArguments),
    /// Run only the simulated Stuut API
    Simulate(simulate::SimulateArguments),
    /// Check whether a proxy is ready: exit status 0 or 1
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Show live statistics of a proxy in this terminal
    #[cfg(feature = "top")]
    Top(top::TopArguments),
    /// Print the statistics of a proxy, since its start and for the last minute
    Stats(stats::StatsArguments),
    /// List the callers of a proxy: their requests, hits, refusals and views
    Callers(callers::CallersArguments),
    /// Print access lines of a proxy as its requests end
    Tail(tail::TailArguments),
    /// Explain what is stored for a path, and why its last request was not a hit
    Explain(explain::ExplainArguments),
    /// Invalidate stored responses of a proxy, immediately
    Purge(purge::PurgeArguments),
    /// Check that no token gets another token's responses: a canary for deploys, with an exit status
    Doctor(doctor::DoctorArguments),
    /// Print the digest of the token on standard input, for [scope.named]
    Digest,
    /// Print a new random key for the digests of scopes
    Key,
    /// Print openapi.json: the cached endpoints, as configured
    Openapi(Settings),
    /// Print a manual page, for man(1)
    Man(manual::Manual),
    /// Print a shell completion script
    Completions(manual::Completions),
}

/// The sources of the settings: a file, overridden by the environment
/// (`STUUT_CACHE__SECTION__KEY`), overridden by these flags.
#[derive(Debug, Args)]
struct Settings {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address the proxy listens on [server.listen]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the admin listener: dashboard, metrics, health, purge [admin.listen]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// URL of the origin server [upstream.url]
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
}

impl Cli {
    /// Runs the command; returns the exit status.
    ///
    /// # Errors
    ///
    /// If the command could not run.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        // Errors of the admin listener have exit statuses of their own.
        self.dispatch().or_else(|error| {
            if error.chain().any(is_closed_output) {
                // The reader has enough: `| head`.
                return Ok(ExitCode::SUCCESS);
            }
            Ok(error.downcast::<AdminError>()?.report())
        })
    }

    fn dispatch(self) -> anyhow::Result<ExitCode> {
        match self.command.unwrap_or(Command::Serve(self.settings)) {
            Command::Serve(settings) => {
                with_settings(&settings, |loaded| serve::run(&loaded, &|| load(&settings)))
            }
            Command::Check(settings) => with_settings(&settings, |loaded| {
                let upstream = &loaded.config.upstream;
                Connector::new(upstream.url.scheme(), upstream)?;
                print(config::render::effective(&loaded.config, &loaded.sources))?;
                Ok(ExitCode::SUCCESS)
            }),
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Simulate(arguments) => simulate::run(&arguments),
            Command::Healthcheck(arguments) => healthcheck::run(&arguments),
            Command::Stats(arguments) => stats::run(&arguments),
            #[cfg(feature = "top")]
            Command::Top(arguments) => top::run(&arguments),
            Command::Callers(arguments) => callers::run(&arguments),
            Command::Tail(arguments) => tail::run(&arguments),
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Purge(arguments) => purge::run(&arguments),
            Command::Doctor(arguments) => doctor::run(&arguments),
            Command::Digest => digest::run(),
            Command::Key => {
                print(Zeroizing::new(format!("{}\n", *ScopeKey::random().hex())).as_str())?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Openapi(settings) => with_settings(&settings, |loaded| {
                print(openapi::document(&loaded.config))?;
                Ok(ExitCode::SUCCESS)
            }),
            Command::Man(arguments) => manual::manual(&arguments),
            Command::Completions(arguments) => manual::completions(&arguments),
        }
    }
}

fn is_closed_output(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes to standard output, which may be full or closed.
fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_ref())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Runs a command with the settings, or reports every fault in them.
fn with_settings(
    settings: &Settings,
    run: impl FnOnce(Loaded) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    match load(settings) {
        Ok(loaded) => run(loaded),
        Err(problems) => {
            eprintln!("{problems}");
            Ok(ExitCode::from(EXIT_CONFIG))
        }
    }
}

fn load(settings: &Settings) -> Result<Loaded, Problems> {
    let flags = [
        ("--listen", "server.listen", &settings.listen),
        ("--admin-listen", "admin.listen", &settings.admin_listen),
        ("--upstream", "upstream.url", &settings.upstream),
    ];
    let flags: Vec<_> = flags
        .into_iter()
        .filter_map(|(name, key, value)| Some((name, key, value.as_deref()?)))
        .collect();
    let mut draft = config::draft(settings.config.as_deref(), &config::environment(), &flags);
    if let Err(faults) = view::Options::new(&draft.config().views) {
        for fault in faults {
            draft.refuse(&fault.key, fault.reason);
        }
    }
    if let Err(fault) = Tls::load(&draft.config().server.tls) {
        draft.refuse(fault.key, fault.reason);
    }
    if !cfg!(feature = "shared") && !draft.config().shared.url.is_empty() {
        let reason = "this program has no client of an engine; build it with --features shared, or \
                      leave the key empty";
        draft.refuse("shared.url", reason.to_owned());
    }
    draft.finish()
}
