//! The values of a snapshot: counts read from instruments, which can be subtracted and added.

use std::time::Duration;

use prometheus::Histogram;
use prometheus::core::Metric as _;
use serde::{Serialize, Serializer};

use super::instrument::{PerLabel, SECONDS};
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;

const OUTCOMES: usize = <OutcomeLabel as crate::label::Label>::ALL.len();

/// Served from memory.
pub(super) const HITS: &[OutcomeLabel] = &[OutcomeLabel::Hit, OutcomeLabel::Stale];

/// Cacheable requests served by the origin.
pub(super) const MISSES: &[OutcomeLabel] = &[
    OutcomeLabel::Miss,
    OutcomeLabel::Expired,
    OutcomeLabel::Collapsed,
];

/// A value of a snapshot.
pub(super) trait Count {
    /// Combines each number with the one of `other`.
    fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self;
}

/// Requests that have ended, by outcome. Serialized without zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes([u64; OUTCOMES]);

/// Durations in the buckets of the histograms; the last bucket is unbounded. Serialized as
/// quantiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations([u64; SECONDS.len() + 1]);

impl Count for u64 {
    fn zip(&self, other: &Self, with: fn(Self, Self) -> Self) -> Self {
        with(*self, *other)
    }
}

// === impl Outcomes ===

impl Outcomes {
    pub(super) fn read(durations: &PerLabel<OutcomeLabel, Histogram>) -> Self {
        let count = |at| durations.of(OutcomeLabel::ALL[at]).get_sample_count();
        Self(std::array::from_fn(count))
    }

    /// Requests that ended with this outcome.
    #[must_use]
    pub fn of(&self, outcome: OutcomeLabel) -> u64 {
        self.0[outcome.index()]
    }

    /// Hits, including stale ones, over hits and misses; `None` without either.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let sum = |outcomes: &[OutcomeLabel]| -> u64 {
            outcomes.iter().map(|outcome| self.of(*outcome)).sum()
        };
        let (hits, misses) = (sum(HITS), sum(MISSES));
        (hits + misses > 0).then(|| float(hits) / float(hits + misses))
    }
}

impl Count for Outcomes {
    fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|at| with(self.0[at], other.0[at])))
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let outcomes = OutcomeLabel::ALL.iter();
        let counts = outcomes.map(|outcome| (outcome.as_str(), self.of(*outcome)));
        serializer.collect_map(counts.filter(|(_, count)| *count > 0))
    }
}

// === impl Durations ===

impl Durations {
    pub(super) fn read(
        durations: &PerLabel<OutcomeLabel, Histogram>,
        outcomes: &[OutcomeLabel],
    ) -> Self {
        let mut sum = Self::default();
        for outcome in outcomes {
            let metric = durations.of(*outcome).metric();
            let histogram = metric.get_histogram();
            // Prometheus buckets are cumulative.
            let buckets = histogram.get_bucket().iter();
            let upto = buckets.map(prometheus::proto::Bucket::cumulative_count);
            let mut below = 0;
            for (count, upto) in sum
                .0
                .iter_mut()
                .zip(upto.chain([histogram.get_sample_count()]))
            {
                *count += upto.saturating_sub(below);
                below = upto;
            }
        }
        sum
    }

    /// The quantile `share`, estimated like `histogram_quantile` of Prometheus; `None` if there are
    /// no durations.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.0.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = share * float(total);
        let (mut below, mut floor) = (0.0, 0.0);
        for (count, bound) in self.0.iter().zip(SECONDS) {
            let count = float(*count);
            if count > 0.0 && below + count >= rank {
                let within = floor + (bound - floor) * (rank - below) / count;
                return Some(Duration::from_secs_f64(within));
            }
            below += count;
            floor = *bound;
        }
        Some(Duration::from_secs_f64(floor))
    }
}

impl Count for Durations {
    fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|at| with(self.0[at], other.0[at])))
    }
}

impl Serialize for Durations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::default() {
            return serializer.serialize_none();
        }
        let quantile = |(name, share)| (name, self.quantile(share).map(rounded_seconds));
        serializer.collect_map([("p50", 0.5), ("p90", 0.9), ("p99", 0.99)].map(quantile))
    }
}

/// Seconds, rounded to microseconds.
#[must_use]
pub fn rounded_seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile(0.5), None);
        // Ten up to 0.1 ms, ten up to 1 ms, one above the last bound.
        durations.0[0] = 10;
        durations.0[2] = 10;
        durations.0[SECONDS.len()] = 1;
        let micros = |share| {
            durations
                .quantile(share)
                .map(|duration| duration.as_micros())
        };
        assert_eq!(
            micros(5.0 / 21.0),
            Some(50),
            "the middle of the first bucket"
        );
        assert_eq!(micros(15.0 / 21.0), Some(625), "the middle of the third");
        assert_eq!(micros(1.0), Some(30_000_000), "at most the last bound");
    }
}
