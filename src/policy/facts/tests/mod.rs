//! The facts of bodies, one row each.

mod model;

use proptest::prelude::*;

use super::*;
use crate::config::Freshness;
use crate::json::MAX_DEPTH;

fn facts(body: &str) -> Facts {
    read(body.as_bytes(), &Freshness::default().live).expect("the rows are JSON")
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
        (
            r#"{"status":"busy","status":"failed"}"#,
            Some(CallStatus::Failed),
        ),
        (r#"{"status":"Failed"}"#, None),
        (r#"{"status":"paused"}"#, None),
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
        let facts = read(body.as_bytes(), &live).expect("the rows are JSON");
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
fn the_expiry_of_a_signed_url_is_read() {
    let amz = "https://b.example/k?X-Amz-Date=20231107T053156Z&X-Amz-Expires=";
    for (url, until) in [
        ("https://b.example/k".to_owned(), None),
        ("https://b.example/k?a=b&Expires=5".to_owned(), None),
        ("https://b.example/k?signature=x".to_owned(), None),
        ("https://b.example/k?sig=x&v=2".to_owned(), None),
        ("https://b.example/k?se=x".to_owned(), None),
        ("see https://b.example/k?X-Amz-Expires=60".to_owned(), None),
        ("https://b.example/k#?X-Amz-Expires=60".to_owned(), None),
        ("http".to_owned(), None),
        (format!("{amz}3600"), Some(THEN + 3600)),
        (
            format!("{amz}604800&X-Amz-Signature=ab"),
            Some(THEN + 604_800),
        ),
        (format!("{amz}3600#X-Amz-Expires=9"), Some(THEN + 3600)),
        (format!("{amz}600&X-Amz-Security-Token=t"), Some(THEN + 600)),
        (
            format!("{amz}7200&X-Amz-Security-Token=t"),
            Some(THEN + 3600),
        ),
        (amz.to_lowercase() + "60", Some(THEN + 60)),
        (
            "HTTPS://b.example/k?x-amz-expires=60&x-amz-date=20231107T053156Z".to_owned(),
            Some(THEN + 60),
        ),
        (
            "http://b.example/k?X-Goog-Date=20231107T053156Z&X-Goog-Expires=60".to_owned(),
            Some(THEN + 60),
        ),
        (
            "https://b.example/k?a=1&amp;X-Amz-Date=20231107T053156Z&amp;X-Amz-Expires=60"
                .to_owned(),
            Some(THEN + 60),
        ),
        (amz.to_owned(), Some(0)),
        (format!("{amz}soon"), Some(0)),
        (format!("{amz}-5"), Some(0)),
        (format!("{amz}18446744073709551615"), Some(0)),
        ("https://b.example/k?X-Amz-Expires=60".to_owned(), Some(0)),
        ("https://b.example/k?X-Amz-Signature=ab".to_owned(), Some(0)),
        (
            "https://b.example/k?AWSAccessKeyId=a&Expires=1699335116&Signature=b".to_owned(),
            Some(THEN),
        ),
        (
            "https://b.example/k?Expires=1699335116&Signature=b".to_owned(),
            Some(THEN),
        ),
        (
            "https://b.example/k?Expires=1699335116&Signature=b&x-amz-security-token=t".to_owned(),
            Some(0),
        ),
        (
            "https://b.example/k?Expires=never&Signature=b".to_owned(),
            Some(0),
        ),
        (
            "https://b.example/k?Policy=a&Signature=b&Key-Pair-Id=c".to_owned(),
            Some(0),
        ),
        (
            "https://b.example/k?sv=1&se=2023-11-07T05%3A31%3A56Z&sig=b".to_owned(),
            Some(THEN),
        ),
        (
            "https://b.example/k?se=2023-11-07T05:31:56Z&sig=b".to_owned(),
            Some(THEN),
        ),
        (
            "https://b.example/k?se=2023-11-07&sig=b".to_owned(),
            Some(THEN - 19_916),
        ),
        (
            "https://b.example/k?sv=1&si=policy&sig=b".to_owned(),
            Some(0),
        ),
    ] {
        for body in [
            format!(r#"{{"recording_url":"{url}"}}"#),
            format!(r#"[[{{"a":["x","{url}"]}}]]"#),
            format!(r#""{url}""#),
            format!(
                r#"{{"a":"{}"}}"#,
                url.replace('/', r"\/").replace('&', r"\u0026")
            ),
            format!(
                r#"{{"a":"{}"}}"#,
                url.replace('h', r"\u0068").replace('?', r"\u003f")
            ),
        ] {
            assert_eq!(facts(&body).signed_until, until.map(at), "{body}");
        }
    }
}

#[test]
fn the_expiry_member_next_to_a_signed_url_counts_too() {
    let amz = "https://b.example/k?X-Amz-Date=20231107T053156Z&X-Amz-Expires=3600";
    for (members, until) in [
        (r#""presigned_url":null,"presigned_url_expires_at":null"#.to_owned(), None),
        (r#""presigned_url":null,"presigned_url_expires_at":"2023-11-07T05:31:56Z""#.to_owned(), None),
        (r#""presigned_url":"""#.to_owned(), None),
        (
            r#""presigned_url":"https://b.example/k","presigned_url_expires_at":"2023-11-07T05:31:56Z""#
                .to_owned(),
            Some(THEN),
        ),
        (
            r#""presigned_url_expires_at":"2023-11-07T05:31:56Z","presigned_url":"key""#.to_owned(),
            Some(THEN),
        ),
        (
            format!(r#""presigned_url":"{amz}","presigned_url_expires_at":"2023-11-07T05:31:56Z""#),
            Some(THEN),
        ),
        (
            format!(r#""presigned_url":"{amz}","presigned_url_expires_at":"2024-01-01T00:00:00Z""#),
            Some(THEN + 3600),
        ),
        (format!(r#""presigned_url":"{amz}","presigned_url_expires_at":null"#), Some(THEN + 3600)),
        (format!(r#""presigned_url":"{amz}""#), Some(THEN + 3600)),
        (
            r#""presigned_url":"https://b.example/k?Policy=a&Signature=b","presigned_url_expires_at":"2023-11-07T05:31:56Z""#
                .to_owned(),
            Some(THEN),
        ),
        (r#""presigned_url":"https://b.example/k""#.to_owned(), Some(0)),
        (
            r#""presigned_url":"https://b.example/k","presigned_url_expires_at":"soon""#.to_owned(),
            Some(0),
        ),
        (
            r#""presigned_url":"https://b.example/k","a":{"presigned_url_expires_at":"2023-11-07T05:31:56Z"}"#
                .to_owned(),
            Some(0),
        ),
    ] {
        for body in [
            format!("{{{members}}}"),
            format!(r#"{{"a":[{{"b":{{{members}}}}}],"c":1}}"#),
        ] {
            assert_eq!(facts(&body).signed_until, until.map(at), "{body}");
        }
    }
}

#[test]
fn the_earliest_expiry_counts() {
    let body = r#"[
        "https://b.example/k?Expires=300&Signature=b",
        {"presigned_url":"a","presigned_url_expires_at":"1970-01-01T00:01:40Z"},
        "https://b.example/k?Expires=200&Signature=b"
    ]"#;
    assert_eq!(facts(body).signed_until, Some(at(100)));
}

#[test]
fn a_body_that_is_not_json_has_no_facts() {
    for body in [
        "",
        "{",
        "{\"status\":\"failed\"",
        "[1,]",
        "{}x",
        "<html>",
        "{\"a\":[}",
    ] {
        assert_eq!(read(body.as_bytes(), &[]), None, "{body}");
    }
    assert_eq!(read(b"{\"a\":\"\xff\"}", &[]), None);
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert_eq!(read(&nested(MAX_DEPTH), &[]), Some(Facts::default()));
    assert_eq!(read(&nested(MAX_DEPTH + 1), &[]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn facts_are_read_if_and_only_if_the_body_is_json(
        body in r#"([\[\]{},: ]|"(a|status|https:\\/\\/a\?[a&=%]{0,9})"|1|null|"k":){0,14}"#,
    ) {
        let valid = json::check(body.as_bytes()).is_ok();
        prop_assert_eq!(read(body.as_bytes(), &[]).is_some(), valid);
    }
}
