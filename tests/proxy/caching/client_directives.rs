//! What a client may ask of the store with `Cache-Control` and `Pragma`.

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

async fn ask(proxy: &Proxy, directives: &str) -> Response {
    proxy
        .get(CALL)
        .bearer("a")
        .header("cache-control", directives)
        .await
}

#[tokio::test]
async fn no_cache_asks_the_origin_about_a_fresh_response() {
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
        assert_eq!(origin.last_request().header(name), None, "it stays with us");
        origin.assert_requests(2);
        // What it brought is there for everybody else.
        let next = proxy.get(CALL).bearer("a").await.assert_hit();
        assert_eq!(next.json()["number"], 2);
    }
}

#[tokio::test]
async fn pragma_means_nothing_beside_cache_control() {
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
async fn max_age_is_the_age_that_a_client_accepts() {
    let (_origin, proxy) = stored().await;
    proxy.advance_seconds(5);
    ask(&proxy, "max-age=5").await.assert_hit();
    proxy.advance(Duration::from_millis(1));
    ask(&proxy, "max-age=5").await.assert_forwarded("request");
    // Freshness is not longer for it.
    proxy.advance_seconds(10);
    ask(&proxy, "max-age=60").await.assert_forwarded("stale");
}

#[tokio::test]
async fn min_fresh_is_the_freshness_that_a_client_needs() {
    let (_origin, proxy) = stored().await;
    proxy.advance_seconds(5);
    ask(&proxy, "min-fresh=5")
        .await
        .assert_cache_status("stuut-cache; hit; ttl=5");
    proxy.advance(Duration::from_millis(1));
    ask(&proxy, "min-fresh=5").await.assert_forwarded("request");
    ask(&proxy, "min-fresh=11")
        .await
        .assert_forwarded("request");
}

#[tokio::test]
async fn max_stale_is_the_staleness_that_a_client_accepts() {
    for (directives, seconds) in [
        ("max-stale=3", 3),
        ("max-stale", 300),
        ("max-age=60, max-stale=3", 3),
    ] {
        let (origin, proxy) = stored().await;
        origin.hold(CALL);
        proxy.advance_seconds(10 + seconds);
        ask(&proxy, directives).await.assert_cache_status(&format!(
            "stuut-cache; hit; ttl=-{seconds}; detail=max-stale"
        ));
        // It is refreshed for those who come after.
        origin.wait_for_requests(2).await;
    }
    let (_origin, proxy) = stored().await;
    proxy.advance(Duration::from_millis(13_001));
    ask(&proxy, "max-stale=3").await.assert_forwarded("stale");
}

#[tokio::test]
async fn max_stale_does_not_override_an_origin_that_forbids_it() {
    let (origin, proxy) = stored().await;
    origin.reply(
        CALL,
        Reply::echo().header("cache-control", "max-age=10, must-revalidate"),
    );
    ask(&proxy, "no-cache").await.assert_forwarded("request");
    proxy.advance_seconds(10);
    ask(&proxy, "max-stale").await.assert_forwarded("stale");
}

#[tokio::test]
async fn only_if_cached_never_asks_the_origin_first() {
    let (origin, proxy) = stored().await;
    ask(&proxy, "only-if-cached").await.assert_hit();
    proxy.advance_seconds(11);
    ask(&proxy, "only-if-cached")
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
    ask(&proxy, "only-if-cached, max-stale")
        .await
        .assert_stale("max-stale");
}

#[tokio::test]
async fn no_store_keeps_an_answer_out_of_the_store() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for _ in 0..2 {
        ask(&proxy, "no-store")
            .await
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=request-no-store");
    }
    proxy.get(CALL).bearer("a").await.assert_miss();
    // It forbids to store, not to serve what is stored.
    ask(&proxy, "no-store").await.assert_hit();
    origin.assert_requests(3);
}

#[tokio::test]
async fn who_asks_for_freshness_is_not_served_stale_on_an_error() {
    for directives in ["no-cache", "max-age=0", "max-age=60", "min-fresh=1"] {
        let (origin, proxy) = stored().await;
        origin.reply(CALL, Reply::new(503));
        proxy.advance_seconds(11);
        ask(&proxy, directives).await.assert_status(503);
        proxy
            .get(CALL)
            .bearer("a")
            .await
            .assert_stale("stale-if-error");
    }
}

#[tokio::test]
async fn ignored_directives_change_nothing() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.freshness.client_directives = ClientDirectives::Ignore;
    })
    .await;
    ask(&proxy, "only-if-cached, no-store").await.assert_miss();
    for directives in ["no-cache", "no-store", "max-age=0", "min-fresh=99"] {
        ask(&proxy, directives).await.assert_hit();
    }
    proxy
        .get(CALL)
        .bearer("a")
        .header("pragma", "no-cache")
        .await
        .assert_hit();
    proxy.advance_seconds(60);
    ask(&proxy, "max-stale").await.assert_forwarded("stale");
}

#[tokio::test]
async fn a_client_that_forbids_storing_does_not_refresh_in_the_background() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let rule = "max-age=10, stale-while-revalidate=60";
    origin.reply(CALL, Reply::echo().header("cache-control", rule));
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(10);
    ask(&proxy, "no-store")
        .await
        .assert_stale("stale-while-revalidate");
    // The refresh is left to a client whose answer may be stored.
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_stale("stale-while-revalidate");
    wait_until("a refreshed response", async || {
        let answer = proxy.get(CALL).bearer("a").await;
        answer.json()["number"] == 2 && answer.cache_status() == "stuut-cache; hit; ttl=10"
    })
    .await;
    origin.assert_requests(2);
}
