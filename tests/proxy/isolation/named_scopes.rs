//! Tokens of a named scope share stored responses; each gets one only after the origin has sent
//! it to that very token.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use stuut_cache::config::{Config, NamedScope, ScopeMode, TokenDigest};

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

/// `a`, `b` and `c` are one scope, `x` and `y` another.
pub fn shared(config: &mut Config) {
    let scope = |name: &str, tokens: &[&str]| NamedScope {
        name: name.to_owned(),
        tokens: tokens
            .iter()
            .map(|token| TokenDigest::of(token.as_bytes()))
            .collect(),
    };
    config.scope.mode = ScopeMode::Named;
    config.scope.admission_ttl = Duration::from_secs(30);
    config.scope.named = vec![
        scope("billing", &["a", "b", "c"]),
        scope("support", &["x", "y"]),
    ];
}

async fn start() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, shared).await;
    (origin, proxy)
}

#[tokio::test]
async fn a_304_to_a_strong_tag_admits_a_token_to_that_response() {
    let (origin, proxy) = start().await;
    let call = Reply::json("{}")
        .header("cache-control", "max-age=60")
        .header("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT");
    origin.reply(CALL, call.validating("\"1\""));
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy
        .get(CALL)
        .bearer("b")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60")
        .assert_body("{}");
    let request = origin.last_request();
    assert_eq!(request.header("authorization").as_deref(), Some("Bearer b"));
    assert_eq!(request.header("if-none-match").as_deref(), Some("\"1\""));
    assert_eq!(request.header("if-modified-since"), None);
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_hit();
    }
    origin.assert_requests(2);
}

#[tokio::test]
async fn identical_bytes_admit_a_token_but_weak_validators_do_not() {
    let (origin, proxy) = start().await;
    let call = Reply::json("{}")
        .header("etag", "W/\"1\"")
        .header("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT");
    origin.replies(
        CALL,
        vec![
            call.clone().header("x-request-id", "1"),
            call.header("x-request-id", "2"),
        ],
    );
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_miss();
        assert_eq!(origin.last_request().header("if-none-match"), None);
        assert_eq!(origin.last_request().header("if-modified-since"), None);
    }
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_hit();
    }
    origin.assert_requests(2);
}

#[tokio::test]
async fn tokens_with_different_bodies_never_get_each_others() {
    let (origin, proxy) = start().await;
    for _ in 0..20 {
        for token in ["a", "b", "c"] {
            let call = proxy.get(CALL).bearer(token).await.assert_status(200);
            assert_eq!(call.json()["authorization"], format!("Bearer {token}"));
        }
    }
    origin.assert_requests(3);
}

#[tokio::test]
async fn an_admission_does_not_extend_to_a_changed_body() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, Reply::json("{\"n\":1}").validating("\"1\""));
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_status(200);
    }
    origin.reply(CALL, Reply::json("{\"n\":2}").validating("\"2\""));
    let refetch = proxy.get(CALL).bearer("a");
    refetch.header("cache-control", "no-cache").await;
    let new = proxy.get(CALL).bearer("a").await.assert_hit();
    assert_eq!(new.text(), "{\"n\":2}");
    // The second token keeps the old response while its admission lasts; the new one needs a fetch.
    let old = proxy.get(CALL).bearer("b").await.assert_hit();
    assert_eq!(old.text(), "{\"n\":1}");
    proxy.advance_seconds(29);
    origin.refuse("b", 403);
    proxy.get(CALL).bearer("b").await.assert_hit();
    proxy.advance_seconds(1);
    proxy.get(CALL).bearer("b").await.assert_status(403);
}

/// Fields that the origin sends to one token would otherwise reach the others through a 304.
#[tokio::test]
async fn fields_of_a_304_to_one_token_are_not_sent_to_another() {
    let (origin, proxy) = start().await;
    let call = |user| {
        Reply::json("{}")
            .header("cache-control", "max-age=20")
            .header("x-user", user)
    };
    origin.reply(CALL, call("a").validating("\"1\""));
    proxy.get(CALL).bearer("a").await.assert_miss();
    origin.reply(CALL, call("b").validating("\"1\""));
    for token in ["b", "a"] {
        let fetched = proxy.get(CALL).bearer(token).await.assert_status(200);
        fetched.assert_header("x-user", token);
        let hit = proxy.get(CALL).bearer(token).await.assert_hit();
        hit.assert_header("x-user", token);
    }
    origin.assert_requests(2);
}

#[tokio::test]
async fn a_response_that_no_token_may_get_is_removed() {
    let (origin, proxy) = start().await;
    for n in ["1", "2", "3"] {
        origin.reply(CALL, Reply::json("{}").header("x-number", n));
        let refetch = proxy.get(CALL).bearer("a");
        refetch.header("cache-control", "no-cache").await;
    }
    let explained = proxy.admin(Method::GET, "/explain?path=/v1/calls/c1").await;
    assert_eq!(explained.json()["stored"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_304_with_a_weak_tag_admits_no_token() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, Reply::json("{\"n\":1}").header("etag", "\"1\""));
    proxy.get(CALL).bearer("a").await.assert_miss();
    let weak = |reply: Reply| reply.header("etag", "W/\"1\"");
    let changed = weak(Reply::json("{\"n\":2}"));
    origin.replies(CALL, vec![weak(Reply::new(304)), changed]);
    let own = proxy.get(CALL).bearer("b").await.assert_miss();
    own.assert_body("{\"n\":2}");
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_hit()
        .assert_body("{\"n\":1}");
}

#[tokio::test]
async fn an_older_response_to_a_token_does_not_replace_a_newer_one() {
    let (origin, proxy) = start().await;
    let gate = origin.hold(CALL);
    let older = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(1).await;
    origin.hold(CALL).open_for_all();
    let refetch = proxy.get(CALL).bearer("a");
    let newer = refetch.header("cache-control", "no-cache").await;
    gate.open();
    older.await.assert_status(200);
    let hit = proxy.get(CALL).bearer("a").await.assert_hit();
    hit.assert_body(newer.body());
}

#[tokio::test]
async fn other_scopes_and_unlisted_tokens_share_nothing() {
    let (origin, proxy) = start().await;
    for token in ["a", "x", "unlisted", "unlisted-too"] {
        proxy.get(CALL).bearer(token).await.assert_miss();
        let hit = proxy.get(CALL).bearer(token).await.assert_hit();
        assert_eq!(hit.json()["authorization"], format!("Bearer {token}"));
    }
    origin.assert_requests(4);
}

#[tokio::test]
async fn a_refusal_affects_its_token_only() {
    for status in [401, 403, 404] {
        let (origin, proxy) = start().await;
        proxy.get(CALL).bearer("a").await.assert_miss();
        origin.refuse("b", status);
        proxy.get(CALL).bearer("b").await.assert_status(status);
        proxy.get(CALL).bearer("b").await.assert_status(status);
        proxy.get(CALL).bearer("a").await.assert_hit();
    }
}

/// The detail `origin-failed` and `vary-miss` said that another token had fetched the call.
#[tokio::test]
async fn an_error_does_not_reveal_what_other_tokens_have_fetched() {
    for status in [401, 403, 404, 500, 503] {
        for language in ["de", "en"] {
            let mut answers = Vec::new();
            for is_fetched in [true, false] {
                let (origin, proxy) = start().await;
                let call = Reply::json("{}").header("vary", "accept-language");
                origin.reply(CALL, call.validating("\"1\""));
                if is_fetched {
                    let a = proxy.get(CALL).bearer("a");
                    a.header("accept-language", "de").await.assert_miss();
                }
                origin.refuse("b", status);
                let b = proxy.get(CALL).bearer("b");
                let b = b.header("accept-language", language).await;
                answers.push(b.assert_status(status).cache_status());
            }
            assert_eq!(answers[0], answers[1]);
        }
    }
}

#[tokio::test]
async fn an_admission_expires() {
    let (origin, proxy) = start().await;
    origin.reply(
        CALL,
        Reply::json("{}").header("cache-control", "max-age=600"),
    );
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(29);
    proxy.get(CALL).bearer("a").await.assert_hit();
    proxy.advance_seconds(1);
    origin.refuse("a", 403);
    proxy.get(CALL).bearer("a").await.assert_status(403);
}

#[tokio::test]
async fn a_refusal_elsewhere_revokes_the_tokens_admissions_at_once() {
    let (origin, proxy) = start().await;
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await;
        proxy.get(CALL).bearer(token).await.assert_hit();
    }
    origin.refuse("b", 401);
    proxy.get("/v1/other").bearer("b").await.assert_status(401);
    proxy.get(CALL).bearer("b").await.assert_status(401);
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn a_403_revokes_the_tokens_admissions_to_that_resource_only() {
    let (origin, proxy) = start().await;
    let targets = [CALL, "/v1/calls/c1?x", "/v1/calls/c2"];
    for target in targets {
        for token in ["a", "b"] {
            proxy.get(target).bearer(token).await;
            proxy.get(target).bearer(token).await.assert_hit();
        }
    }
    origin.refuse("b", 403);
    proxy.get("/v1/other").bearer("b").await.assert_status(403);
    let refetch = proxy.get(CALL).bearer("b");
    let refetch = refetch.header("cache-control", "no-cache");
    refetch.await.assert_status(403);
    for target in &targets[..2] {
        proxy.get(target).bearer("b").await.assert_status(403);
        proxy.get(target).bearer("a").await.assert_hit();
    }
    proxy.get(targets[2]).bearer("b").await.assert_hit();
}

#[tokio::test]
async fn tokens_of_a_scope_do_not_wait_for_each_others_fetch() {
    let (origin, proxy) = start().await;
    origin.refuse("b", 403);
    let gate = origin.hold(CALL);
    let b = proxy.get(CALL).bearer("b").start();
    origin.wait_for_requests(1).await;
    let a = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(2).await;
    gate.open_for_all();
    b.await.assert_status(403);
    a.await.assert_status(200);
    proxy.get(CALL).bearer("a").await.assert_hit();
    proxy.get(CALL).bearer("b").await.assert_status(403);
}

#[tokio::test]
async fn a_refused_refresh_keeps_the_call_for_other_tokens() {
    let (origin, proxy) = start().await;
    origin.reply(
        CALL,
        Reply::json("{}")
            .header("cache-control", "max-age=10")
            .header("etag", "\"1\""),
    );
    proxy.get(CALL).bearer("a").await;
    proxy.get(CALL).bearer("b").await;
    proxy.advance_seconds(5);
    origin.refuse("b", 403);
    proxy.advance_seconds(5);
    proxy.get(CALL).bearer("b").await.assert_status(403);
    proxy.get(CALL).bearer("a").await.assert_status(200);
    proxy.get(CALL).bearer("a").await.assert_hit();
    proxy.get(CALL).bearer("b").await.assert_status(403);
}

#[tokio::test]
async fn a_request_after_a_refusal_does_not_join_an_older_fetch() {
    let (origin, proxy) = start().await;
    let gate = origin.hold(CALL);
    let before = proxy.get(CALL).bearer("b").start();
    origin.wait_for_requests(1).await;
    origin.refuse("b", 401);
    proxy.get("/v1/other").bearer("b").await.assert_status(401);
    let after = proxy.get(CALL).bearer("b").start();
    origin.wait_for_requests(3).await;
    gate.open_for_all();
    before.await.assert_status(200);
    after.await.assert_status(401);
    proxy.get(CALL).bearer("b").await.assert_status(401);
}

#[tokio::test]
async fn a_404_for_a_token_revokes_it_on_every_variant() {
    let (origin, proxy) = start().await;
    origin.reply(CALL, Reply::echo().header("vary", "accept"));
    let get = |token, accept| proxy.get(CALL).bearer(token).header("accept", accept);
    for token in ["a", "b"] {
        get(token, "application/json").await.assert_status(200);
    }
    origin.refuse("b", 404);
    get("b", "text/plain").await.assert_status(404);
    get("b", "application/json").await.assert_status(404);
    get("a", "application/json").await.assert_hit();
}

#[tokio::test]
async fn a_404_for_a_token_covers_a_response_stored_meanwhile() {
    let (origin, proxy) = start().await;
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_status(200);
    }
    let refetch = |token| {
        let get = proxy.get(CALL).bearer(token);
        get.header("cache-control", "no-cache").start()
    };
    origin.refuse("b", 404);
    let gate = origin.hold(CALL);
    let b = refetch("b");
    origin.wait_for_requests(3).await;
    origin.hold(CALL).open_for_all();
    refetch("a").await.assert_status(200);
    gate.open();
    b.await.assert_status(404);
    proxy.get(CALL).bearer("b").await.assert_status(404);
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn a_response_requested_before_a_404_admits_no_token() {
    let (origin, proxy) = start().await;
    let gate = origin.hold(CALL);
    let older = proxy.get(CALL).bearer("b").start();
    origin.wait_for_requests(1).await;
    origin.hold(CALL).open_for_all();
    origin.refuse("b", 404);
    let refetch = proxy.get(CALL).bearer("b");
    refetch
        .header("cache-control", "no-cache")
        .await
        .assert_status(404);
    gate.open();
    older.await.assert_status(200);
    proxy.get(CALL).bearer("b").await.assert_status(404);
}

#[tokio::test]
async fn private_and_vary_authorization_are_not_shared() {
    for field in [
        ("cache-control", "private, max-age=60"),
        ("vary", "authorization"),
    ] {
        let (origin, proxy) = start().await;
        origin.reply(CALL, Reply::echo().header(field.0, field.1));
        proxy.get(CALL).bearer("a").await.assert_miss();
        let other = proxy.get(CALL).bearer("b").await.assert_miss();
        assert_eq!(other.json()["authorization"], "Bearer b");
        proxy.get(CALL).bearer("a").await.assert_miss();
    }
}

#[tokio::test]
async fn a_write_or_purge_invalidates_the_call_for_all_tokens() {
    let (_origin, proxy) = start().await;
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await;
    }
    proxy
        .request(Method::PATCH, CALL)
        .bearer("c")
        .await
        .assert_status(200);
    proxy.get(CALL).bearer("b").await.assert_miss();
    proxy
        .admin(Method::POST, "/purge?call=c1")
        .await
        .assert_status(200);
    proxy.get(CALL).bearer("a").await.assert_miss();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The origin refuses and accepts tokens at random. No stored response reaches a token after
    /// the proxy has met its refusal, or a token to which the origin never sent that call.
    #[test]
    fn no_token_gets_what_the_origin_never_sent_it(
        steps in proptest::collection::vec((0..5_usize, 0..3_usize, 0..6_u8), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let tokens = ["a", "b", "c", "x", "unlisted"];
            let (origin, proxy) = start().await;
            let (mut admitted, mut refused) = (HashSet::new(), HashSet::new());
            for (token, call, action) in steps {
                let (token, target) = (tokens[token], format!("/v1/calls/c{call}"));
                match action {
                    0 => {
                        origin.refuse(token, 401);
                        refused.insert(token);
                    }
                    1 => {
                        origin.admit(token);
                        refused.remove(token);
                    }
                    2 => {
                        // A refusal on any target counts.
                        let status = proxy.get("/v1/other").bearer(token).await.status();
                        if status == 401 {
                            admitted.retain(|(other, _): &(&str, String)| *other != token);
                        }
                    }
                    3 => proxy.advance_seconds(11),
                    _ => {
                        let before = origin.requests().len();
                        let response = proxy.get(&target).bearer(token).await;
                        let is_forwarded = origin.requests().len() > before;
                        if is_forwarded && refused.contains(token) {
                            assert_eq!(response.status(), 401, "{response}");
                            admitted.retain(|(other, _)| *other != token);
                        } else if is_forwarded {
                            admitted.insert((token, target));
                        } else {
                            assert!(admitted.contains(&(token, target)), "{response}");
                        }
                    }
                }
            }
        });
    }
}

/// A 304 describes the stored response, which the tokens share.
#[tokio::test]
async fn a_304_with_no_store_or_private_applies_to_all_tokens() {
    for directive in ["no-store", "private"] {
        let (origin, proxy) = start().await;
        let call = Reply::json("{}")
            .header("etag", "\"1\"")
            .header("cache-control", "max-age=10");
        origin.reply(CALL, call);
        for token in ["a", "b"] {
            proxy.get(CALL).bearer(token).await.assert_status(200);
        }
        proxy.advance_seconds(10);
        let not_modified = Reply::new(304)
            .header("etag", "\"1\"")
            .header("cache-control", directive);
        origin.replies(CALL, vec![not_modified, Reply::new(500)]);
        proxy.get(CALL).bearer("a").await.assert_status(200);
        proxy.get(CALL).bearer("b").await.assert_status(500);
    }
}

/// Superseding the stored response would end the other tokens' admissions.
#[tokio::test]
async fn a_304_with_set_cookie_keeps_other_tokens_admissions() {
    let (origin, proxy) = start().await;
    let tagged = |reply: Reply| {
        let reply = reply.header("etag", "\"1\"");
        reply.header("cache-control", "max-age=10")
    };
    origin.reply(CALL, tagged(Reply::json("{}")));
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_status(200);
    }
    proxy.advance_seconds(10);
    origin.reply(CALL, tagged(Reply::new(304)).header("set-cookie", "s=1"));
    let renewed = proxy.get(CALL).bearer("a").await.assert_status(200);
    renewed.assert_no_header("set-cookie");
    let other = proxy.get(CALL).bearer("b").await.assert_hit();
    other.assert_no_header("set-cookie");
}

#[tokio::test]
async fn a_request_after_a_scope_purge_does_not_join_an_older_fetch() {
    let (origin, proxy) = start().await;
    proxy.get("/v1/calls/c0").bearer("a").await.assert_miss();
    let explain = "/explain?path=/v1/calls/c0";
    let explained = proxy.admin(Method::GET, explain).await.json();
    let scope = explained["stored"][0]["scope"].as_str().expect("a scope");

    let gate = origin.hold(CALL);
    let before = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(2).await;
    proxy
        .admin(Method::POST, &format!("/purge?scope={scope}"))
        .await
        .assert_status(200);
    let after = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(3).await;
    gate.open_for_all();
    before.await.assert_status(200);
    assert_eq!(after.await.json()["number"], 3);
}
