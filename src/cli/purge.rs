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
    what: What,
    #[command(flatten)]
    listener: AdminAddress,
    #[command(flatten)]
    token: AdminToken,
}

/// One of these; nothing is purged by leaving it out.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
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
    voided: String,
}

pub(super) fn run(arguments: &PurgeArguments) -> anyhow::Result<ExitCode> {
    let query = arguments.what.query()?;
    let admin = arguments.listener.client(arguments.token.read()?)?;
    let target = format!("/purge?{query}");
    let answer = run_to_end(1, async { Ok(admin.post(&target).await?) })?;
    let purged: Purged = serde_json::from_slice(&answer)
        .with_context(|| format!("{} is not an admin listener", admin.address))?;
    print(format!("invalidated: {}\n", purged.voided))?;
    Ok(ExitCode::SUCCESS)
}

impl What {
    fn query(&self) -> anyhow::Result<String> {
        let named = [
            ("call", &self.call),
            ("path", &self.path),
            ("scope", &self.scope),
        ];
        let named = named
            .into_iter()
            .find_map(|(key, value)| Some((key, value.as_ref()?)));
        let Some((key, value)) = named else {
            return Ok("all".to_owned());
        };
        // Other bytes cannot be in a request target: they would cut it off or change its meaning.
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"#&?\"<>\\^`{|}".contains(&byte);
        ensure!(
            !value.is_empty() && value.bytes().all(plain),
            "--{key}: write it as in a request, percent-encoded where needed"
        );
        Ok(format!("{key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Option<String> {
        let what = What {
            call: Some(id.to_owned()),
            path: None,
            scope: None,
            all: false,
        };
        what.query().ok()
    }

    #[test]
    fn an_id_is_sent_as_it_is_or_not_at_all() {
        assert_eq!(call("call_1").as_deref(), Some("call=call_1"));
        assert_eq!(call("a%20b").as_deref(), Some("call=a%20b"));
        for other in ["", "a b", "a&all", "a#b", "a?b", "ä"] {
            assert_eq!(call(other), None, "{other}");
        }
    }
}
