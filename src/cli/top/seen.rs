//! What has been heard of a proxy so far, and what of it needs attention.

use std::time::Duration;

use anyhow::Context as _;

use crate::cli::ask::{Admin, Failure};
use crate::cli::feed::{Counted, Stats};
use crate::cli::figures::{count, percent};

/// Points of the history that are kept: as many as the proxy keeps.
const POINTS: usize = 300;

/// The share of failing requests to the origin that somebody should look at.
const ALARM: f64 = 0.05;

/// What has been heard of one proxy.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) address: String,
    pub(super) stats: Stats,
    /// A second each, the newest last.
    pub(super) points: Vec<Counted>,
    /// Why the last look brought nothing.
    pub(super) silence: Option<String>,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Good,
    Warning,
    Bad,
}

impl Seen {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            stats: Stats::default(),
            points: Vec::new(),
            silence: None,
        }
    }

    /// Asks for what is new.
    pub(super) async fn look(&mut self, admin: &Admin) -> Result<(), Failure> {
        let newest = self.points.last().map_or(0.0, |point| point.at);
        let heard = match admin.get(&format!("/stats?after={newest}")).await {
            Ok(answer) => serde_json::from_slice(&answer).context("this is not the feed"),
            Err(failure) => {
                self.silence = Some(failure.to_string());
                return Err(failure);
            }
        };
        match heard {
            Ok(stats) => self.learn(stats),
            Err(error) => self.silence = Some(error.to_string()),
        }
        Ok(())
    }

    pub(super) fn learn(&mut self, stats: Stats) {
        if stats.started != self.stats.started {
            // Another process: what this one did is asked for at the next look.
            self.points.clear();
        }
        self.points.extend(stats.history.seconds.iter().cloned());
        let old = self.points.len().saturating_sub(POINTS);
        self.points.drain(..old);
        self.stats = stats;
        self.silence = None;
    }

    pub(super) fn uptime(&self) -> Duration {
        Duration::from_secs(self.stats.uptime_seconds)
    }

    /// What needs attention, the worst first; never nothing.
    pub(super) fn notes(&self) -> Vec<(Weight, String)> {
        if let Some(silence) = &self.silence {
            return vec![(Weight::Bad, silence.clone())];
        }
        let minute = &self.stats.last_minute;
        let mut notes = Vec::new();
        let errors = failing(minute).unwrap_or(0.0);
        if errors > 0.0 {
            let weight = if errors >= ALARM {
                Weight::Bad
            } else {
                Weight::Warning
            };
            let text = format!(
                "The origin fails: {} of the requests to it",
                percent(Some(errors))
            );
            notes.push((weight, text));
        }
        let failed = minute.requests("failed");
        if failed > 0 {
            let text = format!("Clients get errors: {} with nothing stored", count(failed));
            notes.push((Weight::Bad, text));
        }
        let stale = minute.requests("stale");
        if stale > 0 {
            let text = format!("Stale responses are served: {}", count(stale));
            notes.push((Weight::Warning, text));
        }
        if !self.stats.ready {
            notes.push((Weight::Warning, "Draining: it ends soon".to_owned()));
        }
        let cache = &self.stats.cache;
        if cache.weight_bytes > cache.capacity_bytes / 100 * 95 {
            let text = "The store is full: it drops what is used least".to_owned();
            notes.push((Weight::Warning, text));
        }
        if notes.is_empty() {
            notes.push((Weight::Good, "All is well".to_owned()));
        }
        notes.sort_by_key(|(weight, _)| *weight != Weight::Bad);
        notes
    }
}

/// The share of the requests to the origin that failed.
pub(super) fn failing(counted: &Counted) -> Option<f64> {
    let (errors, all) = (counted.origin_errors, counted.origin_requests);
    (all > 0).then(|| float(errors) / float(all))
}

/// So much a second.
pub(super) fn rate(counted: &Counted, number: u64) -> f64 {
    if counted.seconds > 0.0 {
        float(number) / counted.seconds
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
