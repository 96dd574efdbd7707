//! `stats`: the statistics of a running proxy, as a table or as JSON.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::admin_client::AdminAccess;
use super::print;
use super::serve::run_to_end;
use super::stats_document::{Counts, StatsDocument, line as note_line};
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;
use crate::units::{bytes, count, percent, seconds, span};

#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    /// Print the JSON document of GET /stats, with the history
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AdminAccess,
}

pub(super) fn run(arguments: &StatsArguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.access.client()?;
    let history = if arguments.json { "?after=0" } else { "" };
    let target = format!("/stats{history}");
    let body = run_to_end(1, async { Ok(admin.get(&target).await?) })?;
    let invalid = || format!("the response of {} is not a /stats document", admin.address);
    let text = if arguments.json {
        String::from_utf8(body.to_vec()).with_context(invalid)?
    } else {
        table(&serde_json::from_slice(&body).with_context(invalid)?)
    };
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// A row of the table: its name, and its value from the counts of a span of time.
type TableRow = (&'static str, fn(&Counts) -> String);

/// The rows after the outcomes.
const ROWS: &[TableRow] = &[
    ("hit ratio", |counts| percent(counts.hit_ratio)),
    ("hit p50", |counts| {
        seconds(counts.hit_seconds.map(|times| times.p50))
    }),
    ("hit p99", |counts| {
        seconds(counts.hit_seconds.map(|times| times.p99))
    }),
    ("fetch p50", |counts| {
        seconds(counts.fetch_seconds.map(|times| times.p50))
    }),
    ("fetch p99", |counts| {
        seconds(counts.fetch_seconds.map(|times| times.p99))
    }),
    ("origin response p50", |counts| {
        seconds(counts.origin_seconds.map(|times| times.p50))
    }),
    ("origin response p99", |counts| {
        seconds(counts.origin_seconds.map(|times| times.p99))
    }),
    ("origin requests", |counts| count(counts.origin_requests)),
    ("origin errors", |counts| count(counts.origin_errors)),
    ("received from origin", |counts| bytes(counts.origin_bytes)),
    ("sent to clients", |counts| bytes(counts.sent_bytes)),
    ("  from memory", |counts| bytes(counts.memory_bytes)),
    ("saved by views", |counts| bytes(counts.view_bytes)),
    ("saved by compression", |counts| bytes(counts.coding_bytes)),
];

fn table(stats: &StatsDocument) -> String {
    let readiness = if stats.ready { "ready" } else { "draining" };
    let up = span(stats.uptime_seconds);
    let cache = &stats.cache;
    let (weight, capacity) = (bytes(cache.weight_bytes), bytes(cache.capacity_bytes));
    let notes = stats.notes.iter().map(|note| note_line(note) + "\n");
    let mut text = notes.collect::<String>();
    write!(
        text,
        "stuut-cache {}, {readiness}, up {up}\n\
         {} connections, {} requests in flight, {} of them waiting for the origin\n\
         {} stored responses, {weight} of {capacity}\n",
        stats.version,
        stats.connections,
        stats.in_flight,
        stats.upstream_in_flight,
        count(cache.entries)
    )
    .expect("writing to a string succeeds");
    let mut line = |name: &str, minute: &str, total: &str| {
        writeln!(text, "{name:<22}{minute:>14}{total:>16}").expect("writing to a string succeeds");
    };
    line("", "last minute", "since start");
    let mut row = |name: &str, of: &dyn Fn(&Counts) -> String| {
        line(name, &of(&stats.last_minute), &of(&stats.total));
    };
    row("requests", &|counts| count(counts.all_requests()));
    for outcome in OutcomeLabel::ALL.iter().map(|outcome| outcome.as_str()) {
        let name = format!("  {outcome}");
        row(&name, &|counts| count(counts.requests(outcome)));
    }
    for status in stats.total.statuses.keys() {
        let of = |counts: &Counts| counts.statuses.get(status).copied().unwrap_or(0);
        row(&format!("  status {status}"), &|counts| count(of(counts)));
    }
    for (name, of) in ROWS {
        row(name, of);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_readable() {
        let stats = serde_json::json!({
            "version": "1.2.3", "ready": true, "uptime_seconds": 7_400, "connections": 12,
            "in_flight": 3, "upstream_in_flight": 1,
            "cache": {"entries": 5_120, "weight_bytes": 230_000_000, "capacity_bytes": 268_435_456},
            "last_minute": {
                "seconds": 60.0, "requests": {"hit": 900, "miss": 100}, "hit_ratio": 0.9,
                "statuses": {"200": 990, "404": 10}, "origin_seconds": {"p50": 0.08, "p99": 0.2},
                "hit_seconds": {"p50": 0.000_05, "p90": 0.000_09, "p99": 0.000_3},
                "origin_requests": 100, "origin_errors": 2, "sent_bytes": 40_000_000,
            },
            "total": {"seconds": 7_400.0, "requests": {"hit": 1_234_567, "failed": 1},
                "statuses": {"200": 1_234_500, "404": 67, "503": 1}},
            "notes": [
                {"severity": "warning", "title": "The origin limits the rate", "text": "1 token waits.",
                 "runbook": "docs/runbook.md#stuutcacheratelimited"},
            ],
            "something": "new",
        });
        let stats: StatsDocument = serde_json::from_value(stats).expect("a document");
        insta::assert_snapshot!(table(&stats));
    }
}
