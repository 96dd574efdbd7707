//! Memoised views: shared, weighed, bounded and derived once.

use super::views::{BODY, get, start_with, views};
use crate::support::Reply;

#[tokio::test]
async fn equivalent_view_options_share_one_body() {
    let (_origin, proxy) = start_with(Reply::json(BODY)).await;
    let first = get(&proxy, "strip=partner(name,contacts.x),id").await;
    for query in [
        "strip=id,partner.contacts.x,partner.name",
        "strip=id&strip=partner(contacts(x),name)",
        "strip=%69d,partner.name,partner.contacts.x,partner.contacts.x",
        "strip=partner.name,**.x,partner.contacts.x,id",
    ] {
        get(&proxy, query)
            .await
            .assert_hit()
            .assert_body(first.body());
    }
    let shared = views(&proxy, "memoised").await;
    assert_eq!(shared.to_string(), "3", "**.x is another view");
    assert_eq!(views(&proxy, "derived").await.to_string(), "2");
}

#[tokio::test]
async fn memoised_views_count_towards_the_weight() {
    let large = "x".repeat(10_000);
    let (_origin, proxy) = start_with(Reply::json(&format!("{{\"a\":1,\"b\":\"{large}\"}}"))).await;
    let weight = async || proxy.metric("stuut_cache_weight_bytes").await;
    proxy.get("/v1/calls/c1").bearer("a").await;
    let whole = weight().await;
    get(&proxy, "strip=nothing").await;
    let with_unchanged_view = weight().await;
    get(&proxy, "strip=a").await;
    let with_both_views = weight().await;
    get(&proxy, "strip=a").await.assert_hit();
    assert!(whole > 10_000.0 && whole < 13_500.0, "{whole}");
    assert!(
        with_unchanged_view - whole < 3_000.0,
        "the bytes of the whole are shared: {with_unchanged_view}"
    );
    assert!(
        (10_000.0..13_000.0).contains(&(with_both_views - with_unchanged_view)),
        "{with_both_views}"
    );
    assert_eq!(
        weight().await.to_string(),
        with_both_views.to_string(),
        "memoised once"
    );
    let removed = proxy.metric("stuut_cache_view_removed_bytes_total").await;
    assert_eq!(removed.to_string(), (2 * "\"a\":1,".len()).to_string());
}

#[tokio::test]
async fn a_memoised_view_that_is_served_stale_is_counted_once() {
    let call =
        Reply::json(r#"{"a":1,"b":2}"#).header("cache-control", "max-age=10, stale-if-error=20");
    let (origin, proxy) = start_with(call).await;
    get(&proxy, "strip=a").await;
    origin.reply("/v1/calls/c1", Reply::new(500));
    proxy.advance_seconds(10);
    get(&proxy, "strip=a").await.assert_stale("stale-if-error");
    assert_eq!(views(&proxy, "memoised").await.to_string(), "1");
}

#[tokio::test]
async fn a_large_view_is_exact_although_derived_on_another_thread() {
    let large = "y".repeat(400_000);
    let (_origin, proxy) =
        start_with(Reply::json(&format!("{{\"a\":1, \"b\":\"{large}\"}}"))).await;
    let view = format!("{{ \"b\":\"{large}\"}}");
    get(&proxy, "strip=a")
        .await
        .assert_miss()
        .assert_body(&view);
    get(&proxy, "strip=a").await.assert_hit().assert_body(&view);
}

#[tokio::test]
async fn concurrent_requests_derive_a_large_view_once() {
    let large = "x".repeat(300_000);
    let (_origin, proxy) = start_with(Reply::json(&format!("{{\"a\":1,\"b\":\"{large}\"}}"))).await;
    proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    let view = || proxy.get("/v1/calls/c1?strip=b").bearer("a").start();
    let all: Vec<_> = (0..50).map(|_| view()).collect();
    for one in all {
        one.await.assert_hit().assert_body("{\"a\":1}");
    }
    let counts = (
        views(&proxy, "derived").await,
        views(&proxy, "memoised").await,
    );
    assert_eq!(
        (counts.0.to_string(), counts.1.to_string()),
        ("1".into(), "49".into())
    );
}

#[tokio::test]
async fn a_ninth_view_evicts_the_oldest() {
    let members: Vec<_> = (0..9).map(|n| format!("\"m{n}\":{n}")).collect();
    let (_origin, proxy) = start_with(Reply::json(&format!("{{{}}}", members.join(",")))).await;
    for n in (0..9).chain([8, 1, 0]) {
        get(&proxy, &format!("fields=m{n}"))
            .await
            .assert_body(format!("{{\"m{n}\":{n}}}"));
    }
    // The ninth and the second were still memoised; the first was derived again.
    let counts = (
        views(&proxy, "derived").await,
        views(&proxy, "memoised").await,
    );
    assert_eq!(
        (counts.0.to_string(), counts.1.to_string()),
        ("10".into(), "2".into())
    );
}

#[tokio::test]
async fn memoising_a_view_is_not_counted_as_an_eviction() {
    let replaced = "stuut_cache_evictions_total{cause=\"replaced\"}";
    let (_origin, proxy) = start_with(Reply::json(BODY)).await;
    get(&proxy, "strip=partner").await.assert_miss();
    get(&proxy, "fields=id").await.assert_status(200);
    assert_eq!(proxy.metric(replaced).await.to_string(), "0");
    let newer = proxy.get("/v1/calls/c1").bearer("a");
    newer.header("cache-control", "no-cache").await;
    assert_eq!(proxy.metric(replaced).await.to_string(), "1");
}
