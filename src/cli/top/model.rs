//! The polled state of a proxy.

use std::borrow::Cow;

use crate::admin::{Note, Severity};
use crate::cli::admin_client::{AdminClient, AdminError};
use crate::cli::stats_document::{Counts, StatsDocument};

/// Maximum points of the history, as in the proxy.
const MAX_POINTS: usize = 300;

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
        let response = admin.get(&format!("/stats?after={newest}&keys=1")).await;
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

    /// The notes of the proxy, the most severe first; if it does not respond, the error.
    pub(super) fn notes(&self) -> Cow<'_, [Note]> {
        match &self.last_error {
            None => Cow::Borrowed(&self.stats.notes),
            Some(error) => Cow::Owned(vec![Note {
                severity: Severity::Bad,
                title: "No response".to_owned(),
                text: error.clone(),
                runbook: None,
            }]),
        }
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
