//! Conditions: the proxy's to the origin, and the client's to the proxy.

use http::Method;

use crate::support::{Answer, Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

async fn get(proxy: &Proxy) -> Answer {
    proxy.get(CALL).bearer("a").await
}

async fn pair() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    (origin, proxy)
}

/// A body with an entity tag, fresh for ten seconds.
fn tagged(body: &str, tag: &str) -> Reply {
    Reply::json(body)
        .header("etag", tag)
        .header("cache-control", "max-age=10")
}

fn not_modified(tag: &str) -> Reply {
    Reply::new(304).header("etag", tag)
}

#[tokio::test]
async fn a_304_renews_lifetime_and_fields_and_keeps_the_body() {
    let (origin, proxy) = pair().await;
    origin.replies(
        CALL,
        vec![
            tagged("{\"a\":1}", "\"1\"")
                .header("x-old", "1")
                .header("x-both", "1")
                .header("age", "3"),
            not_modified("\"1\"")
                .header("cache-control", "max-age=20")
                .header("x-both", "2")
                .header("x-new", "2")
                .header("content-length", "999"),
        ],
    );
    get(&proxy).await.assert_header("age", "3");
    proxy.pass_seconds(7);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; stored; ttl=20")
        .assert_status(200)
        .assert_body("{\"a\":1}");
    let asked = origin.last();
    assert_eq!(asked.header("if-none-match").as_deref(), Some("\"1\""));
    assert_eq!(asked.header("if-modified-since"), None);

    proxy.pass_seconds(19);
    let date = proxy.date(-19);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; hit; ttl=1")
        .assert_header("age", "19")
        .assert_header("date", &date)
        .assert_header("x-old", "1")
        .assert_header("x-both", "2")
        .assert_header("x-new", "2")
        .assert_header("etag", "\"1\"")
        .assert_header("content-type", "application/json")
        .assert_header("content-length", "7")
        .assert_header("via", "1.1 stuut-cache")
        .assert_body("{\"a\":1}");
    origin.assert_requests(2);
}

#[tokio::test]
async fn without_a_tag_the_date_of_the_last_change_is_asked_about() {
    let (origin, proxy) = pair().await;
    let changed = proxy.date(-100);
    origin.replies(
        CALL,
        vec![
            Reply::json("{}").header("last-modified", &changed),
            Reply::new(304).header("last-modified", &changed),
        ],
    );
    get(&proxy).await;
    proxy.pass_seconds(10);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; stored; ttl=11")
        .assert_body("{}");
    let asked = origin.last();
    assert_eq!(asked.header("if-modified-since"), Some(changed));
    assert_eq!(asked.header("if-none-match"), None);
}

#[tokio::test]
async fn what_has_changed_replaces_what_was_stored() {
    let (origin, proxy) = pair().await;
    origin.replies(
        CALL,
        vec![
            tagged("{\"a\":1}", "\"1\"").header("x-old", "1"),
            tagged("{\"a\":2}", "\"2\""),
        ],
    );
    get(&proxy).await;
    proxy.pass_seconds(10);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=200; stored; ttl=10");
    get(&proxy)
        .await
        .assert_hit()
        .assert_body("{\"a\":2}")
        .assert_no_header("x-old");
}

#[tokio::test]
async fn a_304_about_another_response_is_answered_by_asking_for_the_whole() {
    let (origin, proxy) = pair().await;
    origin.replies(
        CALL,
        vec![
            tagged("{\"a\":1}", "\"1\""),
            not_modified("\"2\""),
            tagged("{\"a\":2}", "\"2\""),
        ],
    );
    get(&proxy).await;
    proxy.pass_seconds(10);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=200; stored; ttl=10")
        .assert_body("{\"a\":2}");
    origin.assert_requests(3);
    assert_eq!(origin.last().header("if-none-match"), None);
    get(&proxy).await.assert_hit().assert_body("{\"a\":2}");
}

#[tokio::test]
async fn a_304_to_the_whole_is_no_answer_whatever_it_is_about() {
    for second in [
        not_modified("\"2\""),
        not_modified("\"1\""),
        Reply::new(304),
    ] {
        let (origin, proxy) = pair().await;
        origin.replies(
            CALL,
            vec![
                tagged("{}", "\"1\"").header("cache-control", "must-revalidate"),
                not_modified("\"2\""),
                second,
            ],
        );
        get(&proxy).await;
        proxy.pass_seconds(10);
        get(&proxy).await.assert_problem(502, "http_protocol_error");
        origin.assert_requests(3);
    }
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_not_passed_on() {
    let (origin, proxy) = pair().await;
    origin.reply(CALL, not_modified("\"1\""));
    proxy
        .get(CALL)
        .bearer("a")
        .header("if-none-match", "\"1\"")
        .await
        .assert_problem(502, "http_protocol_error")
        .assert_cache_status("stuut-cache; fwd=miss; detail=http_protocol_error");
    assert_eq!(origin.last().header("if-none-match"), None);
}

/// What a client that has something already asks, and whether it is told to keep it.
const CLIENTS: &[(&str, &str, bool)] = &[
    ("if-none-match", "\"1\"", true),
    ("if-none-match", "W/\"1\"", true),
    ("if-none-match", "\"x\", \"1\"", true),
    ("if-none-match", "\"x\",W/\"y\"", false),
    ("if-none-match", "*", true),
    ("if-none-match", "1", false),
    ("if-none-match", "\"1", false),
];

#[tokio::test]
async fn a_client_that_has_it_is_told_so_from_the_store_and_on_a_miss() {
    for (name, value, has_it) in CLIENTS {
        let (origin, proxy) = pair().await;
        origin.reply(CALL, tagged("{\"a\":1}", "\"1\""));
        for outcome in [
            "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=10",
            "stuut-cache; hit; ttl=10",
        ] {
            for method in [Method::GET, Method::HEAD] {
                // The first HEAD would be a hit already: its miss is a story of its own.
                if outcome.contains("miss") && method == Method::HEAD {
                    continue;
                }
                let answer = proxy
                    .request(method.clone(), CALL)
                    .bearer("a")
                    .header(name, value)
                    .await
                    .assert_cache_status(outcome)
                    .assert_header("etag", "\"1\"");
                if *has_it {
                    answer
                        .assert_status(304)
                        .assert_no_header("content-type")
                        .assert_no_header("content-length")
                        .assert_header("cache-control", "max-age=10")
                        .assert_body("");
                } else {
                    let body = if method == Method::HEAD {
                        ""
                    } else {
                        "{\"a\":1}"
                    };
                    answer.assert_status(200).assert_body(body);
                }
            }
        }
        origin.assert_requests(1);
        assert_eq!(origin.last().header(name), None, "{value} stays with us");
    }
}

#[tokio::test]
async fn head_on_a_miss_fetches_the_whole_and_may_be_told_304() {
    let (origin, proxy) = pair().await;
    origin.reply(CALL, tagged("{\"a\":1}", "\"1\""));
    proxy
        .request(Method::HEAD, CALL)
        .bearer("a")
        .header("if-none-match", "\"1\"")
        .await
        .assert_status(304)
        .assert_miss();
    assert_eq!(origin.last().method(), "GET");
    get(&proxy).await.assert_hit().assert_body("{\"a\":1}");
}

#[tokio::test]
async fn a_date_is_compared_with_the_last_change() {
    let (origin, proxy) = pair().await;
    origin.reply(
        CALL,
        Reply::json("{}").header("last-modified", &proxy.date(-100)),
    );
    get(&proxy).await;
    for (since, status) in [(-101, 200), (-100, 304), (0, 304)] {
        for method in [Method::GET, Method::HEAD] {
            proxy
                .request(method, CALL)
                .bearer("a")
                .header("if-modified-since", &proxy.date(since))
                .await
                .assert_hit()
                .assert_status(status);
        }
    }
    proxy
        .get(CALL)
        .bearer("a")
        .header("if-modified-since", "yesterday")
        .await
        .assert_status(200);
    proxy
        .get(CALL)
        .bearer("a")
        .header("if-none-match", "\"x\"")
        .header("if-modified-since", &proxy.date(0))
        .await
        .assert_status(200);
    origin.assert_requests(1);
}

#[tokio::test]
async fn a_client_may_have_the_renewed_and_the_stale_response_already() {
    let (origin, proxy) = pair().await;
    origin.replies(
        CALL,
        vec![
            tagged("{}", "\"1\""),
            not_modified("\"1\""),
            Reply::new(503),
        ],
    );
    get(&proxy).await;
    for outcome in [
        "stuut-cache; fwd=stale; fwd-status=304; stored; ttl=10",
        "stuut-cache; hit; ttl=0; detail=stale-if-error",
    ] {
        proxy.pass_seconds(10);
        proxy
            .get(CALL)
            .bearer("a")
            .header("if-none-match", "\"1\"")
            .await
            .assert_cache_status(outcome)
            .assert_status(304);
    }
}

#[tokio::test]
async fn an_error_is_sent_whatever_the_client_has() {
    let (origin, proxy) = pair().await;
    origin.reply(CALL, Reply::new(404).header("etag", "\"1\""));
    for _ in 0..2 {
        proxy
            .get(CALL)
            .bearer("a")
            .header("if-none-match", "\"1\"")
            .await
            .assert_status(404);
    }
    origin.assert_requests(1);
}

#[tokio::test]
async fn conditions_that_only_the_origin_can_judge_go_past_the_store() {
    let (origin, proxy) = pair().await;
    origin.replies(CALL, vec![tagged("{}", "\"1\""), Reply::new(412)]);
    get(&proxy).await;
    for (name, value) in [
        ("if-match", "\"2\"".to_owned()),
        ("if-unmodified-since", proxy.date(0)),
    ] {
        proxy
            .get(CALL)
            .bearer("a")
            .header(name, &value)
            .await
            .assert_status(412)
            .assert_cache_status("stuut-cache; fwd=bypass; fwd-status=412; detail=condition");
        assert_eq!(origin.last().header(name), Some(value));
    }
    get(&proxy).await.assert_hit();
}

#[tokio::test]
async fn a_view_keeps_its_tag_over_a_304_and_loses_it_with_the_body() {
    let (origin, proxy) = pair().await;
    let view = "/v1/calls/c1?strip=b";
    let (one, two) = ("{\"a\":1,\"b\":1}", "{\"a\":2,\"b\":2}");
    origin.replies(
        CALL,
        vec![
            tagged(one, "\"1\""),
            not_modified("\"1\"").header("x-new", "1"),
            tagged(two, "\"2\""),
        ],
    );
    let first = proxy.get(view).bearer("a").await.assert_miss();
    let tag = first.header("etag").expect("a view has a tag");
    first.assert_body("{\"a\":1}");

    proxy.pass_seconds(10);
    proxy
        .get(view)
        .bearer("a")
        .header("if-none-match", &tag)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; stored; ttl=10")
        .assert_status(304)
        .assert_header("etag", &tag)
        .assert_header("x-new", "1");
    let asked = origin.last().header("if-none-match");
    assert_eq!(asked.as_deref(), Some("\"1\""), "the tag of the whole");
    proxy
        .get(view)
        .bearer("a")
        .await
        .assert_hit()
        .assert_body("{\"a\":1}");

    proxy.pass_seconds(10);
    let changed = proxy
        .get(view)
        .bearer("a")
        .header("if-none-match", &tag)
        .await
        .assert_status(200)
        .assert_body("{\"a\":2}");
    assert_ne!(changed.header("etag"), Some(tag));
}

#[tokio::test]
async fn a_304_that_forbids_storing_ends_what_was_stored() {
    let (origin, proxy) = pair().await;
    origin.replies(
        CALL,
        vec![
            tagged("{}", "\"1\""),
            not_modified("\"1\"").header("cache-control", "no-store"),
            Reply::new(503),
        ],
    );
    get(&proxy).await;
    proxy.pass_seconds(10);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; detail=no-store")
        .assert_body("{}");
    get(&proxy).await.assert_miss().assert_status(503);
}

#[tokio::test]
async fn the_member_of_a_cache_before_us_is_kept_and_is_that_of_the_last_answer() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let call = "/v1/calls/c1";
    let reply = |reply: Reply, status| {
        let reply = reply.header("etag", "\"1\"").header("cache-status", status);
        reply.header("cache-control", "max-age=10")
    };
    origin.replies(
        call,
        vec![
            reply(Reply::json("{}"), "edge; hit; ttl=5"),
            reply(Reply::new(304), "edge; fwd=stale"),
            Reply::new(304).header("etag", "\"1\""),
        ],
    );
    let get = async || proxy.get(call).bearer("a").await;
    let fetched = "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=10";
    let renewed = "stuut-cache; fwd=stale; fwd-status=304; stored; ttl=10";
    let hit = "stuut-cache; hit; ttl=10";
    for (before, ours) in [
        ("edge; hit; ttl=5, ", fetched),
        ("edge; fwd=stale, ", renewed),
        ("", renewed),
    ] {
        let status = |ours| format!("{before}{ours}");
        get().await.assert_cache_status(&status(ours));
        get().await.assert_cache_status(&status(hit));
        proxy.pass_seconds(10);
    }
}

/// The answer to what was not asked for lets go of its place before the next request takes one.
#[tokio::test]
async fn a_304_about_another_response_took_two_places() {
    let origin = Origin::start().await;
    let call = |tag| {
        Reply::echo()
            .header("etag", tag)
            .header("cache-control", "max-age=10")
    };
    let mistaken = Reply::new(304).header("etag", "\"other\"");
    origin.replies("/v1/calls/c1", vec![call("\"1\""), mistaken, call("\"2\"")]);
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    proxy.pass_seconds(10);
    proxy
        .get("/v1/calls/c1")
        .bearer("a")
        .await
        .assert_status(200)
        .assert_header("etag", "\"2\"");
}
