//! The values of a snapshot: counts read from instruments, which can be subtracted and added.

use std::marker::PhantomData;
use std::time::Duration;

use prometheus::core::Metric as _;
use prometheus::{Histogram, IntCounter};
use serde::{Serialize, Serializer};

use super::instrument::{PerLabel, PerRoute, SECONDS};
use super::requests::{
    HITS, MISSES, RequestDurations, Requests, STATUSES, UpstreamRequests, results,
};
use crate::label::Label;
use crate::outcome::{Fault, OutcomeLabel};

/// A value of a snapshot.
pub(super) trait Count {
    /// Combines each number with the one of `other`.
    fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self;
}

/// Counts by label. Serialized without zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts<L, const N: usize>([u64; N], PhantomData<L>);

/// Requests that have ended, by outcome.
pub(super) type Outcomes = Counts<OutcomeLabel, { OutcomeLabel::ALL.len() }>;

/// Requests that have ended, by status. Serialized without zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses([u64; STATUSES.len()]);

/// Requests to the origin, by status, then by fault. Serialized without zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginResults([u64; STATUSES.len() + Fault::ALL.len()]);

/// Durations in the buckets of the histograms; the last bucket is unbounded. Serialized as
/// quantiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durations([u64; SECONDS.len() + 1]);

impl Count for u64 {
    fn zip(&self, other: &Self, with: fn(Self, Self) -> Self) -> Self {
        with(*self, *other)
    }
}

macro_rules! counts {
    ($($type:ident)+) => { $(
        impl Default for $type {
            fn default() -> Self {
                Self([0; _])
            }
        }

        impl Count for $type {
            fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
                Self(std::array::from_fn(|at| with(self.0[at], other.0[at])))
            }
        }
    )+ };
}

counts! { Statuses OriginResults Durations }

// === impl Counts ===

impl<L: Label, const N: usize> Counts<L, N> {
    fn by(count: impl Fn(L) -> u64) -> Self {
        Self(std::array::from_fn(|at| count(L::ALL[at])), PhantomData)
    }

    pub(super) fn read(counters: &PerLabel<L, IntCounter>) -> Self {
        Self::by(|label| counters.of(label).get())
    }

    /// The count of this label.
    pub fn of(&self, label: L) -> u64 {
        self.0[label.index()]
    }

    /// The sum of the counts of these labels.
    pub fn sum(&self, labels: &[L]) -> u64 {
        labels.iter().map(|label| self.of(*label)).sum()
    }
}

impl Outcomes {
    pub(super) fn ended(durations: &RequestDurations) -> Self {
        Self::by(|outcome| durations.of(outcome).map(Histogram::get_sample_count).sum())
    }

    /// Hits, including stale ones, over hits and misses; `None` without either.
    pub fn hit_ratio(&self) -> Option<f64> {
        hit_ratio(self.sum(HITS), self.sum(MISSES))
    }
}

impl<L: Label, const N: usize> Default for Counts<L, N> {
    fn default() -> Self {
        Self::by(|_| 0)
    }
}

impl<L: Label, const N: usize> Count for Counts<L, N> {
    fn zip(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        Self::by(|label| with(self.of(label), other.of(label)))
    }
}

impl<L: Label, const N: usize> Serialize for Counts<L, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = L::ALL.iter().map(|label| label.as_str());
        serialize(names, &self.0, serializer)
    }
}

// === impl Statuses ===

impl Statuses {
    pub(super) fn read(requests: &Requests) -> Self {
        Self(requests.by_status())
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(STATUSES.iter().copied(), &self.0, serializer)
    }
}

// === impl OriginResults ===

impl OriginResults {
    pub(super) fn read(requests: &UpstreamRequests) -> Self {
        let mut counts = requests.counts();
        Self(std::array::from_fn(|_| counts.next().unwrap_or(0)))
    }

    /// All requests that were sent.
    pub(super) fn sent(&self) -> u64 {
        let sent = self.of(|_| true, |fault| !fault.is_shed());
        sent.map(|(_, count)| count).sum()
    }

    /// Requests that failed at the origin or on the connection to it, and 5xx responses.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.of(|status| status.starts_with('5'), Fault::is_of_origin)
    }

    /// The results of these statuses and faults that have occurred, and their counts.
    fn of(
        &self,
        statuses: fn(&str) -> bool,
        faults: fn(Fault) -> bool,
    ) -> impl Iterator<Item = (&'static str, u64)> {
        let statuses = STATUSES.iter().map(move |status| statuses(status));
        let chosen = statuses.chain(Fault::ALL.iter().map(move |fault| faults(*fault)));
        let counts = results().zip(self.0).zip(chosen);
        let counts = counts.filter(|((_, count), is_chosen)| *is_chosen && *count > 0);
        counts.map(|(result, _)| result)
    }
}

impl Serialize for OriginResults {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(results(), &self.0, serializer)
    }
}

fn serialize<S: Serializer>(
    names: impl Iterator<Item = &'static str>,
    counts: &[u64],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let counts = names.zip(counts);
    serializer.collect_map(counts.filter(|(_, count)| **count > 0))
}

// === impl Durations ===

impl Durations {
    /// The durations of requests with one of these outcomes.
    pub(super) fn of(durations: &RequestDurations, outcomes: &[OutcomeLabel]) -> Self {
        Self::sum(outcomes.iter().flat_map(|outcome| durations.of(*outcome)))
    }

    /// The durations of all routes.
    pub(super) fn all(durations: &PerRoute<Histogram>) -> Self {
        Self::sum(durations.iter())
    }

    fn sum<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut sum = Self::default();
        for histogram in histograms {
            let metric = histogram.metric();
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
pub fn rounded_seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// The share of hits; `None` without requests.
pub fn hit_ratio(hits: u64, misses: u64) -> Option<f64> {
    (hits + misses > 0).then(|| float(hits) / float(hits + misses))
}

#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;

    use super::*;

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let histogram = |times: &[f64]| {
            let bounds = HistogramOpts::new("name", "help").buckets(SECONDS.to_vec());
            let histogram = Histogram::with_opts(bounds).expect("a valid name");
            for took in times {
                histogram.observe(*took);
            }
            histogram
        };
        // Between 100 and 125 ms; up to 20 µs; above the last bound.
        let (miss, hit, slow) = ([0.115; 10], [0.000_02; 10], [100.0]);
        let all = [histogram(&miss), histogram(&hit), histogram(&slow)];
        let durations = Durations::sum(all.iter());
        let micros = |share| {
            durations
                .quantile(share)
                .map(|duration| duration.as_micros())
        };
        assert_eq!(micros(5.0 / 21.0), Some(10), "the middle of the first");
        assert_eq!(micros(15.0 / 21.0), Some(112_500), "the middle of another");
        assert_eq!(micros(1.0), Some(63_000_000), "at most the last bound");
        assert_eq!(Durations::default().quantile(0.5), None);
    }

    /// A quantile of equal durations is the middle of their bucket.
    #[test]
    fn a_median_is_off_by_at_most_14_percent() {
        for bounds in SECONDS.windows(2) {
            let (low, high) = (bounds[0], bounds[1]);
            assert!(f64::midpoint(low, high) <= low * 1.141, "{low} to {high}");
        }
    }
}
