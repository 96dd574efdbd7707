//! The document of `GET /stats`, parsed. Fields added by a newer proxy are ignored; those that an
//! older one lacks are zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::admin::{Note, Severity};

/// Counts since the start and in the last minute, and the current state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatsDocument {
    pub(super) version: String,
    pub(super) started: String,
    /// The worst first.
    pub(super) notes: Vec<Note>,
    pub(super) ready: bool,
    pub(super) uptime_seconds: u64,
    pub(super) connections: u64,
    pub(super) in_flight: u64,
    pub(super) waiting: u64,
    pub(super) upstream_in_flight: u64,
    pub(super) cache: StoreState,
    pub(super) total: Counts,
    pub(super) last_minute: Counts,
    pub(super) fields: FieldShares,
    pub(super) callers: Vec<Busy>,
    /// Only with the admin token.
    #[serde(deserialize_with = "list_or_nothing")]
    pub(super) keys: Vec<Busy>,
    pub(super) history: RecentHistory,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StoreState {
    pub(super) entries: u64,
    pub(super) weight_bytes: u64,
    pub(super) capacity_bytes: u64,
}

/// The counts of a span of time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    /// For a point of the history: its time, in seconds since the start.
    pub(super) at: f64,
    pub(super) seconds: f64,
    pub(super) requests: BTreeMap<String, u64>,
    pub(super) hit_ratio: Option<f64>,
    pub(super) hit_seconds: Option<Quantiles>,
    pub(super) fetch_seconds: Option<Quantiles>,
    /// Until the head of the origin's response.
    pub(super) origin_seconds: Option<Quantiles>,
    pub(super) statuses: BTreeMap<String, u64>,
    pub(super) origin_requests: u64,
    pub(super) origin_errors: u64,
    pub(super) origin_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) view_bytes: u64,
    pub(super) coding_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FieldShares {
    pub(super) body_bytes: f64,
    pub(super) heaviest: Vec<FieldShare>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FieldShare {
    pub(super) name: String,
    pub(super) bytes: f64,
    pub(super) share: f64,
}

/// The requests of a scope or a path in the last minutes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Busy {
    #[serde(alias = "scope", alias = "path")]
    pub(super) key: String,
    /// The name of a scope, if it has one.
    pub(super) name: Option<String>,
    pub(super) requests: u64,
    pub(super) hit_ratio: Option<f64>,
    pub(super) bytes: u64,
    pub(super) origin_requests: u64,
    /// By status.
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) views: Vec<String>,
    /// Requests that wait.
    pub(super) waiting: u64,
    /// In seconds since 1970.
    pub(super) last_seen: Option<u64>,
}

/// A list, or a sentence in its place.
fn list_or_nothing<'de, D: Deserializer<'de>>(document: D) -> Result<Vec<Busy>, D::Error> {
    let value = serde_json::Value::deserialize(document)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RecentHistory {
    pub(super) seconds: Vec<Counts>,
}

/// A note on one line, with a sign for its severity.
pub(super) fn line(note: &Note) -> String {
    let sign = match note.severity {
        Severity::Bad => "✗",
        Severity::Warning => "!",
        Severity::Neutral => "·",
        Severity::Good => "✓",
    };
    let runbook = note.runbook.as_ref();
    let runbook = runbook.map(|section| format!(" ({section})"));
    let runbook = runbook.unwrap_or_default();
    format!("{sign} {}. {}{runbook}", note.title, note.text)
}

impl Counts {
    pub(super) fn requests(&self, outcome: &str) -> u64 {
        self.requests.get(outcome).copied().unwrap_or(0)
    }

    pub(super) fn all_requests(&self) -> u64 {
        self.requests.values().sum()
    }
}
