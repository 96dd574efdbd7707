//! `tail`: the access lines of a running proxy as its requests end.

use std::process::ExitCode;

use clap::Args;

use super::admin_client::{AdminAccess, checked};
use super::print;
use super::serve::run_to_end;
use crate::config::LogFormat;
use crate::telemetry::LogStyle;

#[derive(Debug, Args)]
pub(super) struct TailArguments {
    /// Only paths that begin like this
    #[arg(long, value_parser = |value: &str| checked("path", value))]
    path: Option<String>,
    /// Only this status, or a class such as 5xx
    #[arg(long, value_parser = |value: &str| checked("status", value))]
    status: Option<String>,
    /// Only this outcome, such as miss or failed
    #[arg(long, value_parser = |value: &str| checked("outcome", value))]
    outcome: Option<String>,
    /// Only one token: the digest is the scope in the access log
    #[arg(long, value_name = "DIGEST", value_parser = |value: &str| checked("scope", value))]
    scope: Option<String>,
    /// Only requests that took at least this long, such as 100ms
    #[arg(long, value_name = "TIME", value_parser = |value: &str| checked("slow", value))]
    slow: Option<String>,
    /// Print JSON lines, as in the log
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AdminAccess,
}

pub(super) fn run(arguments: &TailArguments) -> anyhow::Result<ExitCode> {
    let mut target = "/tail?style=".to_owned();
    target.push_str(match LogStyle::on_stdout(LogFormat::Text) {
        _ if arguments.json => "json",
        LogStyle::Text { coloured: true } => "coloured",
        _ => "text",
    });
    for (name, value) in [
        ("path", &arguments.path),
        ("status", &arguments.status),
        ("outcome", &arguments.outcome),
        ("scope", &arguments.scope),
        ("slow", &arguments.slow),
    ] {
        if let Some(value) = value {
            target.extend(["&", name, "=", value]);
        }
    }
    let admin = arguments.access.client()?;
    run_to_end(1, async { admin.stream(&target, print).await })?;
    Ok(ExitCode::SUCCESS)
}
