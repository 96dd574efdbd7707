//! `GET /stats`: the JSON document behind the dashboard, `top` and `stats`.
//!
//! Counts since the start and in the last minute; with `?after=SECONDS`, also the points of the
//! history after that time since the start (`after=0`: all). A client polls with the time of its
//! last point. `keys=1` adds the busiest paths, for those who may purge; without it, no page has the id of
//! a call. `callers=1` lists all callers that are counted, instead of the busiest.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::callers::{MAX_BUSIEST, callers, counts_of};
use super::explain::HIDDEN;
use super::history::{Levels, Point};
use super::query::parameters;
use super::{Admin, AdminResponse, json, text};
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
            self.history.lock().add(now, &total, levels);
            if tick == 0 {
                self.publish_report().await;
            }
        }
    }

    /// `is_admin`: with the admin token. Paths may be sensitive.
    pub(super) fn stats(&self, query: Option<&str>, is_admin: bool) -> AdminResponse {
        let Some(query) = Query::parse(query) else {
            let usage = "specify ?after=SECONDS since the start, keys=1 for paths, and callers=1 for all callers, or no query\n";
            return text(StatusCode::BAD_REQUEST, usage);
        };
        let now = self.state();
        let mut stats = now.document();
        stats["started"] = json!(self.started);
        stats["total"] = counted(self.clock.uptime(), &now.total);
        stats["fields"] = fields(&self.metrics.field_weights.heaviest());
        if let Some(log) = &self.log {
            let counts = log.busiest.counts(self.clock.now().wall);
            stats["callers"] = callers(
                &counts,
                &log.callers,
                self.waiting.by_scope(),
                query.all_callers,
            );
            if query.keys {
                stats["keys"] = if is_admin {
                    let busiest = counts.paths().into_iter().take(MAX_BUSIEST);
                    busiest
                        .map(|(path, traffic)| counts_of("path", &path, &traffic))
                        .collect()
                } else {
                    json!(HIDDEN)
                };
            }
        }
        if let Some(after) = query.after {
            let history = self.history.lock();
            stats["history"] = json!({
                "seconds": history.seconds.after(after).map(point).collect::<Vec<_>>(),
                "minutes": history.minutes.after(after).map(point).collect::<Vec<_>>(),
            });
        }
        json(StatusCode::OK, &stats)
    }
}

#[derive(Debug, Default, PartialEq)]
struct Query {
    /// The time after which points are requested.
    after: Option<Duration>,
    /// Whether paths are.
    keys: bool,
    all_callers: bool,
}

impl Query {
    fn parse(query: Option<&str>) -> Option<Self> {
        let Some(query) = query else {
            return Some(Self::default());
        };
        let [after, keys, callers] = parameters(query, ["after", "keys", "callers"])?;
        let after = match after {
            Some(seconds) => Some(Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?),
            None => None,
        };
        let are_ones = [keys, callers].iter().flatten().all(|given| *given == "1");
        are_ones.then_some(Self {
            after,
            keys: keys.is_some(),
            all_callers: callers.is_some(),
        })
    }
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
        let after = |query| Query::parse(Some(query));
        assert_eq!(Query::parse(None), Some(Query::default()));
        let seconds = |query| after(query).and_then(|query| query.after);
        assert_eq!(seconds("after=0"), Some(Duration::ZERO));
        let all = Query {
            after: Some(Duration::from_millis(1_500)),
            keys: true,
            all_callers: true,
        };
        assert_eq!(after("keys=1&after=1.5&callers=1"), Some(all));
        for bad in [
            "",
            "after",
            "after=",
            "after=-1",
            "after=x",
            "after=NaN",
            "after=inf",
            "a=1",
            "keys=x",
            "callers=0",
        ] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }
}
