//! Snapshots of the screen.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::model::Model;
use super::screen;
use crate::admin::Severity;
use crate::cli::stats_document::StatsDocument;

/// The document of a proxy with a history: one point for each number of requests.
fn document(requests: impl IntoIterator<Item = u64>) -> Value {
    let points = (1_u32..).zip(requests).map(|(at, hits)| {
        json!({
            "at": f64::from(at), "seconds": 1.0,
            "requests": {"hit": hits, "miss": hits / 10},
            "hit_ratio": 0.9 - f64::from(at % 7) / 20.0,
            "fetch_seconds": {"p50": 0.05 + f64::from(at % 5) / 100.0, "p90": 0.1, "p99": 0.2},
            "origin_requests": hits / 10, "origin_errors": u32::from(at % 11 == 0),
        })
    });
    json!({
        "version": "1.2.3", "started": "2027-01-15T08:00:00Z", "ready": true,
        "notes": [
            {"severity": "warning", "title": "Some requests to the origin failed", "text": "2 of 310."},
            {"severity": "neutral", "title": "Changed keys need a restart", "text": "cache.capacity."},
        ],
        "uptime_seconds": 7_400, "connections": 12, "in_flight": 3, "upstream_in_flight": 1,
        "cache": {"entries": 5_120, "weight_bytes": 172_000_000, "capacity_bytes": 268_435_456},
        "last_minute": {
            "seconds": 60.0, "requests": {"hit": 2_900, "miss": 310, "stale": 2}, "hit_ratio": 0.903,
            "hit_seconds": {"p50": 0.000_07, "p90": 0.000_09, "p99": 0.000_3},
            "statuses": {"200": 3_200, "404": 12}, "origin_seconds": {"p50": 0.061, "p99": 0.19},
            "fetch_seconds": {"p50": 0.064, "p90": 0.1, "p99": 0.192},
            "origin_requests": 310, "origin_errors": 2, "memory_bytes": 104_857_600,
            "view_bytes": 20_971_520, "coding_bytes": 10_485_760,
        },
        "total": {
            "seconds": 7_400.0, "requests": {"hit": 1_234_567, "miss": 98_765, "failed": 1},
            "hit_ratio": 0.91,
        },
        "fields": {"fills_measured": 9, "body_bytes": 39_436.0, "heaviest": [
            {"name": "invoices", "bytes": 23_991.0, "share": 0.608},
            {"name": "partner", "bytes": 9_417.0, "share": 0.239},
            {"name": "transcript", "bytes": 1_456.0, "share": 0.037},
        ]},
        "callers": [
            {"scope": "f7a604d1", "requests": 2_610, "bytes": 61_341_696, "origin_requests": 204},
            {"scope": "0b5e1a20", "waiting": 4, "requests": 602, "bytes": 4_194_304, "origin_requests": 106},
        ],
        "keys": [{"path": "/v1/calls/call_acme_0001", "requests": 905, "bytes": 8_388_608, "origin_requests": 3}],
        "history": {"seconds": points.collect::<Vec<_>>()},
    })
}

fn model(document: Value) -> Model {
    let mut model = Model::new("127.0.0.1:9090".to_owned());
    model.apply(serde_json::from_value::<StatsDocument>(document).expect("a document"));
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> String {
    let backend = TestBackend::new(width, height);
    let mut terminal = Terminal::new(backend).expect("a test terminal");
    terminal
        .draw(|frame| screen::draw(frame, model))
        .expect("it can be drawn");
    terminal.backend().to_string()
}

#[test]
fn the_screen_of_a_busy_proxy() {
    let waves = (0..60).map(|at| 20 + at % 13 * 5);
    insta::assert_snapshot!(drawn(&model(document(waves)), 110, 24));
}

#[test]
fn a_high_window_has_the_busiest_scopes_and_paths() {
    let screen = drawn(&model(document([10, 20, 30])), 110, 40);
    assert!(screen.contains("f7a604d1") && screen.contains("/v1/calls/call_acme_0001"));
    assert!(screen.contains("0b5e1a20 (4 waiting)"), "{screen}");
}

/// It was cut at the right, before the id of the call.
#[test]
fn a_narrow_window_has_the_end_of_a_long_path() {
    let mut document = document([1]);
    let id = "call_3f0c2a51-7d6e-4d4b-9a25-60f1c3d2b7aa";
    document["keys"][0]["path"] = json!(format!("/v1/tenants/acme/calls/{id}"));
    for width in [150, 80, 60] {
        let screen = drawn(&model(document.clone()), width, 48);
        assert!(screen.contains(id), "{screen}");
    }
}

#[test]
fn paths_are_listed_only_with_the_admin_token() {
    let mut document = document([1]);
    document["keys"] = json!("hidden: needs the admin token");
    assert_eq!(model(document).stats.keys.len(), 0);
}

#[test]
fn the_screen_of_a_small_window() {
    insta::assert_snapshot!(drawn(&model(document([10, 20, 30])), 60, 30));
}

#[test]
fn the_screen_of_a_proxy_that_has_just_started() {
    let started = json!({"version": "1.2.3", "ready": true});
    insta::assert_snapshot!(drawn(&model(started), 80, 22));
}

#[test]
fn windows_of_every_size_are_drawn() {
    let model = model(document(0..300));
    for (width, height) in [(1, 1), (10, 3), (79, 5), (80, 1), (300, 100)] {
        assert!(!drawn(&model, width, height).is_empty());
    }
}

#[test]
fn the_error_replaces_the_notes_of_a_proxy_that_does_not_respond() {
    let mut model = model(document([1]));
    assert_eq!(model.notes()[0].severity, Severity::Warning);
    model.last_error = Some("cannot reach it".to_owned());
    let notes = model.notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(
        (notes[0].severity, notes[0].text.as_str()),
        (Severity::Bad, "cannot reach it")
    );
}

#[test]
fn points_of_one_process_are_kept_for_five_minutes() {
    let mut model = model(document(0..290));
    let mut next = document([7; 20]);
    model.apply(serde_json::from_value(next.clone()).expect("a document"));
    assert_eq!(model.points.len(), 300);
    assert_eq!(model.points[299].requests("hit"), 7);
    next["started"] = json!("2027-01-15T09:00:00Z");
    model.apply(serde_json::from_value(next).expect("a document"));
    assert_eq!(model.points.len(), 20);
}
