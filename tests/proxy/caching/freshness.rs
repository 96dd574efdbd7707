//! What is stored, for how long, and what the answer says of it.

use std::time::Duration;

use stuut_cache::config::{ClientDirectives, OriginRule, PrivateRule, Route, RoutePattern};

use crate::support::{Origin, Proxy, Reply, Response};

const CALL: &str = "/v1/calls/c1";

type Fields<'a> = &'a [(&'a str, &'a str)];

async fn get(proxy: &Proxy) -> Response {
    proxy.get(CALL).bearer("a").await
}

/// The answer to a first request, from an origin that sends these fields.
async fn first(status: u16, fields: Fields<'_>) -> (Origin, Proxy, Response) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, reply(status, fields));
    let answer = get(&proxy).await.assert_status(status);
    (origin, proxy, answer)
}

fn reply(status: u16, fields: Fields<'_>) -> Reply {
    let reply = Reply::new(status).header("content-type", "application/json");
    let reply = fields
        .iter()
        .fold(reply, |reply, (name, value)| reply.header(name, value));
    reply.body("{}")
}

/// Fresh up to the last second of `seconds`, and not a second longer.
async fn assert_lives(proxy: &Proxy, seconds: u64) {
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
async fn the_origin_sets_the_lifetime() {
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
        let (_origin, proxy, answer) = first(200, fields).await;
        let status = format!("stuut-cache; fwd=miss; fwd-status=200; stored; ttl={seconds}");
        answer.assert_cache_status(&status);
        assert_lives(&proxy, *seconds).await;
    }
}

#[tokio::test]
async fn expires_counts_from_date_and_not_from_our_clock() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    // The origin's clock is an hour ahead of ours.
    let (made, ends) = (proxy.date(3_600), proxy.date(3_610));
    origin.reply(CALL, reply(200, &[("date", &made), ("expires", &ends)]));
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=10")
        .assert_header("date", &made);
    assert_lives(&proxy, 10).await;
}

#[tokio::test]
async fn what_came_with_an_age_is_fresh_for_the_rest() {
    let (_origin, proxy, answer) =
        first(200, &[("cache-control", "max-age=10"), ("age", "7")]).await;
    answer
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=3")
        .assert_header("age", "7");
    proxy.advance_seconds(2);
    get(&proxy).await.assert_hit().assert_header("age", "9");
    proxy.advance_seconds(1);
    get(&proxy).await.assert_forwarded("stale");
}

#[tokio::test]
async fn a_date_in_the_past_is_an_age() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let made = proxy.date(-4);
    origin.reply(
        CALL,
        reply(200, &[("cache-control", "max-age=10"), ("date", &made)]),
    );
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=6");
}

#[tokio::test]
async fn without_a_word_of_the_origin_the_settings_decide() {
    let (_origin, proxy, answer) = first(200, &[]).await;
    answer.assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60");
    assert_lives(&proxy, 60).await;

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
async fn a_route_has_a_lifetime_of_its_own_that_the_origin_still_overrides() {
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
async fn a_tenth_of_the_time_without_change_is_a_lifetime() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, reply(200, &[("last-modified", &proxy.date(-300))]));
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=30");
}

#[tokio::test]
async fn what_is_not_stored_says_why_and_is_counted() {
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
        (206, &[("cache-control", "max-age=60")], "status"),
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
            // It is understood, so it is stored: the second request below is a hit.
            "",
        ),
    ];
    for (status, fields, reason) in table {
        let (origin, proxy, answer) = first(*status, fields).await;
        if reason.is_empty() {
            get(&proxy).await.assert_hit();
            continue;
        }
        let said = format!("stuut-cache; fwd=miss; fwd-status={status}; detail={reason}");
        answer.assert_cache_status(&said);
        get(&proxy).await.assert_cache_status(&said);
        origin.assert_requests(2);
        let counted = format!("stuut_cache_not_stored_total{{reason=\"{reason}\"}}");
        assert_eq!(proxy.metric(&counted).await.to_string(), "2", "{fields:?}");
        assert_eq!(proxy.metric("stuut_cache_entries").await.to_string(), "0");
    }
}

#[tokio::test]
async fn a_missing_call_is_remembered_for_five_seconds() {
    for status in [404, 410] {
        let (origin, proxy, answer) = first(status, &[]).await;
        let stored = format!("stuut-cache; fwd=miss; fwd-status={status}; stored; ttl=5");
        answer.assert_cache_status(&stored);
        get(&proxy).await.assert_hit().assert_status(status);
        origin.reply(CALL, Reply::echo());
        assert_lives(&proxy, 5).await;
        get(&proxy).await.assert_hit().assert_status(200);
    }
}

#[tokio::test]
async fn an_error_with_a_lifetime_of_its_own_is_stored_for_it() {
    let (_origin, proxy, answer) = first(500, &[("cache-control", "max-age=3")]).await;
    answer.assert_cache_status("stuut-cache; fwd=miss; fwd-status=500; stored; ttl=3");
    get(&proxy).await.assert_hit().assert_status(500);
    assert_lives(&proxy, 3).await;
}

#[tokio::test]
async fn what_is_stale_on_arrival_is_stored_to_be_validated() {
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
        let (origin, proxy, answer) = first(200, &fields).await;
        answer.assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=0");
        get(&proxy).await.assert_forwarded("stale");
        let asked = origin.last_request().header("if-none-match");
        assert_eq!(asked.as_deref(), Some("\"1\""), "{fields:?}");
    }
}

#[tokio::test]
async fn private_is_for_the_one_token_or_refused() {
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
    let said = "stuut-cache; fwd=miss; fwd-status=200; detail=private";
    get(&proxy).await.assert_cache_status(said);
    get(&proxy).await.assert_cache_status(said);
}

#[tokio::test]
async fn under_override_only_what_forbids_storing_is_heard() {
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
async fn nothing_is_used_beyond_the_hard_limit() {
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
    let asked = origin.last_request();
    assert_eq!(
        asked.header("if-none-match"),
        None,
        "no 304 makes it good again"
    );
}

#[tokio::test]
async fn a_body_of_unknown_end_or_beyond_the_limit_is_passed_on_and_not_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.cache.max_entry = stuut_cache::config::ByteSize(1_000);
    })
    .await;
    let large = "x".repeat(1_001);
    let table = [
        (Reply::json("{}").until_close(), "{}", "close-delimited"),
        (Reply::json(&large), large.as_str(), "too-large"),
        (
            Reply::json(&large).chunked(400),
            large.as_str(),
            "too-large",
        ),
    ];
    for (reply, body, reason) in table {
        origin.reply(CALL, reply);
        let said = format!("stuut-cache; fwd=miss; fwd-status=200; detail={reason}");
        get(&proxy)
            .await
            .assert_cache_status(&said)
            .assert_body(body);
        get(&proxy)
            .await
            .assert_cache_status(&said)
            .assert_body(body);
    }
    origin.reply(CALL, Reply::json(&large[1..]).chunked(400));
    get(&proxy).await.assert_miss();
    get(&proxy).await.assert_hit().assert_body(&large[1..]);
}

#[tokio::test]
async fn a_body_that_breaks_off_while_it_is_passed_on_breaks_off_for_the_client() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.cache.max_entry = stuut_cache::config::ByteSize(100_000);
    })
    .await;
    let large = "x".repeat(1_000_000);
    for torn in [
        Reply::json(&large).truncated_after(900_000),
        Reply::json(&large).truncated_chunks_after(900_000),
    ] {
        origin.reply(CALL, torn);
        get(&proxy).await.assert_status(200).assert_truncated();
    }
    origin.reply(CALL, reply(200, &[]));
    get(&proxy).await.assert_miss();
}

#[tokio::test]
async fn a_no_store_that_connection_names_is_still_heard() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let reply = Reply::json("{}").header("connection", "cache-control");
    origin.reply("/v1/calls/c1", reply.header("cache-control", "no-store"));
    for _ in 0..2 {
        proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    }
}
