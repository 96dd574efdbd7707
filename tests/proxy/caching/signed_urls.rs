//! Pre-signed URLs: no stored response shows one that has expired since.

use std::time::{Duration, SystemTime};

use stuut_cache::config::{Route, RoutePattern};

use super::unknown::answering;
use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

/// The start of every test, and a URL signed then for this many seconds.
fn signed(seconds: u64) -> String {
    format!(
        "https://b.example/k?X-Amz-Date=20270115T080000Z&X-Amz-Expires={seconds}&X-Amz-Signature=a"
    )
}

/// An ended call that the origin declares fresh for an hour, with this text in a member.
fn call(text: &str) -> Reply {
    let body = serde_json::json!({
        "id": "c1", "status": "busy", "end_time": "2020-01-01T00:00:00Z", "note": text,
    });
    Reply::json(&body.to_string()).header("cache-control", "max-age=3600")
}

#[tokio::test]
async fn a_url_within_longer_text_ends_the_response_before_it_expires() {
    let url = signed(130);
    let redirector = format!(
        "https://r.example/?to={}",
        url.replace('/', "%2F")
            .replace('?', "%3F")
            .replace('=', "%3D")
            .replace('&', "%26")
    );
    for text in [
        format!("Recording: {url}."),
        format!("<a href=\"{}\">", url.replace('&', "&amp;")),
        format!("[recording]({url})"),
        serde_json::json!({ "url": url }).to_string(),
        redirector,
        "https://d.example/k?Expires=1800000130&Signature=a&Key-Pair-Id=b".to_owned(),
        "https://d.example/exp=1800000130~hmac=a/k.m3u8".to_owned(),
        "https://d.example/k?oh=00_AfBcDeFgHiJkLm&oe=6b49d282".to_owned(),
    ] {
        let (_origin, proxy) = answering(call(&text)).await;
        proxy.get(CALL).bearer("a").await.assert_miss();
        proxy.advance_seconds(99);
        proxy.get(CALL).bearer("a").await.assert_hit();
        proxy.advance_seconds(1);
        let late = proxy.get(CALL).bearer("a").await;
        assert!(!late.cache_status().contains("; hit"), "{text} {late}");
    }
}

#[tokio::test]
async fn a_url_with_an_unreadable_expiry_has_the_cap_of_a_live_part() {
    let (_origin, proxy) = answering(call("https://b.example/k?sig=x")).await;
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60");
}

/// The origin sent it like that, so a cache is no worse.
#[tokio::test]
async fn a_url_that_has_expired_on_arrival_caps_nothing() {
    let old = "https://b.example/k?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60&X-Amz-Signature=a";
    let (_origin, proxy) = answering(call(&format!("{old} {}", signed(130)))).await;
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=100");
}

#[tokio::test]
async fn the_redirect_to_a_signed_url_is_not_stored_beyond_it() {
    for (name, value) in [
        ("location", signed(130)),
        ("content-location", signed(130)),
        ("link", format!("<{}>; rel=next", signed(130))),
    ] {
        let reply = Reply::new(302)
            .header(name, &value)
            .header("cache-control", "max-age=600");
        let (_origin, proxy) = answering(reply).await;
        proxy
            .get(CALL)
            .bearer("a")
            .await
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=302; stored; ttl=100");
    }
}

#[tokio::test]
async fn expiries_count_from_the_later_of_our_clock_and_the_origins() {
    for (skew, ttl) in [(60, 40), (-60, 100)] {
        let origin = Origin::start().await;
        let proxy = Proxy::for_calls(&origin).await;
        origin.reply(CALL, call(&signed(130)).header("date", &proxy.date(skew)));
        proxy
            .get(CALL)
            .bearer("a")
            .await
            .assert_cache_status(&format!(
                "stuut-cache; fwd=miss; fwd-status=200; stored; ttl={ttl}"
            ));
    }
}

/// A 304 says that the body is the same, not that its URL is still valid.
#[tokio::test]
async fn a_304_does_not_lift_the_expiry_of_a_url_in_a_view() {
    let body = serde_json::json!({
        "id": "c1", "status": "busy", "end_time": "2020-01-01T00:00:00Z", "url": signed(130),
    });
    let reply = Reply::json(&body.to_string()).header("cache-control", "max-age=90");
    let (origin, proxy) = answering(reply.validating("\"1\"")).await;
    let (view, whole) = (format!("{CALL}?strip=url"), CALL);
    proxy.get(&view).bearer("a").await.assert_miss();
    proxy.advance_seconds(140);
    let renewed = proxy.get(&view).bearer("a").await;
    assert!(
        renewed.cache_status().contains("fwd-status=304"),
        "{renewed}"
    );
    proxy.get(whole).bearer("a").await;
    let request = origin.last_request();
    assert_eq!(request.header("if-none-match"), None, "{request:?}");
}

#[tokio::test]
async fn other_json_with_a_signed_url_is_capped_too() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.cache.routes.push(Route {
            path: RoutePattern::parse("/v1/agents/{id}").expect("a pattern"),
            ttl: Some(Duration::from_secs(500)),
        });
    })
    .await;
    let at = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000) + Duration::from_secs(130);
    let at = humantime::format_rfc3339_seconds(at);
    for (id, body) in [
        (
            "1",
            format!(r#"{{"url":"https://b.example/k","urlExpiresAt":"{at}"}}"#),
        ),
        ("2", format!("<a href='{}'>", signed(130))),
    ] {
        let target = format!("/v1/agents/{id}");
        origin.reply(&target, Reply::new(200).body(body));
        proxy
            .get(&target)
            .bearer("a")
            .await
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=100");
    }
}
