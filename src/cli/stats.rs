//! `stats`: the counts of a running proxy, for people or as JSON.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::ask::Where;
use super::feed::{Counted, Stats};
use super::figures::{bytes, count, percent, seconds, span};
use super::print;
use super::serve::run_to_end;
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print what GET /stats answers, the history included
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    listener: Where,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.listener.client()?;
    let target = if arguments.json {
        "/stats?after=0"
    } else {
        "/stats"
    };
    let answer = match run_to_end(1, async { Ok(admin.get(target).await) })? {
        Ok(answer) => answer,
        Err(failure) => return Ok(failure.tell()),
    };
    let no_feed = || format!("what {} answers is not the feed", admin.address());
    if arguments.json {
        let text = String::from_utf8(answer.to_vec()).with_context(no_feed)?;
        print(text)?;
    } else {
        let stats: Stats = serde_json::from_slice(&answer).with_context(no_feed)?;
        print(table(&stats))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(stats: &Stats) -> String {
    let mut text = String::new();
    let readiness = if stats.ready { "ready" } else { "draining" };
    let up = span(Duration::from_secs(stats.uptime_seconds));
    let (minute, total) = (&stats.last_minute, &stats.total);
    let mut line = |line: String| {
        writeln!(text, "{}", line.trim_end()).expect("a string takes it");
    };
    line(format!(
        "stuut-cache {}, {readiness}, up {up}",
        stats.version
    ));
    line(format!(
        "{} connections, {} requests in flight, {} of them wait for the origin",
        stats.connections, stats.in_flight, stats.upstream_in_flight
    ));
    let cache = &stats.cache;
    let (weight, capacity) = (bytes(cache.weight_bytes), bytes(cache.capacity_bytes));
    line(format!(
        "{} stored responses, {weight} of {capacity}\n",
        count(cache.entries)
    ));
    let mut row = |name: &str, of: &dyn Fn(&Counted) -> String| {
        line(format!("{name:<22}{:>14}{:>16}", of(minute), of(total)));
    };
    row("", &|counted| {
        let whole = std::ptr::eq(counted, total);
        if whole { "since start" } else { "last minute" }.to_owned()
    });
    row("requests", &|counted| count(counted.all_requests()));
    for outcome in OutcomeLabel::ALL {
        let name = outcome.as_str();
        row(&format!("  {name}"), &|counted| {
            count(counted.requests(name))
        });
    }
    row("hit ratio", &|counted| percent(counted.hit_ratio));
    row("hit p50", &|counted| {
        seconds(counted.hit_seconds.map(|taken| taken.p50))
    });
    row("hit p99", &|counted| {
        seconds(counted.hit_seconds.map(|taken| taken.p99))
    });
    row("miss p50", &|counted| {
        seconds(counted.miss_seconds.map(|taken| taken.p50))
    });
    row("miss p99", &|counted| {
        seconds(counted.miss_seconds.map(|taken| taken.p99))
    });
    row("origin requests", &|counted| count(counted.origin_requests));
    row("origin errors", &|counted| count(counted.origin_errors));
    row("read from the origin", &|counted| {
        bytes(counted.origin_bytes)
    });
    row("sent to clients", &|counted| bytes(counted.sent_bytes));
    row("  of it from memory", &|counted| {
        bytes(counted.memory_bytes)
    });
    row("saved by views", &|counted| bytes(counted.view_bytes));
    row("saved by codings", &|counted| bytes(counted.coding_bytes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read() {
        let stats = serde_json::json!({
            "version": "1.2.3", "ready": true, "uptime_seconds": 7_400, "connections": 12,
            "in_flight": 3, "upstream_in_flight": 1,
            "cache": {"entries": 5_120, "weight_bytes": 230_000_000, "capacity_bytes": 268_435_456},
            "last_minute": {
                "seconds": 60.0, "requests": {"hit": 900, "miss": 100}, "hit_ratio": 0.9,
                "hit_seconds": {"p50": 0.000_05, "p90": 0.000_09, "p99": 0.000_3},
                "origin_requests": 100, "origin_errors": 2, "sent_bytes": 40_000_000,
            },
            "total": {"seconds": 7_400.0, "requests": {"hit": 1_234_567, "failed": 1}},
            "something": "new",
        });
        let stats: Stats = serde_json::from_value(stats).expect("the feed");
        insta::assert_snapshot!(table(&stats));
    }
}
