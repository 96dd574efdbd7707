//! Freshness from the fields of a call: status, times, missing parts, signed URLs.

use std::time::{Duration, SystemTime};

use http::Method;
use stuut_cache::config::{CallStatus, Freshness, OriginRule};
use stuut_cache::label::Label as _;

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

/// An RFC 3339 date, this many seconds from the start of the test.
fn at(seconds: i64) -> String {
    let start = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        start - offset
    } else {
        start + offset
    };
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A complete call with this status that ended an hour ago.
fn call(status: &str) -> serde_json::Value {
    serde_json::json!({
        "id": "c1", "status": status, "end_time": at(-3_600), "modified_at": at(-3_600),
        "transcript": [], "summary": "s", "sentiment": "neutral",
    })
}

async fn serving(body: &serde_json::Value) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::for_calls(&origin).await;
    origin.reply(CALL, Reply::json(&body.to_string()));
    (origin, proxy)
}

/// Fetches the target and asserts that it is fresh for exactly `seconds`.
async fn assert_fresh_for(proxy: &Proxy, target: &str, seconds: u64) {
    proxy
        .get(target)
        .bearer("a")
        .await
        .assert_cache_status(&format!(
            "stuut-cache; fwd=miss; fwd-status=200; stored; ttl={seconds}"
        ));
    proxy.advance(Duration::from_millis(seconds * 1_000 - 1));
    proxy.get(target).bearer("a").await.assert_hit();
    proxy.advance(Duration::from_millis(1));
    let status = proxy.get(target).bearer("a").await.cache_status();
    assert!(
        !status.starts_with("stuut-cache; hit; ttl=") || status.ends_with("stale-while-revalidate"),
        "{target} is fresh for longer than {seconds} s: {status}"
    );
}

#[tokio::test]
async fn each_call_status_has_its_lifetime() {
    for &status in CallStatus::ALL {
        let seconds = match status {
            CallStatus::InProgress
            | CallStatus::Ringing
            | CallStatus::Initiated
            | CallStatus::Registered => 2,
            CallStatus::Queued | CallStatus::PendingApproval => 15,
            _ => 600,
        };
        let (_origin, proxy) = serving(&call(status.as_str())).await;
        assert_fresh_for(&proxy, CALL, seconds).await;
    }
}

#[tokio::test]
async fn a_call_settles_for_ten_minutes_after_its_end() {
    for (end, seconds) in [(-599, 10), (-600, 600)] {
        for field in ["end_time", "modified_at"] {
            let mut body = call("completed");
            body["end_time"] = serde_json::Value::Null;
            body[field] = at(end).into();
            let (_origin, proxy) = serving(&body).await;
            assert_fresh_for(&proxy, CALL, seconds).await;
        }
    }
}

#[tokio::test]
async fn a_completed_call_with_missing_parts_is_still_settling() {
    for part in ["transcript", "summary", "sentiment"] {
        let mut body = call("completed");
        body[part] = serde_json::Value::Null;
        let (_origin, proxy) = serving(&body).await;
        assert_fresh_for(&proxy, CALL, 10).await;
        // A call that did not take place never gets these parts.
        body["status"] = "busy".into();
        let (_origin, proxy) = serving(&body).await;
        assert_fresh_for(&proxy, CALL, 600).await;
    }
}

#[tokio::test]
async fn the_origins_lifetime_wins_over_the_status_unless_overridden() {
    for (rule, seconds) in [(OriginRule::Obey, 30), (OriginRule::Override, 600)] {
        let origin = Origin::start().await;
        let proxy = Proxy::with(&origin, |config| {
            config.freshness = Freshness {
                origin: rule,
                ..Freshness::default()
            };
        })
        .await;
        let reply = Reply::json(&call("completed").to_string());
        origin.reply(CALL, reply.header("cache-control", "max-age=30"));
        assert_fresh_for(&proxy, CALL, seconds).await;
    }
}

#[tokio::test]
async fn a_view_without_live_parts_is_a_hit_after_the_call_is_stale() {
    let mut body = call("completed");
    body["invoices"] = serde_json::json!([{ "id": "i1" }]);
    let (origin, proxy) = serving(&body).await;
    let stripped = format!("{CALL}?strip=invoices");
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60");
    proxy
        .get(&stripped)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; hit; ttl=600");
    proxy.advance_seconds(66);
    proxy
        .get(&stripped)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; hit; ttl=534");
    origin.assert_requests(1);
    let whole = proxy.get(CALL).bearer("a").await;
    assert!(whole.cache_status().contains("fwd=stale"), "{whole}");
    origin.assert_requests(2);
}

/// A call with a signed URL that expires 100 s after the start.
fn signed() -> serde_json::Value {
    let mut body = call("completed");
    body["attachment"] = serde_json::json!({
        "presigned_url": "https://files.example/a.wav?X-Amz-Signature=1",
        "presigned_url_expires_at": at(100),
    });
    body
}

#[tokio::test]
async fn no_hit_has_a_signed_url_within_30_seconds_of_its_expiry() {
    let (_origin, proxy) = serving(&signed()).await;
    let part = format!("{CALL}?fields=id,attachment");
    for target in [CALL, &part] {
        proxy.get(target).bearer("a").await;
    }
    proxy.advance(Duration::from_millis(69_999));
    for target in [CALL, &part] {
        proxy.get(target).bearer("a").await.assert_hit();
    }
    proxy.advance(Duration::from_millis(1));
    for target in [CALL, &part] {
        let response = proxy.get(target).bearer("a").await;
        assert!(!response.cache_status().contains("; hit"), "{response}");
    }
}

#[tokio::test]
async fn a_view_without_the_signed_url_outlives_it() {
    let (origin, proxy) = serving(&signed()).await;
    let without = format!("{CALL}?strip=attachment");
    proxy.get(CALL).bearer("a").await;
    proxy.advance_seconds(200);
    proxy.get(&without).bearer("a").await.assert_hit();
    origin.assert_requests(1);
}

#[tokio::test]
async fn no_stale_if_error_response_has_an_expired_signed_url() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let reply = Reply::json(&signed().to_string());
    let rule = "max-age=10, stale-while-revalidate=600, stale-if-error=600";
    origin.replies(
        CALL,
        vec![reply.header("cache-control", rule), Reply::new(503)],
    );
    proxy.get(CALL).bearer("a").await;
    proxy.advance_seconds(71);
    proxy.get(CALL).bearer("a").await.assert_status(503);
    // A view without the URL may be served stale.
    proxy
        .get(&format!("{CALL}?strip=attachment"))
        .bearer("a")
        .await
        .assert_status(200);
}

#[tokio::test]
async fn a_304_does_not_renew_a_response_with_an_expired_url() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let reply = Reply::json(&signed().to_string()).header("cache-control", "max-age=10");
    origin.reply(CALL, reply.validating("\"1\""));
    proxy.get(CALL).bearer("a").await;
    proxy.advance_seconds(50);
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; stored; ttl=10");
    proxy.advance_seconds(21);
    proxy.get(CALL).bearer("a").await;
    let request = origin.last_request();
    assert_eq!(
        request.header("if-none-match"),
        None,
        "an unconditional request: {request:?}"
    );
    // Nor is the client's own copy confirmed by a 304 from the store.
    let conditional = proxy
        .get(CALL)
        .bearer("a")
        .header("if-none-match", "\"1\"")
        .await;
    assert!(
        !conditional.cache_status().contains("; hit"),
        "{conditional}"
    );
}

#[tokio::test]
async fn explain_names_the_rule_and_the_next_outcome() {
    let mut body = call("completed");
    body["invoices"] = serde_json::json!([]);
    let (_origin, proxy) = serving(&body).await;
    let explain = async || {
        let target = format!("/explain?path={CALL}");
        proxy
            .admin(Method::GET, &target)
            .await
            .assert_status(200)
            .json()
    };
    assert_eq!(explain().await["stored"], serde_json::json!([]));

    proxy
        .get(&format!("{CALL}?strip=invoices"))
        .bearer("a")
        .await;
    proxy.advance_seconds(61);
    let explained = explain().await;
    let stored = &explained["stored"][0];
    assert_eq!(
        (stored["rule"].as_str(), stored["age_seconds"].as_u64()),
        (Some("status"), Some(61))
    );
    assert_eq!(stored["rule_lifetime_seconds"], 600);
    assert_eq!(stored["whole"]["lifetime_seconds"], 60);
    assert_eq!(stored["whole"]["limited_by"], "live parts (freshness.live)");
    assert_eq!(
        stored["whole"]["next_request"],
        "hit, stale, refreshed in the background"
    );
    assert_eq!(stored["views"]["strip=invoices"]["next_request"], "hit");

    proxy
        .admin(Method::POST, "/purge?call=c1")
        .await
        .assert_status(200);
    let explained = explain().await;
    let stored = &explained["stored"];
    let is_purged =
        stored.as_array().is_some_and(Vec::is_empty) || stored[0]["invalidated"] == true;
    assert!(is_purged, "{explained}");
}

/// A URL may expire after the year 9999.
#[tokio::test]
async fn explain_accepts_a_url_expiry_out_of_calendar_range() {
    for address in [
        "https://x.example/1?se=9999-12-30T00:00:00Z&sig=a",
        "https://x.example/1?Expires=999999999999999999&Signature=x",
    ] {
        let mut body = call("completed");
        body["presigned_url"] = address.into();
        let (_origin, proxy) = serving(&body).await;
        proxy.get(CALL).bearer("a").await.assert_miss();
        let explained = proxy
            .admin(Method::GET, &format!("/explain?path={CALL}"))
            .await
            .assert_status(200)
            .json();
        assert!(
            explained["stored"][0]["whole"]["signed_until"].is_string(),
            "{explained}"
        );
    }
}
