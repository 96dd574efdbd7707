//! `purge`: invalidates stored responses.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Deserialize;

use super::admin_client::{AdminAddress, AdminToken};
use super::print;
use super::serve::run_to_end;

#[derive(Debug, Args)]
pub(super) struct PurgeArguments {
    #[command(flatten)]
    selection: Selection,
    /// Exit with 1 if this replica had nothing stored or in flight for it
    #[arg(long)]
    expect_match: bool,
    #[command(flatten)]
    listener: AdminAddress,
    #[command(flatten)]
    token: AdminToken,
}

/// Exactly one of these options: without any, the command must not purge everything.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Selection {
    /// One call, for every token and query
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// The same by path, e.g. where a route has several parameters
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// All responses stored for one token: the digest is the scope in the access log
    #[arg(long, value_name = "DIGEST")]
    scope: Option<String>,
    /// All stored responses
    #[arg(long)]
    all: bool,
}

#[derive(Deserialize)]
struct Purged {
    invalidated: String,
    stored: usize,
    in_flight: usize,
    /// With a shared level: the replicas of the group, and those that have confirmed.
    replicas: Option<usize>,
    #[serde(default)]
    confirmed: usize,
    #[serde(default)]
    ms: u64,
}

pub(super) fn run(arguments: &PurgeArguments) -> anyhow::Result<ExitCode> {
    let query = arguments.selection.query()?;
    let admin = arguments.listener.client(arguments.token.read()?)?;
    let target = format!("/purge?{query}");
    let body = run_to_end(1, async { Ok(admin.post(&target).await?) })?;
    let Purged {
        invalidated,
        stored,
        in_flight,
        replicas,
        confirmed,
        ms,
    } = serde_json::from_slice(&body)
        .with_context(|| format!("{} is not an admin listener", admin.address))?;
    print(format!(
        "invalidated: {invalidated} (stored: {stored}, in flight: {in_flight})\n"
    ))?;
    if let Some(replicas) = replicas {
        print(format!(
            "confirmed by {confirmed} of {replicas} replicas in {ms} ms\n"
        ))?;
        if confirmed < replicas {
            eprintln!(
                "stuut-cache: the others use nothing from before, as their leases have ended; unless this replica is the one that is cut off (/status)"
            );
        }
    }
    if stored + in_flight > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let others = match replicas {
        Some(_) => "others may have had it",
        None => "another one may",
    };
    eprintln!(
        "stuut-cache: this replica had nothing for it; {others}, or it is spelled otherwise (/explain)"
    );
    Ok(ExitCode::from(u8::from(arguments.expect_match)))
}

impl Selection {
    fn query(&self) -> anyhow::Result<String> {
        let options = [
            ("call", &self.call),
            ("path", &self.path),
            ("scope", &self.scope),
        ];
        let given = options
            .into_iter()
            .find_map(|(key, value)| Some((key, value.as_ref()?)));
        let Some((key, value)) = given else {
            return Ok("all".to_owned());
        };
        // Other bytes are invalid in a request target, or would end it or change its meaning.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"#&?\"<>\\^`{|}".contains(&byte);
        ensure!(
            !value.is_empty() && value.bytes().all(is_plain),
            "--{key}: write it as in a request, percent-encoded where needed"
        );
        Ok(format!("{key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Option<String> {
        let selection = Selection {
            call: Some(id.to_owned()),
            path: None,
            scope: None,
            all: false,
        };
        selection.query().ok()
    }

    #[test]
    fn an_id_is_sent_unchanged_or_refused() {
        assert_eq!(call("call_1").as_deref(), Some("call=call_1"));
        assert_eq!(call("a%20b").as_deref(), Some("call=a%20b"));
        for other in ["", "a b", "a&all", "a#b", "a?b", "ä"] {
            assert_eq!(call(other), None, "{other}");
        }
    }
}
