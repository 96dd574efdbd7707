//! Views: the part of a call that a client selects, exact to the byte.

use http::Method;
use stuut_cache::config::ByteSize;

use crate::support::{Origin, Proxy, Reply, Response};

/// Whitespace, escapes, numbers, an order and a duplicate that a parser would not preserve.
pub(super) const BODY: &str = "{ \"id\" : \"c\\u0031\",\n\t\"partner\":{\"id\":7.50,\"name\":\"F\\/oo\",\"contacts\":[{\"id\":1,\"x\":[]},{\"x\":1e2,\"id\":2}]} ,\"invoices\":[ ],\"id\":\"twice\" }";

/// A URL signed for 60 s, usable for 30 s because of the safety margin.
const SIGNED: &str = r#"{"id":"c1","status":"busy","presigned_url":"https://s3/x?X-Amz-Signature=1","presigned_url_expires_at":"2027-01-15T08:01:00Z"}"#;

pub(super) async fn start_with(reply: Reply) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply("/v1/calls/c1", reply);
    (origin, proxy)
}

async fn calls_with(reply: Reply) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::for_calls(&origin).await;
    origin.default_reply(reply);
    (origin, proxy)
}

pub(super) async fn get(proxy: &Proxy, query: &str) -> Response {
    proxy
        .get(&format!("/v1/calls/c1?{query}"))
        .bearer("a")
        .await
}

pub(super) async fn views(proxy: &Proxy, result: &str) -> f64 {
    let line = format!("stuut_cache_view_total{{result=\"{result}\"}}");
    proxy.metric(&line).await
}

#[tokio::test]
async fn kept_fields_are_unchanged_to_the_byte() {
    let (origin, proxy) = start_with(Reply::json(BODY)).await;
    let table = [
        (
            "strip=partner,invoices",
            "{ \"id\" : \"c\\u0031\",\"id\":\"twice\" }",
        ),
        (
            "strip=partner.contacts.x,partner.name,id",
            "{\n\t\"partner\":{\"id\":7.50,\"contacts\":[{\"id\":1},{\"id\":2}]} ,\"invoices\":[ ] }",
        ),
        ("fields=partner(id)", "{\n\t\"partner\":{\"id\":7.50} }"),
        (
            "view=light",
            "{ \"id\" : \"c\\u0031\",\n\t\"partner\":{\"id\":7.50,\"name\":\"F\\/oo\"} ,\"id\":\"twice\" }",
        ),
        ("strip=nothing.like.this", BODY),
        ("fields=*", BODY),
    ];
    for (query, body) in &table {
        get(&proxy, query)
            .await
            .assert_status(200)
            .assert_body(body);
    }
    for (query, body) in &table {
        get(&proxy, query)
            .await
            .assert_hit()
            .assert_header("content-length", &body.len().to_string())
            .assert_body(body);
    }
    get(&proxy, "").await; // Another target: `?` with an empty query.
    origin.assert_requests(2);
}

#[tokio::test]
async fn a_view_is_the_same_on_a_miss_and_a_hit() {
    let (_origin, proxy) = start_with(Reply::json(BODY).header("etag", "\"w\"")).await;
    let query = "strip=partner.contacts&fields=id,partner";
    let miss = get(&proxy, query).await.assert_miss();
    let hit = get(&proxy, query)
        .await
        .assert_hit()
        .assert_body(miss.body());
    for name in ["etag", "content-length", "content-type", "date", "via"] {
        assert_eq!(miss.header(name), hit.header(name), "{name}");
    }
}

#[tokio::test]
async fn a_view_has_its_own_entity_tag() {
    let (origin, proxy) = start_with(Reply::json(BODY).header("etag", "\"w\"")).await;
    let tag = |response: Response| response.header("etag").expect("a tag");
    let whole = tag(proxy.get("/v1/calls/c1").bearer("a").await);
    let (one, other) = (
        tag(get(&proxy, "strip=id").await),
        tag(get(&proxy, "strip=partner").await),
    );
    assert_eq!(whole, "\"w\"");
    assert!(one != whole && other != whole && one != other);
    for (query, tag, status) in [
        ("strip=id", &one, 304),
        ("strip=id", &other, 200),
        ("strip=id", &whole, 200),
        // Nothing is removed, so it is the whole.
        ("strip=nothing", &whole, 304),
        ("fields=*", &one, 200),
    ] {
        proxy
            .get(&format!("/v1/calls/c1?{query}"))
            .bearer("a")
            .header("if-none-match", tag)
            .await
            .assert_hit()
            .assert_status(status);
    }
    assert_eq!(tag(get(&proxy, "strip=id,id.x").await), one);
    origin.assert_requests(1);
}

/// The tag of a view is not the origin's: unless it is translated, each write would be a 412.
#[tokio::test]
async fn a_write_is_conditional_on_the_tag_of_a_view() {
    for (stored, sent) in [("\"w\"", "\"w\""), ("W/\"w\"", "W/\"w\"")] {
        let (origin, proxy) = start_with(Reply::json(BODY).header("etag", stored)).await;
        let view = get(&proxy, "strip=id").await;
        let tag = view.header("etag").expect("a tag");
        assert!(tag != stored, "{tag}");
        for query in ["", "?strip=id"] {
            proxy
                .request(Method::PATCH, &format!("/v1/calls/c1{query}"))
                .bearer("a")
                .header("if-match", &tag)
                .await
                .assert_status(200);
            let request = origin.last_request();
            assert_eq!(request.header("if-match").as_deref(), Some(sent));
            assert_eq!(request.target(), "/v1/calls/c1");
        }
    }
}

#[tokio::test]
async fn a_view_without_a_tag_of_the_origin_has_a_digest_as_its_tag() {
    let (_origin, proxy) = start_with(Reply::json(BODY)).await;
    let tag = |response: Response| response.header("etag").expect("a tag");
    let one = tag(get(&proxy, "strip=id").await);
    assert_eq!(tag(get(&proxy, "strip=id,nothing").await), one);
    assert!(tag(get(&proxy, "strip=partner").await) != one);
}

#[tokio::test]
async fn a_view_reports_what_it_did() {
    let (_origin, proxy) = start_with(Reply::json("{\"a\":1,\"b\":[{\"c\":2}]}")).await;
    let many = format!(
        "strip={}",
        (100..164)
            .map(|n| format!("name{n}"))
            .collect::<Vec<_>>()
            .join(",")
    );
    for (query, report) in [
        ("strip=a", "applied; removed=6"),
        ("fields=a", "applied; removed=14"),
        ("fields=a,b.c", "whole"),
        ("strip=A", "whole; unmatched=\"A\""),
        (
            "strip=A,b.c,x(y,z)",
            "applied; removed=5; unmatched=\"A,x.y,x.z\"",
        ),
        ("fields=a,B", "applied; removed=14; unmatched=\"B\""),
        ("strip=%22,%5C%5C", r#"whole; unmatched="\",\\\\""#),
        ("strip=caf%C3%A9", "whole; unmatched=%\"caf%c3%a9\""),
        ("strip=A", "whole; unmatched=\"A\""),
    ] {
        for _ in 0..2 {
            get(&proxy, query)
                .await
                .assert_header("stuut-cache-view", report);
        }
    }
    let long = get(&proxy, &many)
        .await
        .header("stuut-cache-view")
        .expect("a report");
    assert!(
        long.ends_with(",name130,name131...\"") && long.len() < 300,
        "{long}"
    );
    let whole = proxy.get("/v1/calls/c1").bearer("a").await;
    whole.assert_no_header("stuut-cache-view");
    let explained = proxy
        .admin(Method::GET, "/explain?path=/v1/calls/c1")
        .await
        .json();
    let views = explained["stored"][0]["views"].to_string();
    let unmatched = r#""unmatched":[{"nearest":"a","path":"A"}]"#;
    assert!(views.contains(unmatched), "{views}");
}

/// Before, they named a field that no call has: nothing was removed, and nothing said so.
#[tokio::test]
async fn paths_of_other_languages_are_400_with_the_spelling() {
    let (origin, proxy) = start_with(Reply::json(BODY)).await;
    for (query, detail) in [
        (
            "strip=$.invoices",
            "strip: character 1: a path has no $ here, and goes through arrays by itself; write invoices; write \\$ if it is part of a name",
        ),
        (
            "fields=id,/partner/contacts/0/id",
            "fields: character 4: a path has no / here, and goes through arrays by itself; write partner.contacts.id; write \\/ if it is part of a name",
        ),
        (
            "strip=invoices%5B0%5D.id",
            "strip: character 1: a path has no [ here, and goes through arrays by itself; write invoices.id; write \\[ if it is part of a name",
        ),
    ] {
        let problem = get(&proxy, query).await.assert_problem(400, "view");
        assert_eq!(problem.json()["detail"], detail);
    }
    origin.assert_requests(0);
}

#[tokio::test]
async fn blanks_around_items_mean_nothing() {
    let (_origin, proxy) = start_with(Reply::json("{\"id\":1,\"status\":2,\"x\":3}")).await;
    for query in [
        "fields=id%2C+status",
        "fields=id,%20status",
        "fields=+id+%2C+status+",
    ] {
        get(&proxy, query)
            .await
            .assert_body("{\"id\":1,\"status\":2}");
    }
}

/// Otherwise they reach the origin, and the client takes the whole call for the view.
#[tokio::test]
async fn view_options_are_read_first_whatever_the_request() {
    let (origin, proxy) = start_with(Reply::json("{\"id\":1,\"x\":2}")).await;
    let target = "/v1/calls/c1?fields=id&y=1";
    let request = |method| proxy.request(method, target);
    let skipped = [
        ("credential", request(Method::GET)),
        (
            "credential",
            request(Method::GET).header("authorization", "Basic eDp5"),
        ),
        ("body", request(Method::GET).bearer("a").body("{}")),
        (
            "condition",
            request(Method::GET).bearer("a").header("if-match", "*"),
        ),
        ("method", request(Method::DELETE).bearer("a")),
        (
            "method",
            request(Method::POST).bearer("a").body("{}").over_http2(),
        ),
    ];
    for (reason, request) in skipped {
        request
            .await
            .assert_header("stuut-cache-view", &format!("skipped; reason={reason}"));
        assert_eq!(origin.last_request().target(), "/v1/calls/c1?y=1");
    }
    origin.reply("/v1/calls/c1?y=1", Reply::json("{\"id\":1,\"x\":2}"));
    // The writes have settled: responses are stored again.
    proxy.advance_seconds(2);
    let offers = [("range", "bytes=0-1"), ("upgrade", "h2c")];
    for (name, value) in offers {
        proxy
            .get(target)
            .bearer("b")
            .header(name, value)
            .await
            .assert_body("{\"id\":1}")
            .assert_header("stuut-cache-view", "applied; removed=6");
        assert_eq!(origin.last_request().header(name), None);
    }
    origin.assert_requests(7);
    for request in [
        proxy.get("/v1/calls/c1?strip=("),
        proxy
            .request(Method::PUT, "/v1/calls/c1?strip=(")
            .bearer("a"),
        proxy
            .get("/v1/calls/c1?strip=(")
            .bearer("a")
            .header("range", "bytes=0-1"),
    ] {
        request.await.assert_problem(400, "view");
    }
    origin.assert_requests(7);
    // Without a view, a range is the origin's.
    let range = proxy
        .get("/v1/calls/c1")
        .bearer("b")
        .header("range", "bytes=0-1");
    range
        .await
        .assert_cache_status("stuut-cache; fwd=bypass; fwd-status=200; detail=range");
}

#[tokio::test]
async fn view_options_are_removed_and_the_rest_of_the_query_is_forwarded() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for (query, sent) in [
        ("?strip=a", ""),
        ("?x=%7e&strip=a&&y=+", "?x=%7e&&y=+"),
        ("?view=light&fields=id&a", "?a"),
        ("?strip=a&", "?"),
        ("?Strip=a&%73trip=b&strips=c", "?Strip=a&%73trip=b&strips=c"),
    ] {
        proxy
            .get(&format!("/v1/calls/c1{query}"))
            .bearer("a")
            .await
            .assert_status(200);
        assert_eq!(
            origin.last_request().target(),
            format!("/v1/calls/c1{sent}")
        );
    }
    // On routes that are not cached, there are no view options.
    proxy.get("/v1/other?strip=a").bearer("a").await;
    assert_eq!(origin.last_request().target(), "/v1/other?strip=a");
}

#[tokio::test]
async fn an_invalid_view_is_400_with_its_position_and_no_fetch() {
    let (origin, proxy) = start_with(Reply::json(BODY)).await;
    for (query, detail) in [
        ("strip=a..b", "strip: character 3: "),
        ("strip=", "strip: character 1: "),
        ("strip", "strip: character 1: "),
        (
            "fields=a,**.b",
            "fields: character 3: ** can only be stripped; write the path of the field to keep",
        ),
        ("fields=a(b", "fields: character 2: "),
        ("x=1&strip=%zz", "strip: character 1: "),
        ("view=dark", "view: character 1: "),
    ] {
        let response = get(&proxy, query)
            .await
            .assert_problem(400, "view")
            .assert_cache_status("stuut-cache; detail=view");
        let problem = response.json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(problem.starts_with(detail), "{query}: {problem}");
    }
    origin.assert_requests(0);
}

#[tokio::test]
async fn a_response_without_views_is_served_whole_with_the_reason() {
    let deep = format!("{}{}", "[".repeat(1_100), "]".repeat(1_100));
    let json = |body: &str| Reply::json(body);
    let table = [
        (json("{\"a\":1,}"), 200, "not-json", "not_json"),
        (json("{\"a\":1} x"), 200, "not-json", "not_json"),
        (json(""), 200, "not-json", "not_json"),
        (json(&deep), 200, "too-deep", "too_deep"),
        (
            json("{\"a\":1}").header("content-encoding", "br"),
            200,
            "encoded",
            "not_a_call",
        ),
        (
            json("{\"a\":1}").header("cache-control", "public, No-Transform"),
            200,
            "no-transform",
            "not_a_call",
        ),
        (
            Reply::new(200).body("{\"a\":1}"),
            200,
            "not-declared-json",
            "not_declared_json",
        ),
        (
            Reply::new(200)
                .header("content-type", "text/html; x=application/json")
                .body("{\"a\":1}"),
            200,
            "not-declared-json",
            "not_declared_json",
        ),
        (
            Reply::new(404)
                .header("content-type", "application/json")
                .body("{\"a\":1}"),
            404,
            "status",
            "not_a_call",
        ),
    ];
    for (reply, status, reason, label) in table {
        let (origin, proxy) = start_with(reply.header("etag", "\"w\"").header("digest", "x")).await;
        let whole = proxy.get("/v1/calls/c1").bearer("a").await;
        let skipped = format!("skipped; reason={reason}");
        for _ in 0..2 {
            get(&proxy, "strip=a")
                .await
                .assert_hit()
                .assert_status(status)
                .assert_header("stuut-cache-view", &skipped)
                .assert_header("etag", "\"w\"")
                .assert_header("digest", "x")
                .assert_body(whole.body());
        }
        whole.assert_no_header("stuut-cache-view");
        let result = format!("skipped_{label}");
        assert_eq!(views(&proxy, &result).await.to_string(), "1", "{reason}");
        origin.assert_requests(1);
    }
}

/// Otherwise a client would take it for the view that it requested.
#[tokio::test]
async fn a_streamed_response_says_that_the_view_was_skipped() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.cache.max_entry = ByteSize(20)).await;
    let large = format!("{{\"a\":1,\"b\":\"{}\"}}", "b".repeat(20));
    let table = [
        (Reply::json(&large), large.as_str(), "too-large"),
        (
            Reply::json("{\"a\":1}").until_close(),
            "{\"a\":1}",
            "close-delimited",
        ),
        (
            Reply::json("{\"a\":1}").header("cache-control", "no-store"),
            "{\"a\":1}",
            "no-store",
        ),
    ];
    for (reply, body, reason) in table {
        origin.reply("/v1/calls/c1", reply);
        get(&proxy, "strip=a")
            .await
            .assert_header("stuut-cache-view", &format!("skipped; reason={reason}"))
            .assert_body(body);
        let whole = proxy.get("/v1/calls/c1").bearer("a").await;
        whole.assert_no_header("stuut-cache-view");
    }
}

#[tokio::test]
async fn any_json_media_type_has_views() {
    for name in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.stuut+json",
    ] {
        let (_origin, proxy) = start_with(
            Reply::new(200)
                .header("content-type", name)
                .body("{\"a\":1,\"b\":2}"),
        )
        .await;
        get(&proxy, "strip=a")
            .await
            .assert_body("{\"b\":2}")
            .assert_header("content-type", name);
    }
}

#[tokio::test]
async fn a_view_has_no_digest_or_range_fields_of_the_whole() {
    let fields = [
        "content-digest",
        "repr-digest",
        "digest",
        "content-md5",
        "accept-ranges",
        "unencoded-digest",
        "signature",
        "signature-input",
        "x-amz-checksum-crc64nvme",
        "x-goog-hash",
    ];
    let reply = fields
        .iter()
        .fold(Reply::json("{\"a\":1,\"b\":2}"), |reply, name| {
            reply.header(name, "x")
        });
    let (_origin, proxy) = start_with(reply.header("x-other", "x")).await;
    let view = get(&proxy, "strip=a").await.assert_header("x-other", "x");
    for name in fields {
        assert_eq!(view.header(name), None, "{name}");
    }
    let response = proxy.get("/v1/calls/c1").bearer("a").await.assert_hit();
    for name in fields {
        assert_eq!(response.header(name).as_deref(), Some("x"), "{name}");
    }
}

#[tokio::test]
async fn head_of_a_view_matches_its_get() {
    let (origin, proxy) =
        start_with(Reply::json("{\"a\":1,\"b\":2}").header("etag", "\"w\"")).await;
    let head = proxy
        .request(Method::HEAD, "/v1/calls/c1?strip=a")
        .bearer("a")
        .await
        .assert_miss()
        .assert_header("content-length", "7")
        .assert_header("stuut-cache-view", "applied; removed=6")
        .assert_body("");
    let view = get(&proxy, "strip=a")
        .await
        .assert_hit()
        .assert_body("{\"b\":2}");
    assert_eq!(head.header("etag"), view.header("etag"));
    assert_eq!(origin.last_request().method(), "GET");
    origin.assert_requests(1);
}

#[tokio::test]
async fn http_1_0_clients_get_views() {
    let (_origin, proxy) = start_with(Reply::json("{\"a\":1,\"b\":2}")).await;
    for outcome in ["fwd=miss", "hit"] {
        let response = proxy
            .raw("GET /v1/calls/c1?strip=a HTTP/1.0\r\nauthorization: Bearer a\r\n\r\n")
            .await;
        assert!(
            response.contains(&format!("stuut-cache; {outcome};")),
            "{response}"
        );
        assert!(response.contains("\r\ncontent-length: 7\r\n"), "{response}");
        assert!(response.ends_with("\r\n\r\n{\"b\":2}"), "{response}");
    }
}

#[tokio::test]
async fn a_404_supersedes_the_views_of_an_unusable_call() {
    let (origin, proxy) =
        start_with(Reply::json(SIGNED).header("cache-control", "max-age=600")).await;
    let whole = "/v1/calls/c1";
    proxy.get(whole).bearer("a").await.assert_miss();
    proxy.advance_seconds(40);
    get(&proxy, "fields=id").await.assert_hit();
    let missing = Reply::new(404).header("cache-control", "no-store");
    origin.reply(whole, missing);
    proxy.get(whole).bearer("a").await.assert_status(404);
    get(&proxy, "fields=id").await.assert_status(404);
}

#[tokio::test]
async fn max_age_and_expires_are_capped_to_the_views_lifetime() {
    let cache_control = "private, max-age=600, stale-if-error=60";
    let signed = Reply::json(SIGNED).header("cache-control", cache_control);
    let (_origin, proxy) =
        calls_with(signed.header("expires", "Fri, 15 Jan 2027 09:00:00 GMT")).await;
    let get = |query: &str| proxy.get(&format!("/v1/calls/c1{query}")).bearer("a");
    get("").await.assert_miss();
    proxy.advance_seconds(10);
    get("")
        .await
        .assert_hit()
        .assert_header("age", "10")
        .assert_header("cache-control", "private, max-age=30")
        .assert_header("expires", "Fri, 15 Jan 2027 08:00:30 GMT");
    get("?fields=id")
        .await
        .assert_hit()
        .assert_header("cache-control", cache_control)
        .assert_header("expires", "Fri, 15 Jan 2027 09:00:00 GMT");

    let live = r#"{"id":"c1","status":"busy","invoices":[{}]}"#;
    for (received, sent) in [
        (Some("max-age=600"), Some("max-age=60")),
        (Some("max-age=40, public"), Some("max-age=40, public")),
        (None, None),
    ] {
        let reply = Reply::json(live);
        let (_origin, proxy) = calls_with(match received {
            Some(received) => reply.header("cache-control", received),
            None => reply,
        })
        .await;
        for _ in 0..2 {
            let response = proxy.get("/v1/calls/c1").bearer("a").await;
            assert_eq!(
                response.header("cache-control").as_deref(),
                sent,
                "{response}"
            );
        }
    }
}

/// The URL itself states a week, the field next to it a minute: the signing credentials expire
/// then.
#[tokio::test]
async fn a_view_of_a_signed_url_ends_by_a_removed_expiry_field() {
    let body = r#"{"id":"c1","recording":{"presigned_url":"https://s3/x?X-Amz-Date=20270115T080000Z&X-Amz-Expires=604800&X-Amz-Signature=1","presigned_url_expires_at":"2027-01-15T08:01:00Z"}}"#;
    for query in [
        "strip=**.presigned_url_expires_at",
        "fields=recording.presigned_url",
    ] {
        let (_origin, proxy) =
            start_with(Reply::json(body).header("cache-control", "max-age=600")).await;
        get(&proxy, query).await.assert_miss();
        proxy.advance_seconds(29);
        get(&proxy, query).await.assert_hit();
        proxy.advance_seconds(1);
        get(&proxy, query).await.assert_forwarded("stale");
    }
}

#[tokio::test]
async fn a_capped_call_dated_before_1970_is_served() {
    let call = Reply::json(r#"{"invoices":[]}"#)
        .header("date", "Wed, 31 Dec 1969 00:00:00 GMT")
        .header("expires", "Fri, 15 Jan 2027 09:00:00 GMT");
    let (_origin, proxy) = start_with(call).await;
    get(&proxy, "strip=transcript").await.assert_status(200);
}

/// The signed URL of the whole call has expired, but the view has no URL and is still fresh.
#[tokio::test]
async fn an_error_with_a_lifetime_does_not_replace_fresh_views() {
    let (origin, proxy) =
        start_with(Reply::json(SIGNED).header("cache-control", "max-age=600")).await;
    let whole = "/v1/calls/c1";
    proxy.get(whole).bearer("a").await.assert_miss();
    proxy.advance_seconds(40);
    get(&proxy, "fields=id").await.assert_hit();
    let failure = Reply::new(503).header("cache-control", "max-age=60");
    origin.reply(whole, failure);
    proxy.get(whole).bearer("a").await.assert_status(503);
    get(&proxy, "fields=id")
        .await
        .assert_hit()
        .assert_status(200);
}
