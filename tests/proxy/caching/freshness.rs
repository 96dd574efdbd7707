//! Which responses are stored, for how long, and the `Cache-Status` that reports it.

use std::time::Duration;

use stuut_cache::config::{ClientDirectives, OriginRule, PrivateRule, Route, RoutePattern};

use crate::support::{Origin, Proxy, Reply, Response};

const CALL: &str = "/v1/calls/c1";

type Fields<'a> = &'a [(&'a str, &'a str)];

async fn get(proxy: &Proxy) -> Response {
    proxy.get(CALL).bearer("a").await
}

/// The response to a first request, from an origin that sends these fields.
async fn first(status: u16, fields: Fields<'_>) -> (Origin, Proxy, Response) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, reply(status, fields));
    let response = get(&proxy).await.assert_status(status);
    (origin, proxy, response)
}

fn reply(status: u16, fields: Fields<'_>) -> Reply {
    let reply = Reply::new(status).header("content-type", "application/json");
    let reply = fields
        .iter()
        .fold(reply, |reply, (name, value)| reply.header(name, value));
    reply.body("{}")
}

/// Asserts that the stored response is fresh for exactly `seconds`.
async fn assert_fresh_for(proxy: &Proxy, seconds: u64) {
    proxy.advance_seconds(seconds - 1);
    get(proxy)
        .await
        .assert_cache_status("stuut-cache; hit; ttl=1");
    proxy.advance(Duration::from_millis(999));
    get(proxy)
        .await
        .assert_cache_status("stuut-cache; hit; ttl=0");
    proxy.advance(Duration::from_millis(1));
    get(proxy).await.assert_forwarded("stale");
}

#[tokio::test]
async fn the_origins_cache_control_sets_the_lifetime() {
    let table: &[(&[(&str, &str)], u64)] = &[
        (&[("cache-control", "max-age=10")], 10),
        (&[("cache-control", "MAX-AGE=10")], 10),
        (&[("cache-control", "max-age=99, s-maxage=10")], 10),
        (&[("cache-control", "private, max-age=10")], 10),
        (
            &[
                ("cache-control", "max-age=99"),
                ("cdn-cache-control", "max-age=10"),
            ],
            10,
        ),
        (
            &[
                ("cache-control", "no-store"),
                ("cdn-cache-control", "max-age=10"),
            ],
            10,
        ),
        (
            &[
                ("cache-control", "max-age=10"),
                ("cdn-cache-control", "not a dictionary"),
            ],
            10,
        ),
    ];
    for (fields, seconds) in table {
        let (_origin, proxy, response) = first(200, fields).await;
        let status = format!("stuut-cache; fwd=miss; fwd-status=200; stored; ttl={seconds}");
        response.assert_cache_status(&status);
        assert_fresh_for(&proxy, *seconds).await;
    }
}

#[tokio::test]
async fn expires_is_relative_to_date_not_to_our_clock() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    // The origin's clock is an hour ahead of ours.
    let (date, expires) = (proxy.date(3_600), proxy.date(3_610));
    origin.reply(CALL, reply(200, &[("date", &date), ("expires", &expires)]));
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=10")
        .assert_header("date", &date);
    assert_fresh_for(&proxy, 10).await;
}

#[tokio::test]
async fn the_origins_age_is_deducted_from_the_lifetime() {
    let (_origin, proxy, response) =
        first(200, &[("cache-control", "max-age=10"), ("age", "7")]).await;
    response
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=3")
        .assert_header("age", "7");
    proxy.advance_seconds(2);
    get(&proxy).await.assert_hit().assert_header("age", "9");
    proxy.advance_seconds(1);
    get(&proxy).await.assert_forwarded("stale");
}

#[tokio::test]
async fn a_date_in_the_past_counts_as_age_if_another_cache_answered() {
    for via in [("age", "0"), ("via", "1.1 cdn")] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        let date = proxy.date(-4);
        let fields = [("cache-control", "max-age=10"), ("date", &date), via];
        origin.reply(CALL, reply(200, &fields));
        get(&proxy)
            .await
            .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=6");
    }
}

#[tokio::test]
async fn an_origin_whose_clock_is_behind_still_has_hits() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let date = proxy.date(-300);
    let fields = [("cache-control", "max-age=10"), ("date", date.as_str())];
    origin.reply(CALL, reply(200, &fields));
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=10");
    assert_fresh_for(&proxy, 10).await;
    let skew = proxy.metric("stuut_cache_origin_clock_skew_seconds").await;
    assert_eq!(skew.to_string(), "-310", "the same date, ten seconds later");
}

#[tokio::test]
async fn the_default_lifetime_applies_if_the_origin_sets_none() {
    let (_origin, proxy, response) = first(200, &[]).await;
    response.assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60");
    assert_fresh_for(&proxy, 60).await;

    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.freshness.default = Duration::from_secs(20);
    })
    .await;
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=20");
}

#[tokio::test]
async fn the_origins_lifetime_overrides_a_routes_ttl() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.cache.routes.push(Route {
            path: RoutePattern::parse("/v1/agents/{id}").expect("a pattern"),
            ttl: Some(Duration::from_secs(7)),
        });
    })
    .await;
    proxy
        .get("/v1/agents/1")
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=7");
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60");
    origin.reply(
        "/v1/agents/2",
        reply(200, &[("cache-control", "max-age=3")]),
    );
    proxy
        .get("/v1/agents/2")
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=3");
}

#[tokio::test]
async fn the_heuristic_lifetime_is_a_tenth_of_the_unmodified_time() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.cache.routes.push(Route {
            path: RoutePattern::parse("/v1/agents/{id}").expect("a pattern"),
            ttl: None,
        });
    })
    .await;
    let fields = [("last-modified", &*proxy.date(-300))];
    origin.reply("/v1/agents/1", reply(200, &fields));
    proxy
        .get("/v1/agents/1")
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=30");
}

#[tokio::test]
async fn a_response_not_stored_reports_why_and_is_counted() {
    let table: &[(u16, Fields<'_>, &str)] = &[
        (200, &[("cache-control", "no-store")], "no-store"),
        (
            200,
            &[("cache-control", "No-Store, max-age=60")],
            "no-store",
        ),
        (
            200,
            &[
                ("cache-control", "max-age=60"),
                ("cdn-cache-control", "no-store"),
            ],
            "no-store",
        ),
        (200, &[("set-cookie", "s=1")], "set-cookie"),
        (200, &[("vary", "*")], "vary"),
        (200, &[("vary", "accept, *")], "vary"),
        (200, &[("vary", "accept"), ("vary", "*")], "vary"),
        (206, &[("cache-control", "max-age=60")], "status"),
        (600, &[("cache-control", "max-age=60")], "status"),
        (999, &[("cache-control", "max-age=60")], "status"),
        (204, &[("content-length", "5")], "status"),
        (204, &[("transfer-encoding", "chunked")], "status"),
        (302, &[("location", "/x")], "no-freshness"),
        (401, &[("cache-control", "max-age=60")], "status"),
        (403, &[("cache-control", "max-age=60")], "status"),
        (407, &[("cache-control", "max-age=60")], "status"),
        (429, &[("cache-control", "max-age=60")], "status"),
        (400, &[], "no-freshness"),
        (500, &[], "no-freshness"),
        (503, &[("cache-control", "max-age=0")], "no-freshness"),
        (
            200,
            &[("cache-control", "max-age=0, must-revalidate")],
            "useless",
        ),
        (200, &[("cache-control", "no-cache")], "useless"),
        (
            200,
            &[("cache-control", "must-understand, no-store, max-age=60")],
            // Status 200 is understood, so the response is stored.
            "",
        ),
    ];
    for (status, fields, reason) in table {
        let (origin, proxy, response) = first(*status, fields).await;
        if reason.is_empty() {
            get(&proxy).await.assert_hit();
            continue;
        }
        let expected = format!("stuut-cache; fwd=miss; fwd-status={status}; detail={reason}");
        response.assert_cache_status(&expected);
        get(&proxy).await.assert_cache_status(&expected);
        origin.assert_requests(2);
        let series = format!("stuut_cache_not_stored_total{{reason=\"{reason}\"}}");
        assert_eq!(proxy.metric(&series).await.to_string(), "2", "{fields:?}");
        assert_eq!(proxy.metric("stuut_cache_entries").await.to_string(), "0");
    }
}

#[tokio::test]
async fn a_404_or_410_is_stored_for_five_seconds() {
    for status in [404, 410] {
        let (origin, proxy, response) = first(status, &[]).await;
        let stored = format!("stuut-cache; fwd=miss; fwd-status={status}; stored; ttl=5");
        response.assert_cache_status(&stored);
        get(&proxy).await.assert_hit().assert_status(status);
        origin.reply(CALL, Reply::echo());
        assert_fresh_for(&proxy, 5).await;
        get(&proxy).await.assert_hit().assert_status(200);
    }
}

#[tokio::test]
async fn an_error_with_an_explicit_lifetime_is_stored() {
    let (_origin, proxy, response) = first(500, &[("cache-control", "max-age=3")]).await;
    response.assert_cache_status("stuut-cache; fwd=miss; fwd-status=500; stored; ttl=3");
    get(&proxy).await.assert_hit().assert_status(500);
    assert_fresh_for(&proxy, 3).await;
}

#[tokio::test]
async fn a_response_stale_on_arrival_with_a_tag_is_stored() {
    let table: &[&[(&str, &str)]] = &[
        &[("cache-control", "no-cache")],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "max-age=10, max-age=20")],
        &[("cache-control", "max-age=ten")],
        &[("cache-control", "max-age=10"), ("age", "10")],
        &[("expires", "0")],
        &[("cache-control", "public; max-age=10")],
    ];
    for fields in table {
        let mut fields = fields.to_vec();
        fields.push(("etag", "\"1\""));
        let (origin, proxy, response) = first(200, &fields).await;
        response.assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=0");
        get(&proxy).await.assert_forwarded("stale");
        let tag = origin.last_request().header("if-none-match");
        assert_eq!(tag.as_deref(), Some("\"1\""), "{fields:?}");
    }
}

#[tokio::test]
async fn private_responses_are_stored_per_token_or_not_at_all() {
    let (_origin, proxy, _) = first(200, &[("cache-control", "private")]).await;
    get(&proxy).await.assert_hit();
    proxy.get(CALL).bearer("b").await.assert_miss();

    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.freshness.private = PrivateRule::Refuse;
    })
    .await;
    origin.reply(
        CALL,
        reply(200, &[("cache-control", "private=\"x\", max-age=60")]),
    );
    let expected = "stuut-cache; fwd=miss; fwd-status=200; detail=private";
    get(&proxy).await.assert_cache_status(expected);
    get(&proxy).await.assert_cache_status(expected);
}

#[tokio::test]
async fn override_obeys_only_directives_that_forbid_storing() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.freshness.origin = OriginRule::Override;
        config.freshness.client_directives = ClientDirectives::Ignore;
    })
    .await;
    origin.reply(
        CALL,
        reply(
            200,
            &[("cache-control", "no-cache, max-age=1"), ("expires", "0")],
        ),
    );
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60");
    origin.reply("/v1/calls/c2", reply(200, &[("cache-control", "no-store")]));
    proxy
        .get("/v1/calls/c2")
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=no-store");
}

#[tokio::test]
async fn no_response_is_used_beyond_the_hard_limit() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.freshness.hard_limit = Duration::from_secs(30);
    })
    .await;
    origin.replies(
        CALL,
        vec![
            reply(
                200,
                &[
                    ("cache-control", "max-age=9999, stale-if-error=9999"),
                    ("etag", "\"1\""),
                ],
            ),
            Reply::new(500),
        ],
    );
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=30");
    proxy.advance(Duration::from_millis(29_999));
    get(&proxy).await.assert_hit();
    proxy.advance(Duration::from_millis(1));
    get(&proxy)
        .await
        .assert_status(500)
        .assert_forwarded("stale");
    assert_eq!(
        origin.last_request().header("if-none-match"),
        None,
        "no 304 may renew it"
    );
}

#[tokio::test]
async fn a_chunked_body_of_exactly_the_largest_size_is_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.cache.max_entry = stuut_cache::config::ByteSize(1_000);
    })
    .await;
    let body = "x".repeat(1_000);
    origin.reply(CALL, Reply::json(&body).chunked(400));
    get(&proxy).await.assert_miss();
    get(&proxy).await.assert_hit().assert_body(&body);
}

#[tokio::test]
async fn no_store_is_obeyed_even_if_connection_names_its_field() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let reply = Reply::json("{}").header("connection", "cache-control");
    origin.reply("/v1/calls/c1", reply.header("cache-control", "no-store"));
    for _ in 0..2 {
        proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    }
}
