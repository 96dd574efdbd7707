//! The polled state of a proxy, and the notes on it that need attention.

use crate::cli::admin_client::{AdminClient, AdminError};
use crate::cli::stats_document::{Counts, StatsDocument};
use crate::units::{count, percent};

/// Maximum points of the history, as in the proxy.
const MAX_POINTS: usize = 300;

/// The share of failed requests to the origin above which the note is an alarm.
const ALARM_SHARE: f64 = 0.05;

/// The state of a proxy, from its last responses.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) address: String,
    pub(super) stats: StatsDocument,
    /// One per second, the newest last.
    pub(super) points: Vec<Counts>,
    /// Why the last poll failed.
    pub(super) last_error: Option<String>,
}

/// The severity of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Good,
    Warning,
    Bad,
}

impl Model {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            stats: StatsDocument::default(),
            points: Vec::new(),
            last_error: None,
        }
    }

    /// Fetches the points since the last poll.
    pub(super) async fn poll(&mut self, admin: &AdminClient) -> Result<(), AdminError> {
        let newest = self.points.last().map_or(0.0, |point| point.at);
        let response = admin.get(&format!("/stats?after={newest}")).await;
        let body = response.inspect_err(|error| self.last_error = Some(error.to_string()))?;
        match serde_json::from_slice(&body) {
            Ok(stats) => self.apply(stats),
            Err(_) => self.last_error = Some("the response is not a /stats document".to_owned()),
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, stats: StatsDocument) {
        if stats.started != self.stats.started {
            // Another process: the next poll fetches its history.
            self.points.clear();
        }
        self.points.extend(stats.history.seconds.iter().cloned());
        let excess = self.points.len().saturating_sub(MAX_POINTS);
        self.points.drain(..excess);
        self.stats = stats;
        self.last_error = None;
    }

    /// The notes for the operator, the most severe first; at least one.
    pub(super) fn notes(&self) -> Vec<(Severity, String)> {
        if let Some(error) = &self.last_error {
            return vec![(Severity::Bad, error.clone())];
        }
        let minute = &self.stats.last_minute;
        let errors = failing(minute).unwrap_or(0.0);
        let severity = if errors >= ALARM_SHARE {
            Severity::Bad
        } else {
            Severity::Warning
        };
        let (share, failed) = (percent(Some(errors)), minute.requests("failed"));
        let (stale, cache) = (minute.requests("stale"), &self.stats.cache);
        let shared = self.stats.shared.as_ref();
        let full = cache.weight_bytes > cache.capacity_bytes / 100 * 95;
        let notes = [
            (
                cache.mode == "off",
                Severity::Warning,
                "Caching is off (cache.mode): every request is forwarded".to_owned(),
            ),
            (
                errors > 0.0,
                severity,
                format!("Origin errors: {share} of requests to the origin"),
            ),
            (
                failed > 0,
                Severity::Bad,
                format!(
                    "Clients get errors: {}, with no stored response to serve",
                    count(failed)
                ),
            ),
            (
                stale > 0,
                Severity::Warning,
                format!("Stale responses served: {}", count(stale)),
            ),
            (
                !self.stats.ready,
                Severity::Warning,
                "Draining: shutting down".to_owned(),
            ),
            (
                shared.is_some_and(|shared| shared.state != "in_step"),
                Severity::Warning,
                "Shared level: not in step with the other replicas".to_owned(),
            ),
            (
                full,
                Severity::Warning,
                "The cache is full: the least used responses are evicted".to_owned(),
            ),
        ];
        let notes = notes.into_iter().filter(|(applies, ..)| *applies);
        let mut notes: Vec<_> = notes.map(|(_, severity, text)| (severity, text)).collect();
        if notes.is_empty() {
            notes.push((Severity::Good, "All is well".to_owned()));
        }
        notes.sort_by_key(|(severity, _)| *severity != Severity::Bad);
        notes
    }
}

/// The share of the requests to the origin that failed.
pub(super) fn failing(counts: &Counts) -> Option<f64> {
    let (errors, all) = (counts.origin_errors, counts.origin_requests);
    (all > 0).then(|| float(errors) / float(all))
}

/// A count of a span of time, per second.
pub(super) fn rate(counts: &Counts, number: u64) -> f64 {
    if counts.seconds > 0.0 {
        float(number) / counts.seconds
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
