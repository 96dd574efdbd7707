//! `callers`: who sends requests to a running proxy, and what they cost the origin.

use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::Value;

use super::admin_client::AdminAccess;
use super::print;
use super::serve::run_to_end;
use super::stats_document::Busy;
use crate::clock::Clock;
use crate::units::{bytes, count, percent, printable, span};

#[derive(Debug, Args)]
pub(super) struct CallersArguments {
    /// Print the list of GET /stats?callers=1
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AdminAccess,
}

pub(super) fn run(arguments: &CallersArguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.access.client()?;
    let body = run_to_end(1, async { Ok(admin.get("/stats?callers=1").await?) })?;
    let invalid = || format!("the response of {} is not a /stats document", admin.address);
    let mut stats: Value = serde_json::from_slice(&body).with_context(invalid)?;
    let callers = stats["callers"].take();
    ensure!(
        callers.is_array(),
        "the process of {} has no log, so it counts no callers",
        admin.address
    );
    let text = if arguments.json {
        format!("{callers:#}\n")
    } else {
        let now = Clock::system().now().wall.duration_since(UNIX_EPOCH);
        table(
            &serde_json::from_value::<Vec<Busy>>(callers).with_context(invalid)?,
            now.unwrap_or_default().as_secs(),
        )
    };
    print(printable(text))?;
    Ok(ExitCode::SUCCESS)
}

/// The callers, one a line. `now` is in seconds since 1970.
fn table(callers: &[Busy], now: u64) -> String {
    let mut text = format!(
        "{:<20}{:>9}{:>10}{:>7}{:>8}{:>10}{:>6}{:>6}{:>6}{:>9}{:>10}  views\n",
        "caller",
        "scope",
        "requests",
        "hits",
        "origin",
        "sent",
        "401",
        "403",
        "429",
        "waiting",
        "last seen"
    );
    for caller in callers {
        let refused = |status: &str| count(caller.refused.get(status).copied().unwrap_or(0));
        let last = caller.last_seen.map(|last| span(now.saturating_sub(last)));
        let views = caller.views.join(" · ");
        let line = format!(
            "{:<20}{:>9}{:>10}{:>7}{:>8}{:>10}{:>6}{:>6}{:>6}{:>9}{:>10}  {views}",
            caller.name.as_deref().unwrap_or("–"),
            caller.key,
            count(caller.requests),
            percent(caller.hit_ratio),
            count(caller.origin_requests),
            bytes(caller.bytes),
            refused("401"),
            refused("403"),
            refused("429"),
            count(caller.waiting),
            last.unwrap_or_else(|| "–".to_owned()),
        );
        text.extend([line.trim_end(), "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_readable() {
        let callers = serde_json::json!([
            {
                "scope": "1a2b3c4d", "name": "billing", "requests": 12_345, "hit_ratio": 0.943,
                "origin_requests": 712, "bytes": 98_000_000, "last_seen": 1_000,
                "waiting": 4,
                "refused": {"401": 0, "403": 2, "429": 31},
                "views": ["strip=invoices,partner", "fields=id,status"],
            },
            {"scope": "00000001", "name": null, "requests": 3, "last_seen": 980, "new": true},
            {"scope": "00000002", "name": "nightly-export", "last_seen": null},
        ]);
        let callers: Vec<Busy> = serde_json::from_value(callers).expect("a list");
        insta::assert_snapshot!(table(&callers, 1_003));
    }
}
