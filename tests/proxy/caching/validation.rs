//! Revalidation: conditional requests to the origin, and the effect of a 304.

use stuut_cache::request::pseudonym;

use crate::support::{Origin, Proxy, Reply, Response};

pub(super) const CALL: &str = "/v1/calls/c1";

pub(super) async fn get(proxy: &Proxy) -> Response {
    proxy.get(CALL).bearer("a").await
}

pub(super) async fn start() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    (origin, proxy)
}

/// A body with an entity tag, fresh for ten seconds.
pub(super) fn tagged(body: &str, tag: &str) -> Reply {
    Reply::json(body)
        .header("etag", tag)
        .header("cache-control", "max-age=10")
}

pub(super) fn not_modified(tag: &str) -> Reply {
    Reply::new(304).header("etag", tag)
}

#[tokio::test]
async fn a_304_renews_lifetime_and_fields_and_keeps_the_body() {
    let (origin, proxy) = start().await;
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
    proxy.advance_seconds(7);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; stored; ttl=20")
        .assert_status(200)
        .assert_body("{\"a\":1}");
    let request = origin.last_request();
    assert_eq!(request.header("if-none-match").as_deref(), Some("\"1\""));
    assert_eq!(request.header("if-modified-since"), None);

    proxy.advance_seconds(19);
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
        .assert_header("via", &format!("1.1 {}", pseudonym()))
        .assert_body("{\"a\":1}");
    origin.assert_requests(2);
}

#[tokio::test]
async fn without_a_tag_last_modified_is_the_validator() {
    let (origin, proxy) = start().await;
    let changed = proxy.date(-100);
    origin.replies(
        CALL,
        vec![
            Reply::json("{}")
                .header("last-modified", &changed)
                .header("cache-control", "max-age=10"),
            Reply::new(304).header("last-modified", &changed),
        ],
    );
    get(&proxy).await;
    proxy.advance_seconds(10);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; stored; ttl=10")
        .assert_body("{}");
    let request = origin.last_request();
    assert_eq!(request.header("if-modified-since"), Some(changed));
    assert_eq!(request.header("if-none-match"), None);
}

#[tokio::test]
async fn a_changed_response_replaces_the_stored_one() {
    let (origin, proxy) = start().await;
    origin.replies(
        CALL,
        vec![
            tagged("{\"a\":1}", "\"1\"").header("x-old", "1"),
            tagged("{\"a\":2}", "\"2\""),
        ],
    );
    get(&proxy).await;
    proxy.advance_seconds(10);
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
async fn a_304_for_another_tag_is_followed_by_an_unconditional_get() {
    let (origin, proxy) = start().await;
    origin.replies(
        CALL,
        vec![
            tagged("{\"a\":1}", "\"1\""),
            not_modified("\"2\""),
            tagged("{\"a\":2}", "\"2\""),
        ],
    );
    get(&proxy).await;
    proxy.advance_seconds(10);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=200; stored; ttl=10")
        .assert_body("{\"a\":2}");
    origin.assert_requests(3);
    assert_eq!(origin.last_request().header("if-none-match"), None);
    get(&proxy).await.assert_hit().assert_body("{\"a\":2}");
}

#[tokio::test]
async fn a_304_to_an_unconditional_get_is_502() {
    for second in [
        not_modified("\"2\""),
        not_modified("\"1\""),
        Reply::new(304),
    ] {
        let (origin, proxy) = start().await;
        origin.replies(
            CALL,
            vec![
                tagged("{}", "\"1\"").header("cache-control", "must-revalidate"),
                not_modified("\"2\""),
                second,
            ],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        get(&proxy).await.assert_problem(502, "http_protocol_error");
        origin.assert_requests(3);
    }
}

#[tokio::test]
async fn an_unsolicited_304_is_not_forwarded() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, not_modified("\"1\""));
    proxy
        .get(CALL)
        .bearer("a")
        .header("if-none-match", "\"1\"")
        .await
        .assert_problem(502, "http_protocol_error")
        .assert_cache_status("stuut-cache; fwd=miss; detail=http_protocol_error");
    assert_eq!(origin.last_request().header("if-none-match"), None);
}

#[tokio::test]
async fn a_views_tag_survives_a_304_and_changes_with_the_body() {
    let (origin, proxy) = start().await;
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

    proxy.advance_seconds(10);
    proxy
        .get(view)
        .bearer("a")
        .header("if-none-match", &tag)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; stored; ttl=10")
        .assert_status(304)
        .assert_header("etag", &tag)
        .assert_header("x-new", "1");
    let condition = origin.last_request().header("if-none-match");
    assert_eq!(
        condition.as_deref(),
        Some("\"1\""),
        "the tag of the whole call"
    );
    proxy
        .get(view)
        .bearer("a")
        .await
        .assert_hit()
        .assert_body("{\"a\":1}");

    proxy.advance_seconds(10);
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
async fn a_304_with_no_store_supersedes_the_stored_response() {
    let (origin, proxy) = start().await;
    origin.replies(
        CALL,
        vec![
            tagged("{}", "\"1\""),
            not_modified("\"1\"").header("cache-control", "no-store"),
            Reply::new(503),
        ],
    );
    get(&proxy).await;
    proxy.advance_seconds(10);
    get(&proxy)
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; detail=no-store")
        .assert_body("{}");
    get(&proxy).await.assert_miss().assert_status(503);
}

#[tokio::test]
async fn an_upstream_cache_status_is_kept_from_the_last_response() {
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
        proxy.advance_seconds(10);
    }
}

/// The 304 releases its permit before the repeated request takes one.
#[tokio::test]
async fn repeating_a_request_after_a_304_takes_one_permit() {
    let origin = Origin::start().await;
    let call = |tag| {
        Reply::echo()
            .header("etag", tag)
            .header("cache-control", "max-age=10")
    };
    let wrong_tag = Reply::new(304).header("etag", "\"other\"");
    origin.replies(
        "/v1/calls/c1",
        vec![call("\"1\""), wrong_tag, call("\"2\"")],
    );
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    proxy.advance_seconds(10);
    proxy
        .get("/v1/calls/c1")
        .bearer("a")
        .await
        .assert_status(200)
        .assert_header("etag", "\"2\"");
}

/// A call in German whose revalidation waits for this reply of the origin; meanwhile eight other
/// variants evict it.
async fn revalidate_evicted(reply: Option<Reply>) -> (Origin, Proxy, Response) {
    let (origin, proxy) = start().await;
    let get = |language: &str| {
        let get = proxy.get(CALL).bearer("a");
        get.header("accept-language", language)
    };
    let german = Reply::json("{\"a\":1}").header("vary", "accept-language");
    let german = german.header("cache-control", "max-age=10, stale-if-error=60");
    let german = german.validating("\"1\"");
    origin.reply(CALL, german.clone());
    get("de").await.assert_miss();
    proxy.advance_seconds(10);
    origin.reply(CALL, reply.unwrap_or(german));
    let gate = origin.hold(CALL);
    let pending = get("de").start();
    origin.wait_for_requests(2).await;
    origin.reply(
        CALL,
        tagged("{}", "\"2\"").header("vary", "accept-language"),
    );
    let others = origin.hold(CALL);
    others.open_for_all();
    for number in 0..8 {
        // It does not wait for the fetch in flight.
        let other = get(&format!("x{number}")).header("cache-control", "no-cache");
        other.await.assert_forwarded("vary-miss");
    }
    gate.open_for_all();
    let response = pending.await;
    (origin, proxy, response)
}

#[tokio::test]
async fn a_304_to_an_evicted_response_is_followed_by_an_unconditional_get() {
    let (origin, _proxy, response) = revalidate_evicted(None).await;
    response
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=200; stored; ttl=10")
        .assert_body("{}");
    assert_eq!(origin.last_request().header("if-none-match"), None);
    origin.assert_requests(11);
}

#[tokio::test]
async fn a_failure_is_passed_on_if_the_response_was_evicted_meanwhile() {
    let (origin, _proxy, response) = revalidate_evicted(Some(Reply::new(503))).await;
    response.assert_status(503);
    origin.assert_requests(10);
}

/// The first 304 replaces the stored response by an equal one, which the others renew.
#[tokio::test]
async fn concurrent_revalidations_of_one_response_are_all_renewed() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, Reply::json("{}").validating("\"1\""));
    get(&proxy).await.assert_miss();
    let gate = origin.hold(CALL);
    let get_no_cache = || {
        proxy
            .get(CALL)
            .bearer("a")
            .header("cache-control", "no-cache")
    };
    let all: Vec<_> = (0..3).map(|_| get_no_cache().start()).collect();
    origin.wait_for_requests(4).await;
    gate.open_for_all();
    for one in all {
        let response = one.await.assert_body("{}");
        assert!(
            response.cache_status().contains("fwd-status=304"),
            "{response}"
        );
    }
    origin.assert_requests(4);
}
