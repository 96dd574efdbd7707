//! What each replica of a group reports of itself, for the table of replicas on the dashboard.
//!
//! The engine keeps the reports unsealed, so a value may be anything: those of another form are left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Admin;
use super::notes::notes;
use super::stats::counted;
use crate::label::Label as _;

/// The report of one replica.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    host: String,
    version: String,
    uptime_seconds: u64,
    /// Its state in the group.
    shared: String,
    /// The title of its first note.
    note: String,
    weight_bytes: u64,
    last_minute: LastMinute,
}

#[derive(Debug, Serialize, Deserialize)]
struct LastMinute {
    seconds: f64,
    requests: BTreeMap<String, u64>,
    hit_ratio: Option<f64>,
    hit_seconds: Option<Quantiles>,
    origin_requests: u64,
    origin_errors: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Quantiles {
    p50: f64,
    p99: f64,
}

impl Admin {
    /// Publishes the report of this replica, if it is in a group.
    pub(super) async fn publish_report(&self) {
        let now = self.state();
        let Some(seen) = &now.shared else { return };
        let counts = counted(now.minute_span, &now.minute);
        let report = Report {
            host: rustix::system::uname().nodename().to_string_lossy().into(),
            version: now.version.to_owned(),
            uptime_seconds: now.uptime_seconds,
            shared: seen.state.as_str().to_owned(),
            note: notes(&now).swap_remove(0).title,
            weight_bytes: now.cache.weight_bytes,
            last_minute: serde_json::from_value(counts).expect("the counts have these members"),
        };
        self.shared.report(&json!(report).to_string()).await;
    }

    /// The reports of the group, as far as the engine has valid ones.
    pub(super) async fn reports(&self) -> Value {
        let found = self.shared.reports().await.into_iter();
        let read = found.filter_map(|(member, bytes)| {
            let report: Report = serde_json::from_slice(&bytes).ok()?;
            let mut report = json!(report);
            report["member"] = member.into();
            Some(report)
        });
        read.collect()
    }
}
