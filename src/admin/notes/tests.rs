//! Each state of the process, and its first note.

use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;

use super::Severity::{Bad, Good, Neutral, Warning};
use super::*;
use crate::admin::status::{InTransit, LastReload, Limits, Origin, StoreStatus};
use crate::cache::shared::Seen;
use crate::config::Config;
use crate::outcome::Fault;
use crate::request::Routes;
use crate::telemetry::{Ended, Metrics, MetricsSnapshot, RequestId};

/// A healthy process, whose origin answered three seconds ago.
fn healthy() -> Status {
    Status {
        version: "1.2.3",
        ready: true,
        uptime_seconds: 7_400,
        connections: 12,
        in_flight: 3,
        waiting: 0,
        upstream_in_flight: 1,
        cache: StoreStatus {
            mode: CacheMode::On,
            entries: 5,
            weight_bytes: 10 << 20,
            capacity_bytes: 256 << 20,
        },
        in_transit: InTransit {
            accepted_bytes: 1 << 20,
            other_bytes: 0,
            limit_bytes: 256 << 20,
        },
        limits: Limits::of(&Config::default()),
        origin: Origin {
            breaker: BreakerState::Closed,
            failing_seconds: None,
            probe_seconds: None,
            held_tokens: 0,
            held_calls: 0,
            held_seconds: 0,
            good_seconds_ago: Some(3),
            failed_seconds_ago: None,
            clock_skew_seconds: 0,
        },
        certificate_seconds_left: None,
        last_reload: None,
        log_dropped: 0,
        shared: None,
        minute: counted(|metrics| ended(metrics, OutcomeLabel::Hit, 900)),
        minute_span: Duration::from_mins(1),
        total: MetricsSnapshot::default(),
    }
}

fn counted(count: impl Fn(&Metrics)) -> MetricsSnapshot {
    let metrics = Metrics::new(&Routes::new(&[]));
    count(&metrics);
    metrics.snapshot()
}

fn ended(metrics: &Metrics, outcome: OutcomeLabel, count: u64) {
    for _ in 0..count {
        let request = Ended {
            began: UNIX_EPOCH,
            took: Duration::ZERO,
            trace: None,
            id: &RequestId::Made(1),
        };
        metrics.request_duration.observe(None, outcome, request);
    }
}

/// A last minute with this many requests, of which some failed at the origin, or were refused by it.
fn minute(hits: u64, failed: u64, (errors, requests): (u64, u64), refused: u64) -> MetricsSnapshot {
    let mut minute = counted(|metrics| {
        ended(metrics, OutcomeLabel::Hit, hits);
        ended(metrics, OutcomeLabel::Failed, failed);
    });
    (minute.origin_errors, minute.origin_requests) = (errors, requests);
    minute.tokens_refused = refused;
    minute
}

fn stale(reason: ServedStale) -> MetricsSnapshot {
    counted(|metrics| {
        ended(metrics, OutcomeLabel::Hit, 90);
        metrics.stale.of(reason).inc_by(10);
    })
}

fn shed(reason: Shed) -> MetricsSnapshot {
    counted(|metrics| metrics.upstream_shed.of(reason).inc_by(7))
}

fn reload(status: &mut Status, faults: &[&str], pending: &[&'static str]) {
    status.last_reload = Some(LastReload {
        seconds_ago: 190,
        faults: faults.iter().map(ToString::to_string).collect(),
        pending: pending.to_vec(),
    });
}

fn shared(status: &mut Status, state: GroupState) {
    status.shared.insert(Seen::default()).state = state;
}

fn failing(status: &mut Status, breaker: BreakerState, probe: u64) {
    let origin = &mut status.origin;
    (origin.breaker, origin.failing_seconds) = (breaker, Some(123));
    origin.probe_seconds = Some(probe);
}

type Case = (fn(&mut Status), Severity, &'static str, &'static str);

/// The difference to a healthy process, and the first note: severity, title, a part of the text.
const CASES: &[Case] = &[
    (|_| {}, Good, "All is well", "The origin answered 3 s ago."),
    (
        |s| s.origin.failed_seconds_ago = Some(4),
        Good,
        "All is well",
        "",
    ),
    (
        |s| s.origin.good_seconds_ago = Some(300),
        Good,
        "All is well",
        "5 min 0 s ago",
    ),
    (
        |s| s.origin.good_seconds_ago = Some(720),
        Neutral,
        "No request to the origin lately",
        "12 min 0 s ago",
    ),
    (
        |s| s.origin.good_seconds_ago = None,
        Neutral,
        "No response of the origin yet",
        "",
    ),
    (
        |s| (s.origin.good_seconds_ago, s.origin.failed_seconds_ago) = (None, Some(80)),
        Warning,
        "The origin failed last",
        "1 min 20 s ago",
    ),
    (
        |s| (s.origin.good_seconds_ago, s.origin.failed_seconds_ago) = (Some(720), Some(80)),
        Warning,
        "The origin failed last",
        "",
    ),
    (
        |s| failing(s, BreakerState::Open, 4),
        Bad,
        "The origin cannot be reached",
        "for 2 min 3 s; circuit breaker open, next probe in 4 s",
    ),
    (
        |s| failing(s, BreakerState::Open, 0),
        Bad,
        "The origin cannot be reached",
        "the next request probes",
    ),
    (
        |s| failing(s, BreakerState::HalfOpen, 4),
        Bad,
        "The origin cannot be reached",
        "half-open, one request probes",
    ),
    (
        |s| s.minute = minute(90, 10, (0, 100), 0),
        Bad,
        "Clients get errors",
        "10 of 100 in",
    ),
    (
        |s| s.minute = minute(999, 1, (0, 100), 0),
        Warning,
        "Clients get errors",
        "1 of 1,000 in",
    ),
    (
        |s| s.minute = minute(90, 0, (5, 100), 0),
        Bad,
        "The origin is failing",
        "5 of 100 in",
    ),
    (
        |s| s.minute = minute(90, 0, (4, 100), 0),
        Warning,
        "Some requests to the origin failed",
        "",
    ),
    (
        |s| s.minute = minute(90, 0, (2, 2), 0),
        Warning,
        "Some requests to the origin failed",
        "2 of 2 in",
    ),
    (
        |s| s.minute = stale(ServedStale::OnError),
        Warning,
        "Stale responses replace errors",
        "10 responses",
    ),
    (
        |s| s.minute = stale(ServedStale::RecheckFailed),
        Warning,
        "Stale responses replace errors",
        "",
    ),
    (
        |s| s.minute = stale(ServedStale::Revalidating),
        Good,
        "All is well",
        "",
    ),
    (
        |s| s.minute = stale(ServedStale::Accepted),
        Good,
        "All is well",
        "",
    ),
    (
        |s| s.minute = shed(Shed::InFlight),
        Warning,
        "Requests are shed",
        "7 (in_flight)",
    ),
    (
        |s| s.minute = shed(Shed::Share),
        Warning,
        "Requests are shed",
        "7 (share)",
    ),
    (
        |s| s.minute = shed(Shed::RetryAfter),
        Warning,
        "The origin limits the rate",
        "7 requests not sent",
    ),
    (
        |s| (s.origin.held_tokens, s.origin.held_seconds) = (1, 4),
        Warning,
        "The origin limits the rate",
        "1 token and 0 calls wait for up to 4 s",
    ),
    (
        |s| s.minute = minute(50, 0, (0, 100), 3),
        Warning,
        "The origin refuses tokens",
        "3 requests",
    ),
    (
        |s| s.minute = minute(900, 0, (0, 100), 3),
        Good,
        "All is well",
        "",
    ),
    (
        |s| s.minute = minute(1, 0, (0, 1), 1),
        Good,
        "All is well",
        "",
    ),
    (
        |s| s.certificate_seconds_left = Some(0),
        Bad,
        "The TLS certificate has expired",
        "",
    ),
    (
        |s| s.certificate_seconds_left = Some(-3_700),
        Bad,
        "The TLS certificate has expired",
        "1 h 1 min ago",
    ),
    (
        |s| s.certificate_seconds_left = Some(13 * 86_400),
        Warning,
        "The TLS certificate expires soon",
        "In 13 d 0 h",
    ),
    (
        |s| s.certificate_seconds_left = Some(14 * 86_400),
        Good,
        "All is well",
        "",
    ),
    (
        |s| reload(s, &["cache.capacity: 1", "b"], &[]),
        Warning,
        "The last reload was refused",
        "3 min 10 s ago, with 2 faults; the old configuration stays in use. cache.capacity: 1",
    ),
    (
        |s| reload(s, &[], &["cache.capacity"]),
        Neutral,
        "Changed keys need a restart",
        "cache.capacity.",
    ),
    (|s| reload(s, &[], &[]), Good, "All is well", ""),
    (
        |s| s.minute.log_dropped = 12,
        Warning,
        "Log lines are lost",
        "12 lines in",
    ),
    (
        |s| s.connections = 9_000,
        Warning,
        "Connections are near their limit",
        "9,000 of 10,000",
    ),
    (|s| s.connections = 8_999, Good, "All is well", ""),
    (
        |s| s.in_transit.other_bytes = 230 << 20,
        Warning,
        "Bytes in transit are near their limit",
        "231 MiB of 256 MiB",
    ),
    (
        |s| s.cache.mode = CacheMode::Off,
        Warning,
        "Caching is off",
        "cache.mode",
    ),
    (
        |s| s.ready = false,
        Warning,
        "Draining",
        "3 requests in flight",
    ),
    (
        |s| shared(s, GroupState::Alone),
        Warning,
        "The engine of the shared level does not answer",
        "",
    ),
    (
        |s| shared(s, GroupState::CatchingUp),
        Warning,
        "Catching up with the other replicas",
        "",
    ),
    (|s| shared(s, GroupState::InStep), Good, "All is well", ""),
    (
        |s| s.origin.clock_skew_seconds = -45,
        Warning,
        "The clocks differ",
        "45 s behind",
    ),
    (
        |s| s.origin.clock_skew_seconds = 29,
        Good,
        "All is well",
        "",
    ),
    (
        |s| s.cache.weight_bytes = 255 << 20,
        Good,
        "All is well",
        "",
    ),
    (
        too_small,
        Warning,
        "The cache is too small",
        "50.0 %, and 90.0 % since",
    ),
];

/// A full cache whose hit ratio has fallen.
fn too_small(status: &mut Status) {
    let ratio = |hits, misses| {
        counted(|metrics| {
            ended(metrics, OutcomeLabel::Hit, hits);
            ended(metrics, OutcomeLabel::Miss, misses);
        })
    };
    status.cache.weight_bytes = 255 << 20;
    (status.minute, status.total) = (ratio(50, 50), ratio(900, 100));
}

#[test]
fn each_state_has_its_first_note() {
    for (change, severity, title, text) in CASES {
        let mut status = healthy();
        change(&mut status);
        let notes = notes(&status);
        assert_eq!(
            (notes[0].severity, notes[0].title.as_str()),
            (*severity, *title)
        );
        assert!(notes[0].text.contains(text), "{title}: {}", notes[0].text);
        assert!(notes.is_sorted_by_key(|note| note.severity), "{notes:?}");
    }
}

#[test]
fn the_worst_note_is_first_and_all_is_well_only_alone() {
    let mut status = healthy();
    status.origin.clock_skew_seconds = 60;
    reload(&mut status, &[], &["cache.capacity"]);
    status.minute = minute(99, 1, (4, 8), 0);
    let notes = notes(&status);
    let notes: Vec<_> = notes
        .iter()
        .map(|note| (note.severity, note.title.as_str()))
        .collect();
    assert_eq!(
        notes,
        [
            (Bad, "Clients get errors"),
            (Bad, "The origin is failing"),
            (Warning, "The clocks differ"),
            (Neutral, "Changed keys need a restart"),
        ]
    );
}

/// The causes of one minute are named, and not again beside the breaker's note.
#[test]
fn failures_of_the_last_minute_are_named_once() {
    let mut status = healthy();
    status.minute = counted(|metrics| {
        metrics.origin_responded(StatusCode::BAD_GATEWAY, UNIX_EPOCH);
        for _ in 0..4 {
            metrics.origin_failed(Fault::Refused, UNIX_EPOCH);
        }
    });
    let texts = |status: &Status| notes(status).into_iter().map(|note| note.text);
    let named = "n the last minute: connection_refused (4), 502 (1).";
    assert_eq!(
        texts(&status).collect::<Vec<_>>(),
        [format!("5 of 5 i{named}")]
    );
    failing(&mut status, BreakerState::Open, 4);
    let texts: Vec<_> = texts(&status).collect();
    assert!(texts.len() == 1 && texts[0].ends_with(named), "{texts:?}");
}

#[test]
fn the_sections_of_the_runbook_exist() {
    let runbook = include_str!("../../../docs/runbook.md");
    for alert in RULES.iter().filter_map(|(_, alert)| *alert) {
        assert!(runbook.contains(&format!("\n## {alert}\n")), "{alert}");
    }
}
