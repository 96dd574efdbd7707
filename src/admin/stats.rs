//! `GET /stats`: the JSON document behind the dashboard, `top` and `stats`.
//!
//! Counts since the start and in the last minute; with `?after=SECONDS`, also the points of the
//! history after that time since the start (`after=0`: all). A client polls with the time of its
//! last point.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::history::{Levels, Point};
use super::{Admin, AdminResponse, json, text};
use crate::label::Label as _;
use crate::telemetry::{Heaviest, MetricsSnapshot, rounded_seconds};

/// Time between two points of the history.
const INTERVAL: Duration = Duration::from_secs(1);

/// Points between two reports to the other replicas.
const REPORT_EVERY: u32 = 5;

/// Maximum fields listed.
const MAX_FIELDS: usize = 20;

impl Admin {
    /// Records the history until the process exits.
    pub async fn keep_history(self: std::sync::Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for tick in (0..REPORT_EVERY).cycle() {
            ticks.tick().await;
            self.store.update_gauges();
            self.shared.update_gauges();
            let levels = Levels {
                weight: self.metrics.weight.get(),
                in_flight: self.metrics.in_flight.get(),
            };
            let (now, total) = (self.clock.uptime(), self.metrics.snapshot());
            self.history().add(now, &total, levels);
            if tick == 0 && self.shared.seen().is_some() {
                self.shared.report(&self.report()).await;
            }
        }
    }

    /// This replica in the dashboards of the others.
    fn report(&self) -> String {
        let now = self.state();
        let host = rustix::system::uname();
        let report = json!({
            "host": host.nodename().to_string_lossy(),
            "version": now.version,
            "uptime_seconds": now.uptime_seconds,
            "shared": now.shared.as_ref().map(|seen| seen.state.as_str()),
            "member": now.shared.as_ref().map(|seen| &seen.member),
            "weight_bytes": now.cache.weight_bytes,
            "last_minute": counted(now.minute_span, &now.minute),
        });
        report.to_string()
    }

    pub(super) fn stats(&self, query: Option<&str>) -> AdminResponse {
        let after = query.map(after);
        if after == Some(None) {
            let usage = "specify no query, or ?after=SECONDS since the start\n";
            return text(StatusCode::BAD_REQUEST, usage);
        }
        let now = self.state();
        let mut stats = now.document();
        stats["started"] = json!(self.started);
        stats["total"] = counted(self.clock.uptime(), &now.total);
        let results = self.metrics.upstream_requests.results();
        stats["total"]["origin_results"] = results
            .map(|(result, count)| (result.to_owned(), json!(count)))
            .collect::<Map<_, _>>()
            .into();
        stats["fields"] = fields(&self.metrics.field_weights.heaviest());
        if let Some(after) = after.flatten() {
            let history = self.history();
            stats["history"] = json!({
                "seconds": history.seconds.after(after).map(point).collect::<Vec<_>>(),
                "minutes": history.minutes.after(after).map(point).collect::<Vec<_>>(),
            });
        }
        json(StatusCode::OK, &stats)
    }
}

fn after(query: &str) -> Option<Duration> {
    let seconds = query.strip_prefix("after=")?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn point(point: &Point) -> Value {
    let mut value = counted(point.span, &point.counted);
    value["at"] = json!(rounded_seconds(point.at));
    value["weight_bytes"] = json!(point.levels.weight);
    value["in_flight"] = json!(point.levels.in_flight);
    value
}

/// The counts of a span of time.
pub(super) fn counted(span: Duration, counted: &MetricsSnapshot) -> Value {
    let mut value = json!(counted);
    value["seconds"] = json!(rounded_seconds(span));
    value["hit_ratio"] = json!(counted.requests.hit_ratio());
    value
}

fn fields(heaviest: &Heaviest) -> Value {
    let fields = heaviest.fields.iter();
    let named = fields.take(MAX_FIELDS).map(|(name, bytes)| {
        json!({
            "name": name,
            "bytes": bytes.round(),
            "share": (bytes / heaviest.body * 1e4).round() / 1e4,
        })
    });
    json!({
        "fills_measured": heaviest.measured,
        "body_bytes": heaviest.body.round(),
        "heaviest": named.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_is_a_number_of_seconds() {
        assert_eq!(after("after=0"), Some(Duration::ZERO));
        assert_eq!(after("after=1.5"), Some(Duration::from_millis(1_500)));
        for bad in [
            "",
            "after",
            "after=",
            "after=-1",
            "after=x",
            "after=NaN",
            "after=inf",
            "a=1",
        ] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }
}
