//! A token that only reads stored calls is rechecked with the origin (`scope.recheck`).

use http::Method;
use stuut_cache::config::{Config, Interval};

use crate::support::{Origin, Proxy, Reply, Request};

const CALL: &str = "/v1/calls/c1";

/// With the default interval of one minute, and calls that are fresh for ten minutes.
async fn start() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.scope.recheck = Config::default().scope.recheck;
    })
    .await;
    for number in 1..=3 {
        let reply = Reply::json("{}").header("cache-control", "max-age=600");
        origin.reply(&format!("/v1/calls/c{number}"), reply.validating("\"1\""));
    }
    (origin, proxy)
}

fn get(proxy: &Proxy, target: &str) -> Request {
    proxy.get(target).bearer("a")
}

#[tokio::test]
async fn a_revoked_token_that_only_reads_stored_calls_is_cut_off() {
    let (origin, proxy) = start().await;
    for target in [CALL, "/v1/calls/c2"] {
        get(&proxy, target).await.assert_miss();
        proxy.get(target).bearer("other").await.assert_miss();
    }
    origin.refuse("a", 401);
    proxy.advance_seconds(47);
    get(&proxy, CALL).await.assert_hit();
    origin.assert_requests(4);
    proxy.advance_seconds(13);
    get(&proxy, CALL).await.assert_status(401);
    get(&proxy, "/v1/calls/c2").await.assert_status(401);
    proxy
        .get(CALL)
        .bearer("other")
        .await
        .assert_forwarded("stale")
        .assert_status(200);
    proxy.get("/v1/calls/c2").bearer("other").await.assert_hit();
}

#[tokio::test]
async fn a_revoked_token_gets_no_stale_response_either() {
    let (origin, proxy) = start().await;
    let rule = "max-age=10, stale-while-revalidate=600, stale-if-error=600";
    origin.reply(CALL, Reply::json("{}").header("cache-control", rule));
    get(&proxy, CALL).await.assert_miss();
    origin.refuse("a", 401);
    proxy.advance_seconds(60);
    get(&proxy, CALL).await.assert_status(401);
}

#[tokio::test]
async fn one_hit_rechecks_in_the_background_for_all_calls_of_the_token() {
    let (origin, proxy) = start().await;
    for target in [CALL, "/v1/calls/c2", "/v1/calls/c3"] {
        get(&proxy, target).await.assert_miss();
    }
    proxy.advance_seconds(48);
    let gate = origin.hold(CALL);
    get(&proxy, CALL).await.assert_hit();
    origin.wait_for_requests(4).await;
    // While it runs, others do not start a second one.
    for target in ["/v1/calls/c2", "/v1/calls/c3", CALL] {
        get(&proxy, target).await.assert_hit();
    }
    gate.open_for_all();
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    assert_eq!(
        origin.last_request().header("if-none-match").as_deref(),
        Some("\"1\"")
    );
    proxy.advance_seconds(47);
    for target in [CALL, "/v1/calls/c2", "/v1/calls/c3"] {
        get(&proxy, target).await.assert_hit();
    }
    origin.assert_requests(4);
    proxy.wait_for_metric("stuut_cache_rechecks_total", 1).await;
}

#[tokio::test]
async fn a_refusal_in_a_background_recheck_ends_everything_of_the_token() {
    let (origin, proxy) = start().await;
    for target in [CALL, "/v1/calls/c2"] {
        get(&proxy, target).await.assert_miss();
    }
    origin.refuse("a", 401);
    proxy.advance_seconds(48);
    get(&proxy, CALL).await.assert_hit();
    proxy
        .wait_for_metric("stuut_cache_tokens_refused_total", 1)
        .await;
    get(&proxy, "/v1/calls/c2").await.assert_status(401);
}

#[tokio::test]
async fn a_failed_recheck_serves_the_fresh_response_until_stale_if_error() {
    let failures = [
        Reply::new(500),
        Reply::new(503),
        Reply::new(429),
        Reply::reset(),
    ];
    for failure in failures {
        let (origin, proxy) = start().await;
        get(&proxy, CALL).await.assert_miss();
        origin.reply(CALL, failure);
        for seconds in [60, 4, 200] {
            proxy.advance_seconds(seconds);
            let kept = get(&proxy, CALL).await.assert_status(200);
            let status = kept.cache_status();
            assert!(status.ends_with("; detail=recheck-failed"), "{kept}");
            assert!(status.contains("; hit; ttl="), "{kept}");
        }
        // Five minutes after the last acceptance.
        proxy.advance_seconds(36);
        let end = get(&proxy, CALL).await;
        assert!(end.status() >= 429, "{end}");
        assert!(
            proxy
                .metric("stuut_cache_stale_total{reason=\"recheck-failed\"}")
                .await
                >= 3.0
        );
    }
}

#[tokio::test]
async fn an_unreachable_origin_does_not_end_fresh_responses_at_the_recheck() {
    let (origin, proxy) = start().await;
    let reply = Reply::json("{}").header("cache-control", "max-age=600");
    origin.reply(CALL, reply.closing());
    get(&proxy, CALL).await.assert_miss();
    origin.stop_listening().await;
    proxy.advance_seconds(60);
    let status = "stuut-cache; hit; ttl=540; detail=recheck-failed";
    get(&proxy, CALL).await.assert_cache_status(status);
    proxy.advance_seconds(240);
    get(&proxy, CALL)
        .await
        .assert_problem(502, "connection_refused");
}

/// A 404 is no acceptance, but is stored for the token to which it was sent.
#[tokio::test]
async fn a_stored_404_is_a_hit_within_the_recheck() {
    let (origin, proxy) = start().await;
    get(&proxy, CALL).await.assert_miss();
    proxy.advance_seconds(120);
    let gone = Reply::new(404).header("cache-control", "max-age=600");
    origin.reply("/v1/calls/gone", gone);
    get(&proxy, "/v1/calls/gone").await.assert_status(404);
    proxy.advance_seconds(47);
    get(&proxy, "/v1/calls/gone").await.assert_hit();
    proxy.advance_seconds(13);
    get(&proxy, "/v1/calls/gone")
        .await
        .assert_forwarded("stale");
}

/// It said "hit" of a response that is revalidated first.
#[tokio::test]
async fn explain_accounts_for_an_overdue_recheck() {
    let (_origin, mut proxy) = start().await;
    get(&proxy, CALL).await.assert_miss();
    let explain = async |proxy: &Proxy| {
        let explained = proxy.admin(Method::GET, &format!("/explain?path={CALL}"));
        explained.await.json()["stored"][0]["whole"]["next_request"].clone()
    };
    let recheck = "revalidated with the origin to recheck the token";
    for (seconds, next_request) in [
        (59, "hit".to_owned()),
        (1, format!("{recheck}; served stale if that fails")),
        (240, recheck.to_owned()),
    ] {
        proxy.advance_seconds(seconds);
        assert_eq!(explain(&proxy).await, next_request);
    }
    let off = |config: &mut Config| config.scope.recheck = Interval(None);
    proxy.reload(off).expect("a valid configuration");
    assert_eq!(explain(&proxy).await, "hit");
}

#[tokio::test]
async fn recheck_off_serves_stored_responses_for_their_lifetime() {
    let (origin, mut proxy) = start().await;
    get(&proxy, CALL).await.assert_miss();
    let off = |config: &mut Config| config.scope.recheck = Interval(None);
    proxy.reload(off).expect("a valid configuration");
    proxy.advance_seconds(599);
    get(&proxy, CALL).await.assert_hit();
    origin.assert_requests(1);
}
