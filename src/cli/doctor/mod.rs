//! `doctor`: a canary. Sends requests of two tokens through every path of a running proxy, and
//! checks that each token gets its own responses.
//!
//! The baseline is what a token gets past the cache (`no-store`, with a unique key). Every check
//! uses unique keys, so that it starts with nothing stored and disturbs no client; it purges only
//! the given call.

/// Returns from a check that failed, with this text.
macro_rules! fail {
    ($($text:tt)+) => {
        return Err(NotPassed::Failed(format!($($text)+)))
    };
}

/// Returns from a check that cannot run here, with this text.
macro_rules! skip {
    ($($text:tt)+) => {
        return Err(NotPassed::Skipped(format!($($text)+)))
    };
}

mod checks;
mod engine;
mod group;
mod purging;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use http::uri::Authority;
use http::{Method, Uri};
use stuut_simulator::demo;

use super::admin_client::{AdminAddress, AdminToken, address, token_from};
use super::print;
use super::serve::run_to_end;
use crate::config::{self, Loaded};
use crate::process::Process;
use checks::Checks;
use group::{Replicas, Revocable};
use target::{Target, nonce};

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// URL of the proxy; several: replicas of one group, which are also checked together
    #[arg(
        long = "proxy",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    proxies: Vec<Uri>,
    /// PEM file of certificate authorities to trust, in addition to the system's
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
    /// File whose first line is a token that may not; if it may, bodies cannot show a leak
    #[arg(long, value_name = "FILE", requires = "first_token_file")]
    second_token_file: Option<PathBuf>,
    /// ID of the call to request
    #[arg(long, value_name = "ID", default_value = demo::CALL)]
    call: String,
    /// ID of a call with a short lifetime, for the check of stale responses
    #[arg(long, value_name = "ID", default_value = demo::ENDED_CALL)]
    young_call: String,
    /// Longest time to wait for a response to become stale
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Also fail when a check is skipped
    #[arg(long)]
    strict: bool,
    /// Body of a PATCH to the call, for the check of writes through replicas [default: an empty object, without token files]
    #[arg(long, value_name = "JSON")]
    patch: Option<String>,
    /// File whose first line is a token that may see the call, and that the check of refusals through replicas revokes [default: a temporary one of the simulator, without token files]
    #[arg(long, value_name = "FILE")]
    revocable_token_file: Option<PathBuf>,
    /// Request that revokes the token it is sent with
    #[arg(long, value_name = "METHOD PATH", default_value = "DELETE /v1/token", value_parser = method_and_path)]
    revoke: (Method, String),
    /// Configuration file whose `[shared]` names the replicas' engine, for the check of what is stored there
    #[arg(long, value_name = "FILE")]
    engine_config: Option<PathBuf>,
    #[arg(
        long = "admin",
        value_name = "ADDR",
        value_parser = address,
        help = "Address of the admin listener of each --proxy, in their order [default of a single one: STUUT_CACHE__ADMIN__LISTEN, else 127.0.0.1:9090]"
    )]
    admins: Vec<Authority>,
    #[command(flatten)]
    token: AdminToken,
}

/// The result of a check: how it passed, or why not.
type CheckResult = Result<String, NotPassed>;

/// Why a check did not pass.
#[derive(Debug)]
enum NotPassed {
    /// The proxy broke a guarantee.
    Failed(String),
    /// The check cannot run here.
    Skipped(String),
}

/// Counts of checks by result.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

pub(super) fn run(arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    let (proxies, admins) = (&arguments.proxies, &arguments.admins);
    ensure!(
        proxies.len() == 1 || proxies.len() == admins.len(),
        "write an --admin for each --proxy"
    );
    let targets = proxies.iter().enumerate().map(|(n, base)| {
        let admin = admins.get(n).cloned();
        target(arguments, base, &AdminAddress { admin })
    });
    let targets = targets.collect::<anyhow::Result<Vec<_>>>()?;
    let revocable = arguments.revocable()?;
    let file = arguments.engine_config.as_deref();
    let reader = file.map(|file| config::draft(Some(file), &config::environment(), &[]).finish());
    let reader = reader.transpose().context("--engine-config")?;
    run_to_end(
        0,
        run_checks(arguments, &targets, revocable, reader.as_ref()),
    )
}

impl DoctorArguments {
    /// The token to revoke: never one that is not given for that.
    fn revocable(&self) -> anyhow::Result<Option<Revocable>> {
        let token = match &self.revocable_token_file {
            Some(file) => Some(token_from(file, "--revocable-token-file")?),
            None if self.first_token_file.is_some() => None,
            None => Some(format!("{}~{}", demo::TOKEN, nonce()).into()),
        };
        let (method, path) = self.revoke.clone();
        Ok(token.map(|token| Revocable {
            token,
            method,
            path,
        }))
    }
}

fn method_and_path(text: &str) -> Result<(Method, String), String> {
    let parts = text.split_once(' ').and_then(|(method, path)| {
        let method = method.parse().ok()?;
        path.starts_with('/').then(|| (method, path.to_owned()))
    });
    parts.ok_or_else(|| "write a method and a path, e.g. \"DELETE /v1/token\"".to_owned())
}

fn target(
    arguments: &DoctorArguments,
    base: &Uri,
    listener: &AdminAddress,
) -> anyhow::Result<Target> {
    ensure!(
        base.scheme().is_some() && base.authority().is_some() && base.path() == "/",
        "--proxy: write the proxy's address as a URL without a path, e.g. http://127.0.0.1:8080"
    );
    let token = |option: &'static str, file: &Option<PathBuf>, default: &str| match file {
        Some(path) => token_from(path, option),
        None => Ok(default.to_owned().into()),
    };
    let (first, second) = (&arguments.first_token_file, &arguments.second_token_file);
    let tokens = [
        token("--first-token-file", first, demo::TOKEN)?,
        token("--second-token-file", second, demo::FOREIGN_TOKEN)?,
    ];
    let admin = listener.client(arguments.token.read()?)?;
    Target::new(base, arguments.ca_file.as_deref(), tokens, admin)
}

async fn run_checks(
    arguments: &DoctorArguments,
    proxies: &[Target],
    revocable: Option<Revocable>,
    reader: Option<&Loaded>,
) -> anyhow::Result<ExitCode> {
    let proxy = &proxies[0];
    let mut tally = Tally::default();
    let call = &format!("/v1/calls/{}", arguments.call);
    let young = format!("/v1/calls/{}", arguments.young_call);
    if !tally.report("reach", proxy.reach(call).await)? {
        print("the other checks were not run\n")?;
        return Ok(ExitCode::FAILURE);
    }
    let checks = Checks { proxy, call };
    tally.report("hit", checks.hit().await)?;
    tally.report("collapse", checks.collapse().await)?;
    tally.report("view", checks.view().await)?;
    tally.report("304", checks.not_modified().await)?;
    tally.report("validate", checks.validate().await)?;
    tally.report("stranger", checks.stranger().await)?;
    tally.report("stale", checks.stale(&young, arguments.patience).await)?;
    tally.report("purge", checks.purge().await)?;
    tally.report("race", checks.race().await)?;
    tally.report("secrets", checks.secrets(&arguments.call).await)?;
    if proxies.len() > 1 {
        let default = || {
            arguments
                .first_token_file
                .is_none()
                .then(|| "{}".to_owned())
        };
        let replicas = Replicas {
            proxies,
            call,
            patch: arguments.patch.clone().or_else(default).map(Bytes::from),
            revocable,
            reader,
        };
        tally.report("group", replicas.group().await)?;
        tally.report("engine", replicas.engine().await)?;
        tally.report("shared", replicas.shared().await)?;
        tally.report("together", replicas.together().await)?;
        tally.report("purges", replicas.purge().await)?;
        tally.report("writes", replicas.write().await)?;
        tally.report("revoked", replicas.revoked().await)?;
        tally.report("dump", replicas.dump(&arguments.call).await)?;
    }
    tally.conclude(arguments.strict)
}

/// Checks what replicas of the demo share; returns whether they share all. `patience`: how long they may
/// need to become a group, if they have an engine.
pub(super) async fn check_demo(
    replicas: &[Process],
    patience: Option<Duration>,
) -> anyhow::Result<bool> {
    let target = |replica: &Process| {
        let base = format!("http://{}", replica.address).parse()?;
        let admin = Some(replica.admin_address.to_string().parse()?);
        let tokens = [demo::TOKEN, demo::FOREIGN_TOKEN].map(|token| token.to_owned().into());
        Target::new(&base, None, tokens, AdminAddress { admin }.client(None)?)
    };
    let proxies: anyhow::Result<Vec<_>> = replicas.iter().map(target).collect();
    let replicas = Replicas {
        proxies: &proxies?,
        call: &format!("/v1/calls/{}", demo::CALL),
        patch: Some(Bytes::from_static(b"{}")),
        revocable: None,
        reader: None,
    };
    let joining = async {
        while replicas.group().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // If they do not become one in time, the check says why.
    let _ = tokio::time::timeout(patience.unwrap_or_default(), joining).await;
    let mut tally = Tally::default();
    tally.report("group", replicas.group().await)?;
    tally.report("shared", replicas.shared().await)?;
    tally.report("together", replicas.together().await)?;
    tally.report("purges", replicas.purge().await)?;
    tally.report("writes", replicas.write().await)?;
    Ok(tally.failed + tally.skipped == 0)
}

impl Tally {
    /// Prints a line for a check; returns whether it passed.
    fn report(&mut self, check: &str, result: CheckResult) -> anyhow::Result<bool> {
        let passed = result.is_ok();
        let (label, text, count) = match result {
            Ok(text) => ("ok", text, &mut self.passed),
            Err(NotPassed::Failed(text)) => ("FAIL", text, &mut self.failed),
            Err(NotPassed::Skipped(text)) => ("skip", text, &mut self.skipped),
        };
        *count += 1;
        print(format!("{label:<5} {check:<9} {text}\n"))?;
        Ok(passed)
    }

    fn conclude(&self, strict: bool) -> anyhow::Result<ExitCode> {
        let (failed, skipped) = (self.failed, self.skipped);
        let verdict = if failed > 0 {
            "do not use this proxy"
        } else {
            "no token got the other token's response"
        };
        print(format!(
            "{verdict}: {} checks passed, {failed} failed, {skipped} skipped\n",
            self.passed
        ))?;
        if failed > 0 || (strict && skipped > 0) {
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}
