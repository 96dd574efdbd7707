//! Variants: responses selected by the request fields that `Vary` nominates.

use crate::support::{Origin, Proxy, Reply, Response};

const CALL: &str = "/v1/calls/c1";

/// Starts an origin whose replies have these lines of `Vary`.
async fn start_varying(lines: &[&str]) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    set_vary(&origin, lines);
    (origin, proxy)
}

fn set_vary(origin: &Origin, lines: &[&str]) {
    let reply = lines
        .iter()
        .fold(Reply::echo(), |reply, line| reply.header("vary", line));
    origin.reply(CALL, reply);
}

async fn get(proxy: &Proxy, fields: &[(&str, &str)]) -> Response {
    let request = proxy.get(CALL).bearer("a");
    fields
        .iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        })
        .await
}

const VARY_MISS: &str = "stuut-cache; fwd=vary-miss; fwd-status=200; stored; ttl=60";

#[tokio::test]
async fn each_value_of_a_nominated_field_is_a_variant() {
    let (origin, proxy) = start_varying(&["accept"]).await;
    get(&proxy, &[]).await.assert_miss();
    get(&proxy, &[("accept", "a")])
        .await
        .assert_cache_status(VARY_MISS);
    get(&proxy, &[("accept", "b")])
        .await
        .assert_cache_status(VARY_MISS);
    for (fields, number) in [
        (&[][..], 1),
        (&[("accept", "a")], 2),
        (&[("accept", "b")], 3),
        (&[("accept", "a"), ("accept-language", "fy")], 2),
    ] {
        let response = get(&proxy, fields).await.assert_hit();
        assert_eq!(response.json()["number"], number, "{response}");
    }
    origin.assert_requests(3);
}

#[tokio::test]
async fn vary_ignores_case_and_line_splits() {
    for lines in [
        &["Accept, ACCEPT-Language"][..],
        &["accept", "accept-language"],
        &["", ",accept ,, accept-language"],
    ] {
        let (_origin, proxy) = start_varying(lines).await;
        let first = [("accept", "a"), ("accept-language", "fy")];
        get(&proxy, &first).await.assert_miss();
        get(&proxy, &first).await.assert_hit();
        get(&proxy, &[("accept", "b"), ("accept-language", "fy")])
            .await
            .assert_cache_status(VARY_MISS);
        get(&proxy, &[("accept", "a"), ("accept-language", "nl")])
            .await
            .assert_cache_status(VARY_MISS);
    }
}

#[tokio::test]
async fn lines_of_a_nominated_field_are_combined() {
    let (_origin, proxy) = start_varying(&["accept"]).await;
    get(&proxy, &[("accept", "a, b")]).await.assert_miss();
    get(&proxy, &[("accept", "a"), ("accept", "b")])
        .await
        .assert_hit();
    get(&proxy, &[("accept", "a,b")]).await.assert_hit();
    get(&proxy, &[("accept", "b, a")])
        .await
        .assert_cache_status(VARY_MISS);
}

#[tokio::test]
async fn fields_not_forwarded_do_not_select_a_variant() {
    for name in ["cookie", "x-tenant", "accept-encoding", "origin"] {
        let (origin, proxy) = start_varying(&[name]).await;
        get(&proxy, &[(name, "one")]).await.assert_miss();
        get(&proxy, &[(name, "two")]).await.assert_hit();
        get(&proxy, &[]).await.assert_hit();
        let sent = origin.last_request().header(name);
        assert!(
            sent.is_none() || sent.as_deref() == Some("gzip"),
            "{name}: {sent:?}"
        );
    }
}

#[tokio::test]
async fn vary_on_authorization_has_no_further_effect() {
    let (_origin, proxy) = start_varying(&["Authorization"]).await;
    get(&proxy, &[]).await.assert_miss();
    get(&proxy, &[]).await.assert_hit();
    let other = proxy.get(CALL).bearer("b").await.assert_miss();
    assert_eq!(other.json()["authorization"], "Bearer b");
}

#[tokio::test]
async fn a_ninth_variant_evicts_the_oldest() {
    let (origin, proxy) = start_varying(&["accept"]).await;
    let values: Vec<_> = (0..9).map(|n| format!("t/{n}")).collect();
    for value in &values {
        get(&proxy, &[("accept", value)]).await;
    }
    for value in &values[1..] {
        get(&proxy, &[("accept", value)]).await.assert_hit();
    }
    origin.assert_requests(9);
    get(&proxy, &[("accept", &values[0])])
        .await
        .assert_cache_status(VARY_MISS);
    get(&proxy, &[("accept", &values[1])])
        .await
        .assert_cache_status(VARY_MISS);
    get(&proxy, &[("accept", &values[8])]).await.assert_hit();
}

#[tokio::test]
async fn revalidation_renews_one_variant_only() {
    let (origin, proxy) = start_varying(&[]).await;
    let tagged = |tag: &str| {
        Reply::echo()
            .header("vary", "accept")
            .header("etag", tag)
            .header("cache-control", "max-age=10")
    };
    origin.replies(
        CALL,
        vec![
            tagged("\"a\""),
            tagged("\"b\""),
            Reply::new(304).header("etag", "\"a\""),
        ],
    );
    get(&proxy, &[("accept", "a")]).await;
    proxy.advance_seconds(5);
    get(&proxy, &[("accept", "b")]).await;
    proxy.advance_seconds(5);
    get(&proxy, &[("accept", "a")])
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=304; stored; ttl=10");
    assert_eq!(
        origin.last_request().header("if-none-match").as_deref(),
        Some("\"a\"")
    );
    get(&proxy, &[("accept", "b")])
        .await
        .assert_cache_status("stuut-cache; hit; ttl=5")
        .assert_header("etag", "\"b\"");
    get(&proxy, &[("accept", "a")])
        .await
        .assert_cache_status("stuut-cache; hit; ttl=10")
        .assert_header("etag", "\"a\"");
}

#[tokio::test]
async fn a_write_invalidates_all_variants() {
    let (_origin, proxy) = start_varying(&["accept"]).await;
    for value in ["a", "b"] {
        get(&proxy, &[("accept", value)]).await;
    }
    proxy
        .request(http::Method::PATCH, CALL)
        .bearer("a")
        .await
        .assert_status(200);
    for value in ["a", "b"] {
        let response = get(&proxy, &[("accept", value)]).await;
        assert!(!response.cache_status().contains("hit"), "{response}");
    }
}

#[tokio::test]
async fn a_404_or_410_supersedes_all_variants() {
    for status in [404, 410] {
        let (origin, proxy) = start_varying(&["accept-language"]).await;
        get(&proxy, &[("accept-language", "de")])
            .await
            .assert_miss();
        get(&proxy, &[("accept-language", "en")]).await;
        let missing = Reply::new(status).header("cache-control", "no-store");
        origin.reply(CALL, missing);
        for language in ["de", "en"] {
            let fields = [("accept-language", language), ("cache-control", "no-cache")];
            // Only the first forces a fetch: its 404 must have superseded the other variant.
            let fields = if language == "de" {
                &fields[..]
            } else {
                &fields[..1]
            };
            get(&proxy, fields).await.assert_status(status);
        }
    }
}

#[tokio::test]
async fn stored_request_fields_count_towards_the_weight() {
    let (_origin, proxy) = start_varying(&["accept"]).await;
    get(&proxy, &[]).await.assert_miss();
    let before = proxy.metric("stuut_cache_weight_bytes").await;
    let long = "a".repeat(20_000);
    get(&proxy, &[("accept", &long)])
        .await
        .assert_cache_status(VARY_MISS);
    let after = proxy.metric("stuut_cache_weight_bytes").await;
    assert!(after - before > 20_000.0, "{before} {after}");
}

#[tokio::test]
async fn a_field_forwarded_by_configuration_selects_a_variant() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.forward_headers = vec!["x-organisation".parse().expect("a name")];
    })
    .await;
    for organisation in ["one", "two"] {
        let get = || {
            proxy
                .get("/v1/calls/c1")
                .bearer("a")
                .header("x-organisation", organisation)
        };
        let response = get().await;
        assert!(response.cache_status().contains("fwd="), "{response}");
        get().await.assert_hit().assert_body(response.body());
    }
    get(&proxy, &[]).await.assert_cache_status(VARY_MISS);
    origin.assert_requests(3);
}

/// Errors rarely have a Vary field, and so would be served to every request.
#[tokio::test]
async fn an_error_without_vary_does_not_hide_other_variants() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let german = || proxy.get(CALL).bearer("a").header("accept-language", "de");
    let english = || proxy.get(CALL).bearer("a").header("accept-language", "en");
    let call = Reply::json("{}").header("vary", "accept-language");
    let error = Reply::new(500).header("cache-control", "max-age=50");
    origin.replies(CALL, vec![call, error]);
    german().await.assert_miss();
    english().await.assert_status(500);
    german().await.assert_hit().assert_body("{}");
}

/// Two services with one token got each other's media type.
#[tokio::test]
async fn accept_selects_without_vary_but_its_spelling_does_not() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let xml = Reply::new(200)
        .header("content-type", "application/xml")
        .body("<call/>");
    origin.replies(CALL, vec![Reply::json("{}"), xml.clone()]);
    get(&proxy, &[]).await.assert_miss();
    for accept in [
        "*/*",
        "application/json",
        "application/json, text/plain, */*",
    ] {
        get(&proxy, &[("accept", accept)])
            .await
            .assert_hit()
            .assert_body("{}");
    }
    get(&proxy, &[("accept", "application/xml")])
        .await
        .assert_cache_status(VARY_MISS)
        .assert_body("<call/>");
    for (accept, body) in [
        ("application/xml", "<call/>"),
        ("text/xml;q=0.1, application/*", "<call/>"),
        ("application/json", "{}"),
    ] {
        get(&proxy, &[("accept", accept)])
            .await
            .assert_hit()
            .assert_body(body);
    }
    // Without Content-Language, a response is for all languages.
    let polish = [("accept-language", "pl")];
    get(&proxy, &polish).await.assert_hit();
    origin.assert_requests(2);
    let english = Reply::json("{}").header("content-language", "en");
    origin.replies("/v1/calls/c2", vec![english, Reply::json("{}")]);
    let get = |language: &str| {
        let request = proxy.get("/v1/calls/c2").bearer("a");
        request.header("accept-language", language)
    };
    get("en-GB, en;q=0.9").await.assert_miss();
    get("en").await.assert_hit();
    get("*").await.assert_hit();
    get("pl").await.assert_cache_status(VARY_MISS);
}

/// The plain call was a hit: `*/*` includes it.
#[tokio::test]
async fn a_version_in_accept_is_requested_from_the_origin() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let second = Reply::json("2").header("content-type", "application/json;version=2");
    origin.replies(CALL, vec![Reply::json("1"), second]);
    get(&proxy, &[]).await.assert_miss();
    let versioned = [("accept", "application/json;version=2, */*")];
    let fetched = get(&proxy, &versioned).await;
    fetched.assert_cache_status(VARY_MISS).assert_body("2");
    get(&proxy, &versioned).await.assert_hit().assert_body("2");
    let plain = [("accept", "application/json, */*")];
    get(&proxy, &plain).await.assert_hit();
    origin.assert_requests(2);
}

/// They were dropped in silence, and every client got the default version.
#[tokio::test]
async fn a_version_is_forwarded_and_selects_a_variant() {
    for name in [
        "Api-Version",
        "X-Api-Version",
        "Accept-Version",
        "Stuut-Version",
    ] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        get(&proxy, &[]).await.assert_miss();
        for value in ["2025-01-01", "2026-01-01"] {
            get(&proxy, &[(name, value)])
                .await
                .assert_cache_status(VARY_MISS);
            assert_eq!(origin.last_request().header(name).as_deref(), Some(value));
            get(&proxy, &[(name, value)]).await.assert_hit();
        }
        get(&proxy, &[]).await.assert_hit();
        origin.assert_requests(3);
    }
}

#[tokio::test]
async fn fields_left_out_are_counted_and_named() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let fields = [
        ("x-tenant", "t1"),
        ("cookie", "c=1"),
        ("cache-control", "no-cache"),
        ("accept", "*/*"),
    ];
    get(&proxy, &fields).await.assert_miss();
    get(&proxy, &fields[..1]).await.assert_hit();
    let counted = proxy.metric("stuut_cache_fields_left_out_total").await;
    assert_eq!(counted.to_string(), "2");
    let explained = proxy
        .admin(http::Method::GET, "/explain?path=/v1/calls/c1")
        .await;
    let left_out = serde_json::json!({ "x-tenant": 1, "cookie": 1 });
    assert_eq!(explained.json()["fields_left_out"], left_out);
}
