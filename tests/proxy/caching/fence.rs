//! Invalidated responses stay invalidated, even if a fetch from before completes afterwards.

use std::time::Duration;

use http::Method;

use crate::support::{Gate, Origin, Pending, Proxy, Reply, Response};

const CALL: &str = "/v1/calls/c1";

async fn get(proxy: &Proxy) -> Response {
    proxy.get(CALL).bearer("a").await
}

fn version(number: u64) -> Reply {
    Reply::json(&format!("{{\"version\":{number}}}")).header(
        "cache-control",
        "max-age=10, stale-while-revalidate=60, stale-if-error=60",
    )
}

/// Everything that invalidates a call.
#[derive(Clone, Copy, Debug)]
enum Invalidation {
    PurgeAll,
    PurgeCall,
    Write,
    LostWrite,
    Refusal,
}

const INVALIDATIONS: [Invalidation; 5] = [
    Invalidation::PurgeAll,
    Invalidation::PurgeCall,
    Invalidation::Write,
    Invalidation::LostWrite,
    Invalidation::Refusal,
];

impl Invalidation {
    async fn run(self, proxy: &Proxy, origin: &Origin) {
        let approve = "/v1/calls/c1/approve";
        let response = match self {
            Self::PurgeAll => proxy.admin(Method::POST, "/purge?all").await,
            Self::PurgeCall => proxy.admin(Method::POST, "/purge?call=c1").await,
            Self::Write => {
                let write = proxy.request(Method::POST, approve).bearer("w").await;
                // Until then no response of the call is stored.
                proxy.advance_seconds(1);
                write
            }
            Self::LostWrite => {
                proxy.get("/v1/calls/other").bearer("w").await.assert_miss();
                origin.reply(approve, Reply::reset());
                let lost = proxy.request(Method::POST, approve).bearer("w").await;
                proxy.advance_seconds(30);
                lost
            }
            Self::Refusal => {
                origin.reply("/v1/me", Reply::new(401));
                proxy.get("/v1/me").bearer("a").await
            }
        };
        drop(response);
    }
}

/// A fetch of version 1 that is held back, with `waiters` that have joined it.
async fn start_held(waiters: u32) -> (Origin, Proxy, Gate, Vec<Pending>) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, version(1));
    let gate = origin.hold(CALL);
    let mut all = vec![proxy.get(CALL).bearer("a").start()];
    origin.wait_for_requests(1).await;
    all.extend((0..waiters).map(|_| proxy.get(CALL).bearer("a").start()));
    proxy
        .wait_for_metric("stuut_cache_in_flight", waiters + 1)
        .await;
    (origin, proxy, gate, all)
}

#[tokio::test]
async fn a_fetch_invalidated_in_flight_is_served_and_not_stored() {
    for invalidation in INVALIDATIONS {
        let (origin, proxy, gate, all) = start_held(2).await;
        invalidation.run(&proxy, &origin).await;
        origin.reply(CALL, version(2));
        gate.open_for_all();
        for one in all {
            let response = one.await.assert_body("{\"version\":1}");
            let status = response.cache_status();
            assert!(
                status.ends_with("detail=fenced"),
                "{invalidation:?}: {response}"
            );
        }
        assert_eq!(
            proxy.metric("stuut_cache_fenced_total").await.to_string(),
            "1"
        );
        get(&proxy)
            .await
            .assert_miss()
            .assert_body("{\"version\":2}");
        get(&proxy)
            .await
            .assert_hit()
            .assert_body("{\"version\":2}");
    }
}

#[tokio::test]
async fn requests_after_an_invalidation_do_not_join_an_older_fetch() {
    for invalidation in INVALIDATIONS {
        let (origin, proxy, gate, mut all) = start_held(0).await;
        invalidation.run(&proxy, &origin).await;
        origin.reply(CALL, version(2));
        let before = origin.requests().len();
        let after = proxy.get(CALL).bearer("a").start();
        origin.wait_for_requests(before + 1).await;
        gate.open();
        let older = all.pop().expect("the leader is pending");
        older.await.assert_body("{\"version\":1}");
        // Requests that arrive now wait for the newer fetch.
        let later = proxy.get(CALL).bearer("a").start();
        proxy.wait_for_metric("stuut_cache_in_flight", 2).await;
        gate.open();
        for one in [after, later] {
            one.await.assert_body("{\"version\":2}");
        }
        get(&proxy)
            .await
            .assert_hit()
            .assert_body("{\"version\":2}");
        assert_eq!(origin.requests().len(), before + 1, "{invalidation:?}");
    }
}

#[tokio::test]
async fn a_fetch_from_before_an_invalidation_replaces_nothing_newer() {
    for invalidation in INVALIDATIONS {
        let (origin, proxy, old_gate, all) = start_held(1).await;
        invalidation.run(&proxy, &origin).await;
        origin.reply(CALL, version(2));
        origin.hold(CALL).open_for_all();
        get(&proxy)
            .await
            .assert_miss()
            .assert_body("{\"version\":2}");
        old_gate.open();
        for one in all {
            one.await.assert_body("{\"version\":1}");
        }
        get(&proxy)
            .await
            .assert_hit()
            .assert_body("{\"version\":2}");
    }
}

/// The 304 is about an invalid response: the request is repeated without condition.
#[tokio::test]
async fn an_invalidated_background_refresh_restores_nothing() {
    for invalidation in INVALIDATIONS {
        for completes_first in [true, false] {
            let origin = Origin::start().await;
            let proxy = Proxy::start(&origin).await;
            origin.reply(CALL, version(1).validating("\"1\""));
            get(&proxy).await;
            let gate = origin.hold(CALL);
            proxy.advance_seconds(10);
            get(&proxy).await.assert_stale("stale-while-revalidate");
            origin.wait_for_requests(2).await;

            invalidation.run(&proxy, &origin).await;
            origin.reply(CALL, version(2).validating("\"2\""));
            let before = origin.requests().len();
            let complete = async |requests| {
                gate.open_for_all();
                origin.wait_for_requests(before + requests).await;
                let in_flight = "stuut_cache_upstream_in_flight";
                proxy.wait_for_metric(in_flight, 0).await;
                assert_eq!(origin.last_request().header("if-none-match"), None);
            };
            if completes_first {
                complete(1).await;
            } else {
                origin.hold(CALL).open_for_all();
                let after = get(&proxy).await.assert_miss();
                after.assert_body("{\"version\":2}");
                complete(2).await;
            }
            let last = get(&proxy).await.assert_hit();
            last.assert_body("{\"version\":2}");
            let requests = if completes_first { 1 } else { 2 };
            let count = origin.requests().len() - before;
            assert_eq!(count, requests, "{invalidation:?}");
        }
    }
}

#[tokio::test]
async fn an_invalidated_response_is_not_served_stale_on_an_error() {
    for invalidation in INVALIDATIONS {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        origin.replies(
            CALL,
            vec![
                Reply::json("{}").header("cache-control", "max-age=10, stale-if-error=60"),
                Reply::new(503),
            ],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        let gate = origin.hold(CALL);
        let pending = proxy.get(CALL).bearer("a").start();
        origin.wait_for_requests(2).await;
        invalidation.run(&proxy, &origin).await;
        gate.open();
        let response = pending.await;
        assert_eq!(response.status(), 503, "{invalidation:?}: {response}");
    }
}

#[tokio::test]
async fn a_view_derived_during_an_invalidation_is_invalidated() {
    // Large enough that views are derived on another thread.
    let large = "x".repeat(300_000);
    let body = |number: u64| format!("{{\"version\":{number},\"b\":\"{large}\"}}");
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let view = "/v1/calls/c1?strip=b";
    for round in 1..20 {
        origin.reply(CALL, Reply::json(&body(round)));
        get(&proxy).await.assert_status(200);
        let deriving = proxy.get(view).bearer("a").start();
        origin.reply(CALL, Reply::json(&body(round + 1)));
        Invalidation::PurgeCall.run(&proxy, &origin).await;
        let new = proxy.get(view).bearer("a").await;
        assert_eq!(new.json()["version"], round + 1, "{new}");
        deriving.await.assert_status(200);
        Invalidation::PurgeCall.run(&proxy, &origin).await;
    }
}

#[tokio::test]
async fn in_flight_fetches_of_other_calls_are_not_invalidated() {
    let (origin, proxy, gate, _all) = start_held(0).await;
    let others = ["/v1/calls/c2", "/v1/calls/c3", "/v1/calls/c4"];
    let gates = others.map(|other| origin.hold(other));
    let pending = others.map(|other| proxy.get(other).bearer("a").start());
    origin.wait_for_requests(4).await;
    Invalidation::PurgeCall.run(&proxy, &origin).await;
    gate.open();
    gates.iter().for_each(Gate::open);
    for one in pending {
        let response = one.await;
        assert!(response.cache_status().contains("stored"), "{response}");
    }
}

#[tokio::test]
async fn nothing_is_stored_while_a_timed_out_write_may_take_effect() {
    let approve = "/v1/calls/c1/approve";
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.forward_timeout = Duration::from_millis(50);
    })
    .await;
    proxy.get("/v1/calls/other").bearer("w").await.assert_miss();
    origin.reply(CALL, version(1));
    let gate = origin.hold(approve);
    proxy
        .request(Method::POST, approve)
        .bearer("w")
        .await
        .assert_status(504);
    // The origin is still processing the write.
    let response = get(&proxy).await.assert_body("{\"version\":1}");
    assert!(
        response.cache_status().ends_with("detail=fenced"),
        "{response}"
    );
    proxy.advance(Duration::from_millis(29_999));
    let late = proxy.get(CALL).bearer("a").await;
    assert!(late.cache_status().ends_with("detail=fenced"), "{late}");
    // Now the write takes effect.
    origin.reply(CALL, version(2));
    gate.open_for_all();
    get(&proxy).await.assert_body("{\"version\":2}");
    proxy.advance(Duration::from_millis(1));
    get(&proxy).await.assert_miss();
    get(&proxy)
        .await
        .assert_hit()
        .assert_body("{\"version\":2}");
}

#[tokio::test]
async fn a_fetch_begun_while_a_lost_write_is_pending_is_not_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    proxy.get("/v1/calls/other").bearer("w").await.assert_miss();
    origin.reply("/v1/calls/c1/approve", Reply::reset());
    proxy
        .request(Method::POST, "/v1/calls/c1/approve")
        .bearer("w")
        .await;
    origin.reply(CALL, version(1));
    let gate = origin.hold(CALL);
    let before = origin.requests().len();
    let pending = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(before + 1).await;
    proxy.advance_seconds(30);
    gate.open_for_all();
    let response = pending.await;
    assert!(
        response.cache_status().ends_with("detail=fenced"),
        "{response}"
    );
    get(&proxy).await.assert_miss();
    get(&proxy).await.assert_hit();
}

#[tokio::test]
async fn a_late_older_response_does_not_replace_a_newer_one() {
    for newer in ["max-age=600", "no-store"] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        let reply = |body: &str, rule| Reply::json(body).header("cache-control", rule);
        origin.replies(
            CALL,
            vec![
                reply("\"for one\"", "no-store"),
                reply("\"old\"", "max-age=600"),
                reply("\"new\"", newer),
                reply("\"newest\"", "max-age=600"),
            ],
        );
        let get = || proxy.get(CALL).bearer("a");
        let first_gate = origin.hold(CALL);
        let first = get().start();
        origin.wait_for_requests(1).await;
        let second = get().start();
        proxy.wait_for_metric("stuut_cache_in_flight", 2).await;
        // The first response is not shared: the second request fetches its own, and is held back.
        let second_gate = origin.hold(CALL);
        first_gate.open_for_all();
        first.await;
        origin.wait_for_requests(2).await;
        let third_gate = origin.hold(CALL);
        let third = get().start();
        origin.wait_for_requests(3).await;
        third_gate.open_for_all();
        third.await.assert_body("\"new\"");
        second_gate.open_for_all();
        let late = second.await.assert_body("\"old\"");
        assert!(late.cache_status().ends_with("detail=fenced"), "{late}");
        let body = if newer == "no-store" {
            "\"newest\""
        } else {
            "\"new\""
        };
        get().await.assert_body(body);
        get().await.assert_hit().assert_body(body);
    }
}

/// A newer response of another variant fences it; what it renews must still be superseded.
#[tokio::test]
async fn a_fenced_late_response_still_supersedes_the_stored_one() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let set_reply = |version: &str, rule: &str| {
        let reply = Reply::json(version).header("vary", "accept-language");
        origin.reply(CALL, reply.header("cache-control", rule));
    };
    let get = |language: &str, directive: &str| {
        let get = proxy.get(CALL).bearer("a");
        get.header("accept-language", language)
            .header("cache-control", directive)
    };
    set_reply("1", "max-age=100");
    get("de", "max-age=9").await.assert_miss().assert_body("1");

    set_reply("2", "max-age=100");
    let german = origin.hold(CALL);
    let renewed = get("de", "no-cache").start();
    origin.wait_for_requests(2).await;
    set_reply("3", "no-store");
    let english = origin.hold(CALL);
    let other = get("en", "no-cache").start();
    origin.wait_for_requests(3).await;
    english.open_for_all();
    other.await.assert_body("3");
    german.open();
    renewed.await.assert_body("2");
    get("de", "max-age=9").await.assert_body("3");
}

/// The repetition must not keep the generation of the first attempt, or it would be fenced.
#[tokio::test]
async fn a_repeated_request_is_newer_than_responses_before_it() {
    let undecodable = Reply::json("")
        .header("content-encoding", "gzip")
        .header("cache-control", "no-transform");
    let wrong_tag = Reply::new(304).header("etag", "\"other\"");
    for first in [undecodable, wrong_tag] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        let tagged =
            |version: u64| self::version(version).header("etag", &format!("\"{version}\""));
        let get_no_cache = || {
            let get = proxy.get(CALL).bearer("a");
            get.header("cache-control", "no-cache").start()
        };
        origin.reply(CALL, tagged(1));
        get(&proxy).await.assert_miss();
        origin.replies(CALL, vec![first, tagged(2), tagged(3), Reply::new(500)]);
        let early = origin.hold(CALL);
        let twice = get_no_cache();
        origin.wait_for_requests(2).await;
        let between = origin.hold(CALL);
        let other = get_no_cache();
        origin.wait_for_requests(3).await;
        between.open_for_all();
        other.await.assert_body("{\"version\":2}");
        early.open_for_all();
        twice.await.assert_body("{\"version\":3}");
        get(&proxy)
            .await
            .assert_hit()
            .assert_body("{\"version\":3}");
        origin.assert_requests(4);
    }
}
