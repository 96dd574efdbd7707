//! The facts of bodies, one row each.

mod model;
mod urls;

use std::time::UNIX_EPOCH;

use super::*;
use crate::config::Freshness;
use crate::json::MAX_DEPTH;

fn facts(body: &str) -> Facts {
    read(body.as_bytes(), &Freshness::default().live, UNIX_EPOCH)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// 2023-11-07T05:31:56Z
const THEN: u64 = 1_699_335_116;

#[test]
fn status_and_times_of_a_call_are_read() {
    let call = facts(
        r#"{"id":"c1","status":"in_progress","end_time":null,"modified_at":"2023-11-07T05:31:56Z"}"#,
    );
    assert_eq!(
        call,
        Facts {
            status: Some(CallStatus::InProgress),
            modified_at: Some(at(THEN)),
            ..Facts::default()
        }
    );
    for &status in CallStatus::ALL {
        let body = format!(r#"{{ "status" : "{}" }}"#, status.as_str());
        assert_eq!(facts(&body).status, Some(status));
    }
    for (body, status) in [
        (r#"{"status":"fa\u0069led"}"#, Some(CallStatus::Failed)),
        (r#"{"st\u0061tus":"failed"}"#, Some(CallStatus::Failed)),
        ("\u{feff}{\"status\":\"failed\"}", Some(CallStatus::Failed)),
        (r#"{"status":"failed","status":"failed"}"#, None),
        (r#"{"status":"busy","status":null}"#, None),
        (r#"{"status":"Failed"}"#, None),
        (r#"{"status":"In_Progress"}"#, None),
        (r#"{"status":"paused"}"#, None),
        (r#"{"status":"failed"}{"status":"failed"}"#, None),
        (r#"{"status":"failed","cost":NaN}"#, None),
        (r#"{"status":null}"#, None),
        (r#"{"status":{"status":"failed"}}"#, None),
        (r#"{"a":{"status":"failed"}}"#, None),
        (r#"[{"status":"failed"}]"#, None),
        (r#""failed""#, None),
    ] {
        assert_eq!(facts(body).status, status, "{body}");
    }
}

#[test]
fn times_are_rfc_3339_with_an_optional_offset() {
    for (written, seconds) in [
        ("2023-11-07T05:31:56Z", Some(THEN)),
        ("2023-11-07T05:31:56.000Z", Some(THEN)),
        ("2023-11-07T06:31:56+01:00", Some(THEN)),
        ("2023-11-07T05:31:56", Some(THEN)),
        ("2023-11-07 05:31:56+00:00", Some(THEN)),
        ("yesterday", None),
        ("", None),
    ] {
        let body = format!(r#"{{"end_time":"{written}"}}"#);
        assert_eq!(facts(&body).end_time, seconds.map(at), "{written}");
    }
    assert_eq!(facts(r#"{"end_time":1699335116}"#).end_time, None);
}

#[test]
fn a_completed_call_is_unfinished_while_a_part_is_missing() {
    for (rest, unfinished) in [
        (
            r#""transcript":[],"summary":"","sentiment":"positive""#,
            false,
        ),
        (
            r#""transcript":{},"summary":"a","sentiment":"unknown""#,
            false,
        ),
        (
            r#""transcript":null,"summary":"a","sentiment":"positive""#,
            true,
        ),
        (
            r#""transcript":"a","summary":null,"sentiment":"positive""#,
            true,
        ),
        (r#""transcript":"a","summary":"a","sentiment":null"#, true),
        (r#""transcript":"a","summary":"a""#, true),
        (r#""a":{"transcript":1,"summary":1,"sentiment":1}"#, true),
    ] {
        let body = |status: &str| facts(&format!(r#"{{"status":"{status}",{rest}}}"#));
        assert_eq!(body("completed").unfinished, unfinished, "{rest}");
        assert!(
            !body("failed").unfinished,
            "only a completed call can be unfinished"
        );
    }
}

#[test]
fn live_parts_are_top_level_members_that_are_not_null() {
    let live = &Freshness::default().live;
    let shown = |body: &str| -> Vec<&str> {
        let parts = facts(body).live;
        let names = live.iter().enumerate();
        names
            .filter(|(index, _)| parts.contains(*index))
            .map(|(_, (name, _))| name.as_str())
            .collect()
    };
    for (body, names) in [
        ("{}", &[][..]),
        (r#"{"invoices":[],"partner":null}"#, &["invoices"]),
        (
            r#"{"partner":{"invoices":[1]},"workflow":0}"#,
            &["partner", "workflow"],
        ),
        (r#"{"partner":{},"partner":null}"#, &["partner"]),
        (r#"{"a":{"partner":{}}}"#, &[]),
        (r#"[{"partner":{}}]"#, &[]),
        (r#"{"p\u0061rtner":1}"#, &["partner"]),
    ] {
        assert_eq!(shown(body), names, "{body}");
    }
}

#[test]
fn the_shortest_lifetime_of_the_live_parts_counts() {
    let live: Vec<_> = (0..70)
        .map(|n| (format!("p{n}"), Duration::from_secs(100 - n)))
        .collect();
    let shortest = |body: &str| {
        let facts = read(body.as_bytes(), &live, UNIX_EPOCH);
        facts
            .live
            .shortest(&live)
            .map(|lifetime| lifetime.as_secs())
    };
    assert_eq!(shortest("{}"), None);
    assert_eq!(shortest(r#"{"p0":1}"#), Some(100));
    assert_eq!(shortest(r#"{"p0":1,"p9":1,"p8":1}"#), Some(91));
    assert_eq!(
        shortest(r#"{"p65":1}"#),
        Some(31),
        "parts from the 64th on share a bit"
    );
}

#[test]
fn a_body_that_is_not_json_has_no_status() {
    let unread = |body: &[u8]| assert_eq!(read(body, &[], UNIX_EPOCH).status, None, "{body:?}");
    for body in [
        "",
        "{",
        "{\"status\":\"failed\"",
        "{\"status\":\"failed\"}x",
        "<html>",
        "{\"status\":\"failed\",\"a\":[}}",
    ] {
        unread(body.as_bytes());
    }
    unread(b"{\"status\":\"failed\",\"a\":\"\xff\"}");
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        facts(&format!(r#"{{"status":"failed","a":{open}{close}}}"#)).status
    };
    assert_eq!(nested(MAX_DEPTH - 1), Some(CallStatus::Failed));
    assert_eq!(nested(MAX_DEPTH), None);
}
