//! The history of the counts: a point per second for five minutes, a point per minute for a day.

use std::collections::VecDeque;
use std::time::Duration;

use crate::telemetry::MetricsSnapshot;

/// Number of points one second apart.
const SECONDS: usize = 300;

/// Number of points one minute apart.
const MINUTES: usize = 24 * 60;

const MINUTE: Duration = Duration::from_mins(1);

/// Two rings of at most [`SECONDS`] and [`MINUTES`] points.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) seconds: Ring<SECONDS>,
    pub(super) minutes: Ring<MINUTES>,
}

/// The counts since the previous point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Its time, since the start.
    pub(super) at: Duration,
    /// Time since the previous point.
    pub(super) span: Duration,
    pub(super) counted: MetricsSnapshot,
    pub(super) levels: Levels,
}

/// Gauges at the time of the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) weight: i64,
    pub(super) in_flight: i64,
}

/// The last points, and the time and totals of the newest, from which the next is computed.
#[derive(Debug, Default)]
pub(super) struct Ring<const CAPACITY: usize> {
    points: VecDeque<Point>,
    at: Duration,
    total: MetricsSnapshot,
}

impl History {
    /// Adds a point, if the clock has advanced.
    pub(super) fn add(&mut self, now: Duration, total: &MetricsSnapshot, levels: Levels) {
        if now > self.seconds.at {
            self.seconds.add(now, total, levels);
        }
        if now >= self.minutes.at + MINUTE {
            self.minutes.add(now, total, levels);
        }
    }

    /// The counts of the last minute, and the part of it that the history covers.
    pub(super) fn last_minute(
        &self,
        now: Duration,
        total: &MetricsSnapshot,
    ) -> (Duration, MetricsSnapshot) {
        let newest = &self.seconds;
        let since = (now.saturating_sub(newest.at), total.since(&newest.total));
        newest
            .after(now.saturating_sub(MINUTE))
            .fold(since, |(span, counted), point| {
                (span + point.span, counted.and(&point.counted))
            })
    }
}

impl<const CAPACITY: usize> Ring<CAPACITY> {
    fn add(&mut self, now: Duration, total: &MetricsSnapshot, levels: Levels) {
        if self.points.len() == CAPACITY {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            at: now,
            span: now.saturating_sub(self.at),
            counted: total.since(&self.total),
            levels,
        });
        self.at = now;
        self.total = total.clone();
    }

    /// The points after this time.
    pub(super) fn after(&self, time: Duration) -> impl Iterator<Item = &Point> {
        // Ordered by time: a binary search finds the newest few.
        let first = self.points.partition_point(|point| point.at <= time);
        self.points.range(first..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(sent_bytes: u64) -> MetricsSnapshot {
        MetricsSnapshot {
            sent_bytes,
            ..MetricsSnapshot::default()
        }
    }

    fn sent<'a>(points: impl Iterator<Item = &'a Point>) -> Vec<u64> {
        points.map(|point| point.counted.sent_bytes).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_point_has_the_counts_since_the_previous_one() {
        let mut history = History::default();
        history.add(SECOND, &total(10), Levels::default());
        history.add(SECOND, &total(99), Levels::default());
        history.add(3 * SECOND, &total(15), Levels::default());
        assert_eq!(sent(history.seconds.after(Duration::ZERO)), [10, 5]);
        assert_eq!(sent(history.seconds.after(SECOND)), [5]);
        assert_eq!(sent(history.seconds.after(3 * SECOND)), [0; 0]);
        let last_minute = history.last_minute(4 * SECOND, &total(18));
        assert_eq!(last_minute, (4 * SECOND, total(18)), "the newest included");
    }

    #[test]
    fn five_minutes_of_seconds_and_a_day_of_minutes_are_kept() {
        let mut history = History::default();
        let two_days = 2 * 24 * 60 * 60;
        for second in 1..=two_days {
            history.add(
                second * SECOND,
                &total(u64::from(second)),
                Levels::default(),
            );
        }
        assert_eq!(sent(history.seconds.after(Duration::ZERO)), [1; SECONDS]);
        assert_eq!(sent(history.minutes.after(Duration::ZERO)), [60; MINUTES]);
        assert_eq!(
            history.last_minute(two_days * SECOND, &total(u64::from(two_days))),
            (MINUTE, total(60)),
            "the last minute is its sixty seconds"
        );
        let most = (SECONDS + MINUTES) * size_of::<Point>();
        assert!(most < 5 << 20, "{most} bytes");
    }
}
