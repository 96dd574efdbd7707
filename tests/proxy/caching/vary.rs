//! Several answers to one target: the request fields that `Vary` nominates.

use crate::support::{Origin, Proxy, Reply, Response};

const CALL: &str = "/v1/calls/c1";

/// An origin whose answers carry these lines of `Vary`.
async fn varying(lines: &[&str]) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    script(&origin, lines);
    (origin, proxy)
}

fn script(origin: &Origin, lines: &[&str]) {
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
async fn each_value_of_a_nominated_field_has_an_answer_of_its_own() {
    let (origin, proxy) = varying(&["accept"]).await;
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
        let answer = get(&proxy, fields).await.assert_hit();
        assert_eq!(answer.json()["number"], number, "{answer}");
    }
    origin.assert_requests(3);
}

#[tokio::test]
async fn lines_and_letter_case_of_vary_make_no_difference() {
    for lines in [
        &["Accept, ACCEPT-Language"][..],
        &["accept", "accept-language"],
        &["", ",accept ,, accept-language"],
    ] {
        let (_origin, proxy) = varying(lines).await;
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
async fn lines_of_a_nominated_field_are_one_list() {
    let (_origin, proxy) = varying(&["accept"]).await;
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
async fn what_never_reaches_the_origin_cannot_make_a_difference() {
    for name in ["cookie", "x-tenant", "accept-encoding", "origin"] {
        let (origin, proxy) = varying(&[name]).await;
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
async fn a_field_that_is_sent_on_by_configuration_makes_a_difference() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.forward_headers = vec!["x-tenant".parse().expect("a name")];
    })
    .await;
    script(&origin, &["x-tenant"]);
    get(&proxy, &[("x-tenant", "1")]).await.assert_miss();
    get(&proxy, &[("x-tenant", "1")]).await.assert_hit();
    get(&proxy, &[("x-tenant", "2")])
        .await
        .assert_cache_status(VARY_MISS);
    get(&proxy, &[]).await.assert_cache_status(VARY_MISS);
}

#[tokio::test]
async fn the_credential_makes_a_difference_already() {
    let (_origin, proxy) = varying(&["Authorization"]).await;
    get(&proxy, &[]).await.assert_miss();
    get(&proxy, &[]).await.assert_hit();
    let other = proxy.get(CALL).bearer("b").await.assert_miss();
    assert_eq!(other.json()["authorization"], "Bearer b");
}

#[tokio::test]
async fn a_star_is_never_served_again() {
    for lines in [&["*"][..], &["accept, *"], &["accept", "*"]] {
        let (origin, proxy) = varying(lines).await;
        for _ in 0..2 {
            get(&proxy, &[])
                .await
                .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; detail=vary");
        }
        origin.assert_requests(2);
    }
}

#[tokio::test]
async fn eight_variants_are_kept_and_the_oldest_goes() {
    let (origin, proxy) = varying(&["accept"]).await;
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
async fn one_variant_is_renewed_and_the_others_stay_as_they_are() {
    let (origin, proxy) = varying(&[]).await;
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
async fn all_variants_go_with_a_write() {
    let (_origin, proxy) = varying(&["accept"]).await;
    for value in ["a", "b"] {
        get(&proxy, &[("accept", value)]).await;
    }
    proxy
        .request(http::Method::PATCH, CALL)
        .bearer("a")
        .await
        .assert_status(200);
    for value in ["a", "b"] {
        let answer = get(&proxy, &[("accept", value)]).await;
        assert!(!answer.cache_status().contains("hit"), "{answer}");
    }
}

#[tokio::test]
async fn all_variants_go_with_a_call_that_is_gone() {
    for status in [404, 410] {
        let (origin, proxy) = varying(&["accept-language"]).await;
        get(&proxy, &[("accept-language", "de")])
            .await
            .assert_miss();
        get(&proxy, &[("accept-language", "en")]).await;
        let gone = Reply::new(status).header("cache-control", "no-store");
        origin.reply("/v1/calls/c1", gone);
        for language in ["de", "en"] {
            let fields = [("accept-language", language), ("cache-control", "no-cache")];
            let asks = if language == "de" {
                &fields[..]
            } else {
                &fields[..1]
            };
            get(&proxy, asks).await.assert_status(status);
        }
    }
}

#[tokio::test]
async fn what_a_client_has_sent_weighs_where_it_is_kept() {
    let (_origin, proxy) = varying(&["accept"]).await;
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
async fn a_field_that_an_operator_sends_on_is_nominated_without_a_word() {
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
        let answer = get().await;
        assert!(answer.cache_status().contains("fwd="), "{answer}");
        get().await.assert_hit().assert_body(answer.body());
    }
    origin.assert_requests(2);
}

/// An error seldom says what it varies by, and so would answer every request.
#[tokio::test]
async fn an_error_for_one_variant_hid_the_call_that_others_had() {
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
