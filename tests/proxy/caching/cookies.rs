//! `Set-Cookie`: forbids storing, except for the cookies of the infrastructure.

use stuut_cache::config::CookieName;

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

async fn start() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        let names = ["AWSALB*", "__cf_bm"].map(|name| CookieName::parse(name).expect("a name"));
        config.cache.ignore_set_cookie = names.into();
    })
    .await;
    (origin, proxy)
}

fn setting(cookies: &[&str]) -> Reply {
    let reply = Reply::echo().header("cache-control", "max-age=10");
    cookies
        .iter()
        .fold(reply, |reply, cookie| reply.header("set-cookie", cookie))
}

/// A balancer sets its cookie on every response: nothing was ever stored.
#[tokio::test]
async fn an_ignored_cookie_goes_to_the_client_that_fetched_and_is_not_stored() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, setting(&["AWSALB=1; Path=/", "__cf_bm=2"]));
    let fetched = proxy.get(CALL).bearer("a").await.assert_miss();
    fetched.assert_header("set-cookie", "AWSALB=1; Path=/, __cf_bm=2");
    for query in ["", "?strip=number"] {
        let hit = proxy.get(&format!("{CALL}{query}")).bearer("a").await;
        hit.assert_hit().assert_no_header("set-cookie");
    }
    proxy.advance_seconds(10);
    origin.reply(CALL, setting(&["AWSALB=3"]));
    let expired = proxy.get(CALL).bearer("a").await.assert_forwarded("stale");
    expired.assert_header("set-cookie", "AWSALB=3");
    proxy.get(CALL).bearer("a").await.assert_hit();
    origin.assert_requests(2);
}

#[tokio::test]
async fn waiters_do_not_get_the_cookie_of_the_leader() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, setting(&["AWSALB=1"]));
    let gate = origin.hold(CALL);
    let leader = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(1).await;
    let waiter = proxy.get(CALL).bearer("a").start();
    proxy.wait_for_metric("stuut_cache_in_flight", 2).await;
    gate.open_for_all();
    leader.await.assert_header("set-cookie", "AWSALB=1");
    let waiter = waiter.await.assert_status(200);
    waiter.assert_no_header("set-cookie");
    origin.assert_requests(1);
}

#[tokio::test]
async fn any_other_cookie_forbids_storing() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, setting(&["AWSALB=1", "session=2"]));
    for _ in 0..2 {
        let response = proxy.get(CALL).bearer("a").await;
        response
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=set-cookie")
            .assert_header("set-cookie", "AWSALB=1, session=2");
    }
    let reason = "stuut_cache_not_stored_total{reason=\"set-cookie\"}";
    assert_eq!(proxy.metric(reason).await.to_string(), "2");
}

/// It stayed in use for its whole lifetime.
#[tokio::test]
async fn a_name_removed_by_a_reload_ends_what_was_stored_despite_its_cookie() {
    let (origin, mut proxy) = start().await;
    origin.reply(CALL, setting(&["AWSALB=1"]));
    for target in [CALL, "/v1/calls/c2"] {
        proxy.get(target).bearer("a").await.assert_miss();
    }
    let more = CookieName::parse("TS01").expect("a name");
    proxy
        .reload(|config| config.cache.ignore_set_cookie.push(more))
        .expect("a valid configuration");
    proxy.get(CALL).bearer("a").await.assert_hit();
    proxy
        .reload(|config| drop(config.cache.ignore_set_cookie.remove(0)))
        .expect("a valid configuration");
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=set-cookie");
    // It set no cookie.
    proxy.get("/v1/calls/c2").bearer("a").await.assert_hit();
}
