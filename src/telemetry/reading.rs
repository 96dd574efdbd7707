//! All that the feed of the dashboard shows, read from the instruments at one moment.

use std::time::Duration;

use super::families::SECONDS;
use super::metrics::Metrics;
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;

/// What the instruments have counted: since the start, or, as a difference, in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests that have ended, in the order of [`OutcomeLabel::ALL`](crate::label::Label::ALL).
    pub requests: [u64; OUTCOMES],
    /// Durations of [`HITS`].
    pub hits: Durations,
    /// Durations of [`MISSES`].
    pub misses: Durations,
    /// Requests sent to the origin.
    pub origin_requests: u64,
    /// Those of them that failed, or were answered with a 5xx.
    pub origin_errors: u64,
    /// Body bytes received from the origin.
    pub origin_bytes: u64,
    /// Body bytes sent to clients.
    pub sent_bytes: u64,
    /// Those of them that came from memory.
    pub memory_bytes: u64,
    /// Body bytes that views spared clients.
    pub view_bytes: u64,
    /// Body bytes that content codings spared clients.
    pub coding_bytes: u64,
}

/// Durations in the buckets of the histograms; the last bucket has no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations([u64; SECONDS.len() + 1]);

const OUTCOMES: usize = <OutcomeLabel as crate::label::Label>::ALL.len();

/// Answered from memory.
pub const HITS: [OutcomeLabel; 2] = [OutcomeLabel::Hit, OutcomeLabel::Stale];

/// Answered by the origin, though the cache might have.
pub const MISSES: [OutcomeLabel; 3] = [
    OutcomeLabel::Miss,
    OutcomeLabel::Expired,
    OutcomeLabel::Collapsed,
];

impl Metrics {
    /// What they have counted since the start.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let mut requests = [0; OUTCOMES];
        for outcome in OutcomeLabel::ALL {
            let durations = self.request_duration.of(*outcome);
            requests[outcome.index()] = durations.get_sample_count();
        }
        let bytes = |outcome: &OutcomeLabel| self.response_bytes.of(*outcome).get();
        Reading {
            requests,
            hits: self.durations(&HITS),
            misses: self.durations(&MISSES),
            origin_requests: self.upstream_requests.total(),
            origin_errors: self.upstream_requests.errors(),
            origin_bytes: self.upstream_bytes.get(),
            sent_bytes: OutcomeLabel::ALL.iter().map(bytes).sum(),
            memory_bytes: HITS.iter().map(bytes).sum(),
            view_bytes: self.view_removed_bytes.get(),
            coding_bytes: self.coding_saved_bytes.get(),
        }
    }

    fn durations(&self, outcomes: &[OutcomeLabel]) -> Durations {
        let mut durations = Durations::default();
        for outcome in outcomes {
            durations.add(self.request_duration.of(*outcome));
        }
        durations
    }
}

impl Reading {
    /// What has been counted since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// What has been counted in two spans together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// Requests that ended with this outcome.
    #[must_use]
    pub fn requests(&self, outcome: OutcomeLabel) -> u64 {
        self.requests[outcome.index()]
    }

    /// The share of [`HITS`] in all that the cache might have answered; nothing without any.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let sum = |outcomes: &[OutcomeLabel]| -> u64 {
            outcomes.iter().map(|outcome| self.requests(*outcome)).sum()
        };
        let (hits, misses) = (sum(&HITS), sum(&MISSES));
        (hits + misses > 0).then(|| float(hits) / float(hits + misses))
    }

    fn with(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: each(&self.requests, &other.requests, &of),
            hits: Durations(each(&self.hits.0, &other.hits.0, &of)),
            misses: Durations(each(&self.misses.0, &other.misses.0, &of)),
            origin_requests: of(self.origin_requests, other.origin_requests),
            origin_errors: of(self.origin_errors, other.origin_errors),
            origin_bytes: of(self.origin_bytes, other.origin_bytes),
            sent_bytes: of(self.sent_bytes, other.sent_bytes),
            memory_bytes: of(self.memory_bytes, other.memory_bytes),
            view_bytes: of(self.view_bytes, other.view_bytes),
            coding_bytes: of(self.coding_bytes, other.coding_bytes),
        }
    }
}

fn each<const N: usize>(a: &[u64; N], b: &[u64; N], of: impl Fn(u64, u64) -> u64) -> [u64; N] {
    std::array::from_fn(|at| of(a[at], b[at]))
}

impl Durations {
    fn add(&mut self, histogram: &prometheus::Histogram) {
        use prometheus::core::Metric as _;
        let metric = histogram.metric();
        let read = metric.get_histogram();
        let mut below = 0;
        // The buckets count everything up to their bound.
        let upto = read
            .get_bucket()
            .iter()
            .map(prometheus::proto::Bucket::cumulative_count);
        for (place, upto) in self.0.iter_mut().zip(upto.chain([read.get_sample_count()])) {
            *place += upto.saturating_sub(below);
            below = upto;
        }
    }

    /// The duration that this share of them does not exceed, as Prometheus' `histogram_quantile`
    /// estimates it; nothing of nothing.
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

#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::outcome::Fault;
    use crate::request::Routes;

    #[test]
    fn a_reading_is_what_the_instruments_have_counted_since() {
        let metrics = Metrics::new(&Routes::new(&Config::default().cache.routes));
        for outcome in [OutcomeLabel::Hit, OutcomeLabel::Hit, OutcomeLabel::Stale] {
            metrics.request_duration.of(outcome).observe(0.000_05);
            metrics.response_bytes.of(outcome).inc_by(100);
        }
        let earlier = metrics.reading();
        metrics.request_duration.of(OutcomeLabel::Miss).observe(0.2);
        metrics.response_bytes.of(OutcomeLabel::Miss).inc_by(1_000);
        metrics.upstream_requests.answered(http::StatusCode::OK);
        metrics
            .upstream_requests
            .answered(http::StatusCode::BAD_GATEWAY);
        metrics.upstream_requests.failed(Fault::Refused);
        // A request, and the client is at fault; the others were not sent.
        for fault in [
            Fault::RequestBody,
            Fault::Held,
            Fault::Overload,
            Fault::Unavailable,
        ] {
            metrics.upstream_requests.failed(fault);
        }
        let reading = metrics.reading();
        assert_eq!(reading.requests(OutcomeLabel::Hit), 2);
        assert_eq!((reading.sent_bytes, reading.memory_bytes), (1_300, 300));
        assert_eq!((reading.origin_requests, reading.origin_errors), (4, 2));
        assert_eq!(reading.hit_ratio(), Some(0.75));
        let since = reading.since(&earlier);
        assert_eq!(since.requests(OutcomeLabel::Hit), 0);
        assert_eq!(since.hit_ratio(), Some(0.0));
        assert_eq!(since.hits.quantile(0.5), None);
        assert_eq!(since.and(&earlier), reading);
        assert_eq!(Reading::default().hit_ratio(), None);
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile(0.5), None);
        // Ten up to 0.1 ms, ten up to 1 ms, one beyond every bound.
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
        assert_eq!(
            micros(1.0),
            Some(30_000_000),
            "the last bound is all that is known"
        );
    }
}
