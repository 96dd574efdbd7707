//! The state of the process: `/status`, a part of `/stats`, and the basis of the notes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::IntGauge;
use serde::Serialize;
use serde_json::{Value, json};

use super::Admin;
use super::notes::notes;
use super::stats::counted;
use crate::cache::shared::Seen;
use crate::config::{CacheMode, Config};
use crate::telemetry::{Holder, MetricsSnapshot, OriginResult};
use crate::upstream::BreakerState;

/// Plain data; ages and waits are relative to the time at which it was read.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) ready: bool,
    pub(super) uptime_seconds: u64,
    pub(super) connections: u64,
    pub(super) in_flight: u64,
    /// Requests that wait for a state of their call.
    pub(super) waiting: u64,
    pub(super) upstream_in_flight: u64,
    pub(super) cache: StoreStatus,
    pub(super) in_transit: InTransit,
    pub(super) limits: Limits,
    pub(super) origin: Origin,
    /// Of the certificate for new connections; negative: it has expired.
    pub(super) certificate_seconds_left: Option<i64>,
    pub(super) last_reload: Option<LastReload>,
    /// Log lines lost since the start.
    pub(super) log_dropped: u64,
    pub(super) shared: Option<Seen>,
    /// The counts of the last minute, and the part of it that they cover.
    #[serde(skip)]
    pub(super) minute: MetricsSnapshot,
    #[serde(skip)]
    pub(super) minute_span: Duration,
    #[serde(skip)]
    pub(super) total: MetricsSnapshot,
}

#[derive(Debug, Serialize)]
pub(super) struct StoreStatus {
    /// `cache.mode`
    #[serde(serialize_with = "crate::label::as_str")]
    pub(super) mode: CacheMode,
    pub(super) entries: u64,
    pub(super) weight_bytes: u64,
    pub(super) capacity_bytes: u64,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "keys of the document")]
pub(super) struct InTransit {
    pub(super) accepted_bytes: u64,
    pub(super) other_bytes: u64,
    pub(super) limit_bytes: u64,
}

/// The limits of `connections` and of the requests in progress at the origin.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Limits {
    pub(super) connections: u64,
    in_flight: usize,
    streams: usize,
    uploads: usize,
}

/// The origin, as its responses and the connections to it show.
#[derive(Debug, Serialize)]
pub(super) struct Origin {
    #[serde(serialize_with = "crate::label::as_str")]
    pub(super) breaker: BreakerState,
    /// How long connections have failed, unless the breaker is closed.
    pub(super) failing_seconds: Option<u64>,
    /// Time until a request may probe the origin, unless the breaker is closed.
    pub(super) probe_seconds: Option<u64>,
    /// Tokens and calls that wait because of a `Retry-After`, and the longest wait.
    pub(super) held_tokens: u64,
    pub(super) held_calls: u64,
    pub(super) held_seconds: u64,
    /// Time since the last response with a status below 500, and since the last failure.
    pub(super) good_seconds_ago: Option<u64>,
    pub(super) failed_seconds_ago: Option<u64>,
    pub(super) clock_skew_seconds: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LastReload {
    pub(super) seconds_ago: u64,
    /// Why it was refused; empty: it was applied.
    pub(super) faults: Vec<String>,
    /// Keys whose new values need a restart.
    pub(super) pending: Vec<&'static str>,
}

impl Limits {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            connections: config.server.max_connections as u64,
            in_flight: config.limits.in_flight,
            streams: config.limits.streams,
            uploads: config.limits.uploads,
        }
    }
}

impl Status {
    /// The document, with the notes.
    pub(super) fn document(&self) -> Value {
        let mut document = json!(self);
        document["notes"] = json!(notes(self));
        document["last_minute"] = counted(self.minute_span, &self.minute);
        document
    }
}

impl Admin {
    /// The current state.
    pub(super) fn state(&self) -> Status {
        self.store.update_gauges();
        self.shared.update_gauges();
        let (metrics, uptime) = (&self.metrics, self.clock.uptime());
        let total = metrics.snapshot();
        let (minute_span, minute) = self.history.lock().last_minute(uptime, &total);
        let expiry = metrics.tls_certificate_expiry.get();
        let now = self.clock.now().wall;
        let last_reload = self.last_reload.lock().clone();
        Status {
            version: crate::version::VERSION,
            ready: !self.drain.has_begun(),
            uptime_seconds: uptime.as_secs(),
            connections: value(&metrics.connections),
            in_flight: value(&metrics.in_flight),
            waiting: value(&metrics.waiting),
            upstream_in_flight: value(&metrics.upstream_in_flight),
            cache: StoreStatus {
                mode: self.mode(),
                entries: value(&metrics.entries),
                weight_bytes: value(&metrics.weight),
                capacity_bytes: value(&metrics.capacity),
            },
            in_transit: InTransit {
                accepted_bytes: value(metrics.in_transit.of(Holder::Accepted)),
                other_bytes: value(metrics.in_transit.of(Holder::Other)),
                limit_bytes: value(&metrics.in_transit_limit),
            },
            limits: self.limits.clone(),
            origin: self.origin(now),
            certificate_seconds_left: (expiry > 0).then(|| expiry.saturating_sub(unix(now))),
            last_reload: last_reload.map(|(at, reload)| LastReload {
                seconds_ago: now.duration_since(at).unwrap_or_default().as_secs(),
                ..reload
            }),
            log_dropped: total.log_dropped,
            shared: self.shared.seen(),
            minute,
            minute_span,
            total,
        }
    }

    fn origin(&self, now: SystemTime) -> Origin {
        let admission = self.upstream.admission();
        let ago = |result| {
            let last = self.metrics.upstream_last.of(result).get();
            let age = unix(now).saturating_sub(last);
            (last > 0).then(|| u64::try_from(age).unwrap_or(0))
        };
        Origin {
            breaker: admission.breaker,
            failing_seconds: admission.failing_for.map(|time| time.as_secs()),
            held_tokens: admission.held_tokens as u64,
            held_calls: admission.held_calls as u64,
            probe_seconds: admission.probe_in.map(rounded_up),
            held_seconds: rounded_up(admission.held_for),
            good_seconds_ago: ago(OriginResult::Good),
            failed_seconds_ago: ago(OriginResult::Failed),
            clock_skew_seconds: self.metrics.origin_clock_skew.get(),
        }
    }
}

impl LastReload {
    pub(super) fn of(result: Result<Vec<&'static str>, String>) -> Self {
        let (pending, faults) = match result {
            Ok(pending) => (pending, Vec::new()),
            Err(faults) => (Vec::new(), faults.lines().map(str::to_owned).collect()),
        };
        Self {
            seconds_ago: 0,
            faults,
            pending,
        }
    }
}

/// Whole seconds: a remaining wait is shown as 0 only when it is over.
fn rounded_up(wait: Duration) -> u64 {
    (wait + Duration::from_millis(999)).as_secs()
}

/// Seconds since the epoch.
fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn value(gauge: &IntGauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or(0)
}
