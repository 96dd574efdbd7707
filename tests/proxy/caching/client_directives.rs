//! `Cache-Control` and `Pragma` of requests.

use std::time::Duration;

use stuut_cache::config::ClientDirectives;

use crate::support::{Origin, Proxy, Reply, Response, wait_until};

const CALL: &str = "/v1/calls/c1";

/// A stored response that is fresh for ten seconds and may be served stale.
async fn stored() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, Reply::echo().header("cache-control", "max-age=10"));
    proxy.get(CALL).bearer("a").await.assert_miss();
    (origin, proxy)
}

async fn get(proxy: &Proxy, directives: &str) -> Response {
    proxy
        .get(CALL)
        .bearer("a")
        .header("cache-control", directives)
        .await
}

#[tokio::test]
async fn no_cache_fetches_although_the_stored_response_is_fresh() {
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("cache-control", "NO-CACHE, max-age=5"),
        ("cache-control", "max-age=0"),
        ("cache-control", "max-age=five"),
        ("pragma", "no-cache"),
    ] {
        let (origin, proxy) = stored().await;
        proxy.advance_seconds(1);
        proxy
            .get(CALL)
            .bearer("a")
            .header(name, value)
            .await
            .assert_cache_status("stuut-cache; fwd=request; fwd-status=200; stored; ttl=10");
        origin.assert_requests(2);
        // The new response is stored.
        let next = proxy.get(CALL).bearer("a").await.assert_hit();
        assert_eq!(next.json()["number"], 2);
    }
}

#[tokio::test]
async fn pragma_is_ignored_if_cache_control_is_present() {
    let (_origin, proxy) = stored().await;
    proxy
        .get(CALL)
        .bearer("a")
        .header("pragma", "no-cache")
        .header("cache-control", "max-age=60")
        .await
        .assert_hit();
}

#[tokio::test]
async fn max_age_limits_the_age_that_a_client_accepts() {
    let (_origin, proxy) = stored().await;
    proxy.advance_seconds(5);
    get(&proxy, "max-age=5").await.assert_hit();
    proxy.advance(Duration::from_millis(1));
    get(&proxy, "max-age=5").await.assert_forwarded("request");
    // It does not extend the lifetime.
    proxy.advance_seconds(10);
    get(&proxy, "max-age=60").await.assert_forwarded("stale");
}

#[tokio::test]
async fn min_fresh_is_the_remaining_lifetime_a_client_needs() {
    let (_origin, proxy) = stored().await;
    proxy.advance_seconds(5);
    get(&proxy, "min-fresh=5")
        .await
        .assert_cache_status("stuut-cache; hit; ttl=5");
    proxy.advance(Duration::from_millis(1));
    get(&proxy, "min-fresh=5").await.assert_forwarded("request");
    get(&proxy, "min-fresh=11")
        .await
        .assert_forwarded("request");
}

#[tokio::test]
async fn max_stale_is_the_staleness_a_client_accepts() {
    for (directives, seconds) in [
        ("max-stale=3", 3),
        ("max-stale", 300),
        ("max-age=60, max-stale=3", 3),
    ] {
        let (origin, proxy) = stored().await;
        origin.hold(CALL);
        proxy.advance_seconds(10 + seconds);
        get(&proxy, directives).await.assert_cache_status(&format!(
            "stuut-cache; hit; ttl=-{seconds}; detail=max-stale"
        ));
        // A background refresh has started.
        origin.wait_for_requests(2).await;
    }
    let (_origin, proxy) = stored().await;
    proxy.advance(Duration::from_millis(13_001));
    get(&proxy, "max-stale=3").await.assert_forwarded("stale");
}

#[tokio::test]
async fn max_stale_does_not_override_must_revalidate() {
    let (origin, proxy) = stored().await;
    origin.reply(
        CALL,
        Reply::echo().header("cache-control", "max-age=10, must-revalidate"),
    );
    get(&proxy, "no-cache").await.assert_forwarded("request");
    proxy.advance_seconds(10);
    get(&proxy, "max-stale").await.assert_forwarded("stale");
}

#[tokio::test]
async fn only_if_cached_never_sends_a_request_to_the_origin() {
    let (origin, proxy) = stored().await;
    get(&proxy, "only-if-cached").await.assert_hit();
    proxy.advance_seconds(11);
    get(&proxy, "only-if-cached")
        .await
        .assert_problem(504, "only-if-cached")
        .assert_cache_status("stuut-cache; detail=only-if-cached");
    proxy
        .get("/v1/calls/c2")
        .bearer("a")
        .header("cache-control", "only-if-cached")
        .await
        .assert_problem(504, "only-if-cached");
    origin.assert_requests(1);
    get(&proxy, "only-if-cached, max-stale")
        .await
        .assert_stale("max-stale");
}

#[tokio::test]
async fn a_response_to_a_no_store_request_is_not_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for _ in 0..2 {
        get(&proxy, "no-store")
            .await
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=request-no-store");
    }
    proxy.get(CALL).bearer("a").await.assert_miss();
    // It forbids storing, not using a stored response.
    get(&proxy, "no-store").await.assert_hit();
    origin.assert_requests(3);
}

#[tokio::test]
async fn freshness_directives_forbid_stale_if_error() {
    for directives in ["no-cache", "max-age=0", "max-age=60", "min-fresh=1"] {
        let (origin, proxy) = stored().await;
        origin.reply(CALL, Reply::new(503));
        proxy.advance_seconds(11);
        get(&proxy, directives).await.assert_status(503);
        proxy
            .get(CALL)
            .bearer("a")
            .await
            .assert_stale("stale-if-error");
    }
}

#[tokio::test]
async fn ignored_client_directives_have_no_effect() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.freshness.client_directives = ClientDirectives::Ignore;
    })
    .await;
    get(&proxy, "only-if-cached, no-store").await.assert_miss();
    for directives in ["no-cache", "no-store", "max-age=0", "min-fresh=99"] {
        get(&proxy, directives).await.assert_hit();
    }
    proxy
        .get(CALL)
        .bearer("a")
        .header("pragma", "no-cache")
        .await
        .assert_hit();
    proxy.advance_seconds(60);
    get(&proxy, "max-stale").await.assert_forwarded("stale");
}

#[tokio::test]
async fn a_no_store_request_starts_no_background_refresh() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let rule = "max-age=10, stale-while-revalidate=60";
    origin.reply(CALL, Reply::echo().header("cache-control", rule));
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(10);
    get(&proxy, "no-store")
        .await
        .assert_stale("stale-while-revalidate");
    // A request whose response may be stored starts the refresh.
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_stale("stale-while-revalidate");
    wait_until("a refreshed response", async || {
        let response = proxy.get(CALL).bearer("a").await;
        response.json()["number"] == 2 && response.cache_status() == "stuut-cache; hit; ttl=10"
    })
    .await;
    origin.assert_requests(2);
}

/// Otherwise a cache between the proxy and the origin answers from its own store.
#[tokio::test]
async fn a_directive_that_causes_a_fetch_is_forwarded() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let get = || proxy.get("/v1/calls/c1").bearer("a");
    get().await.assert_miss();
    let sent = |name: &str| origin.last_request().header(name);
    assert_eq!((sent("cache-control"), sent("pragma")), (None, None));
    for (name, value, cache_control) in [
        ("cache-control", "no-cache, x=1", "no-cache"),
        ("cache-control", "max-age=0", "max-age=0"),
        (
            "cache-control",
            "no-cache, max-age=0",
            "no-cache, max-age=0",
        ),
        ("pragma", "no-cache", "no-cache"),
    ] {
        get().header(name, value).await.assert_forwarded("request");
        assert_eq!(sent("cache-control").as_deref(), Some(cache_control));
        let pragma = (name == "pragma").then_some("no-cache");
        assert_eq!(sent("pragma").as_deref(), pragma);
    }
    origin.assert_requests(5);
    let ignoring = Proxy::with(&origin, |config| {
        config.freshness.client_directives = ClientDirectives::Ignore;
    })
    .await;
    let request = ignoring.get("/v1/calls/c1").bearer("a");
    request
        .header("cache-control", "no-cache")
        .await
        .assert_miss();
    assert_eq!(sent("cache-control"), None);
}
