//! What `GET /stats` of the admin listener says, read back. What a newer proxy adds is passed over,
//! and what an older one leaves out is nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Counts since the start and in the last minute, and what is now.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    pub(super) version: String,
    #[cfg(feature = "top")]
    pub(super) started: String,
    pub(super) ready: bool,
    pub(super) uptime_seconds: u64,
    pub(super) connections: u64,
    pub(super) in_flight: u64,
    pub(super) upstream_in_flight: u64,
    pub(super) cache: Cache,
    pub(super) total: Counted,
    pub(super) last_minute: Counted,
    #[cfg(feature = "top")]
    pub(super) fields: Fields,
    #[cfg(feature = "top")]
    pub(super) history: History,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cache {
    pub(super) entries: u64,
    pub(super) weight_bytes: u64,
    pub(super) capacity_bytes: u64,
}

/// What was counted in a span of time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counted {
    /// Of a point of the history: when, in seconds since the start.
    #[cfg(feature = "top")]
    pub(super) at: f64,
    #[cfg(feature = "top")]
    pub(super) seconds: f64,
    pub(super) requests: BTreeMap<String, u64>,
    pub(super) hit_ratio: Option<f64>,
    pub(super) hit_seconds: Option<Quantiles>,
    pub(super) miss_seconds: Option<Quantiles>,
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

#[cfg(feature = "top")]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    pub(super) body_bytes: f64,
    pub(super) heaviest: Vec<Field>,
}

#[cfg(feature = "top")]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) bytes: f64,
    pub(super) share: f64,
}

#[cfg(feature = "top")]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    pub(super) seconds: Vec<Counted>,
}

impl Counted {
    pub(super) fn requests(&self, outcome: &str) -> u64 {
        self.requests.get(outcome).copied().unwrap_or(0)
    }

    pub(super) fn all_requests(&self) -> u64 {
        self.requests.values().sum()
    }
}
