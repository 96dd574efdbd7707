//! Tokens of a named scope share a store; each is served from it only after the origin has
//! answered that very token.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use stuut_cache::config::{Config, NamedScope, ScopeMode, TokenDigest};

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";

/// `a`, `b` and `c` share a store; `x` and `y` another.
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

async fn pair() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, shared).await;
    (origin, proxy)
}

#[tokio::test]
async fn a_304_to_a_strong_tag_admits_a_token_to_that_response() {
    let (origin, proxy) = pair().await;
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
    let asked = origin.last_request();
    assert_eq!(asked.header("authorization").as_deref(), Some("Bearer b"));
    assert_eq!(asked.header("if-none-match").as_deref(), Some("\"1\""));
    assert_eq!(asked.header("if-modified-since"), None);
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_hit();
    }
    origin.assert_requests(2);
}

#[tokio::test]
async fn a_weak_tag_or_a_date_admits_no_token_and_the_same_response_does() {
    let (origin, proxy) = pair().await;
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
async fn tokens_that_are_shown_different_bodies_never_get_each_others() {
    let (origin, proxy) = pair().await;
    for _ in 0..20 {
        for token in ["a", "b", "c"] {
            let call = proxy.get(CALL).bearer(token).await.assert_status(200);
            assert_eq!(call.json()["authorization"], format!("Bearer {token}"));
        }
    }
    origin.assert_requests(3);
}

#[tokio::test]
async fn an_admission_is_not_inherited_by_other_bytes() {
    let (origin, proxy) = pair().await;
    origin.reply(CALL, Reply::json("{\"n\":1}").validating("\"1\""));
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_status(200);
    }
    origin.reply(CALL, Reply::json("{\"n\":2}").validating("\"2\""));
    let anew = proxy.get(CALL).bearer("a");
    anew.header("cache-control", "no-cache").await;
    let new = proxy.get(CALL).bearer("a").await.assert_hit();
    assert_eq!(new.text(), "{\"n\":2}");
    // The second token keeps what it was shown until that is stale, and must ask for the new.
    let old = proxy.get(CALL).bearer("b").await.assert_hit();
    assert_eq!(old.text(), "{\"n\":1}");
    proxy.advance_seconds(29);
    origin.refuse("b", 403);
    proxy.get(CALL).bearer("b").await.assert_hit();
    proxy.advance_seconds(1);
    proxy.get(CALL).bearer("b").await.assert_status(403);
}

/// Else fields that the origin sends to one token would reach the others by way of a 304.
#[tokio::test]
async fn what_a_304_adds_for_one_token_is_not_shown_to_another() {
    let (origin, proxy) = pair().await;
    let call = |user| {
        Reply::json("{}")
            .header("cache-control", "max-age=20")
            .header("x-user", user)
    };
    origin.reply(CALL, call("a").validating("\"1\""));
    proxy.get(CALL).bearer("a").await.assert_miss();
    origin.reply(CALL, call("b").validating("\"1\""));
    for token in ["b", "a"] {
        let shown = proxy.get(CALL).bearer(token).await.assert_status(200);
        shown.assert_header("x-user", token);
        let hit = proxy.get(CALL).bearer(token).await.assert_hit();
        hit.assert_header("x-user", token);
    }
    origin.assert_requests(2);
}

#[tokio::test]
async fn a_response_that_no_token_may_see_goes() {
    let (origin, proxy) = pair().await;
    for n in ["1", "2", "3"] {
        origin.reply(CALL, Reply::json("{}").header("x-number", n));
        let anew = proxy.get(CALL).bearer("a");
        anew.header("cache-control", "no-cache").await;
    }
    let explained = proxy.admin(Method::GET, "/explain?path=/v1/calls/c1").await;
    assert_eq!(explained.json()["stored"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_304_with_a_weak_tag_admits_no_token() {
    let (origin, proxy) = pair().await;
    origin.reply(CALL, Reply::json("{\"n\":1}").header("etag", "\"1\""));
    proxy.get(CALL).bearer("a").await.assert_miss();
    let weak = |reply: Reply| reply.header("etag", "W/\"1\"");
    let shown = weak(Reply::json("{\"n\":2}"));
    origin.replies(CALL, vec![weak(Reply::new(304)), shown]);
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
async fn an_older_answer_to_a_token_does_not_replace_a_newer_one() {
    let (origin, proxy) = pair().await;
    let late = origin.hold(CALL);
    let early = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(1).await;
    origin.hold(CALL).open_for_all();
    let anew = proxy.get(CALL).bearer("a");
    let newer = anew.header("cache-control", "no-cache").await;
    late.open();
    early.await.assert_status(200);
    let hit = proxy.get(CALL).bearer("a").await.assert_hit();
    hit.assert_body(newer.body());
}

#[tokio::test]
async fn other_scopes_and_tokens_without_one_share_nothing() {
    let (origin, proxy) = pair().await;
    for token in ["a", "x", "alone", "alone-too"] {
        proxy.get(CALL).bearer(token).await.assert_miss();
        let hit = proxy.get(CALL).bearer(token).await.assert_hit();
        assert_eq!(hit.json()["authorization"], format!("Bearer {token}"));
    }
    origin.assert_requests(4);
}

#[tokio::test]
async fn a_refusal_belongs_to_its_token_alone() {
    for status in [401, 403, 404] {
        let (origin, proxy) = pair().await;
        proxy.get(CALL).bearer("a").await.assert_miss();
        origin.refuse("b", status);
        proxy.get(CALL).bearer("b").await.assert_status(status);
        proxy.get(CALL).bearer("b").await.assert_status(status);
        proxy.get(CALL).bearer("a").await.assert_hit();
    }
}

#[tokio::test]
async fn an_admission_ends() {
    let (origin, proxy) = pair().await;
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
async fn a_refused_token_is_shut_out_at_once_and_the_others_are_not() {
    let (origin, proxy) = pair().await;
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
async fn nobody_waits_for_an_answer_that_is_another_tokens() {
    let (origin, proxy) = pair().await;
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
async fn a_refused_refresh_leaves_the_call_to_those_who_may_see_it() {
    let (origin, proxy) = pair().await;
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
async fn who_asks_after_a_refusal_does_not_join_what_was_asked_before_it() {
    let (origin, proxy) = pair().await;
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
async fn what_is_gone_for_a_token_is_gone_in_every_variant() {
    let (origin, proxy) = pair().await;
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
async fn what_is_gone_for_a_token_is_gone_from_what_another_has_stored_meanwhile() {
    let (origin, proxy) = pair().await;
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_status(200);
    }
    let anew = |token| {
        let get = proxy.get(CALL).bearer(token);
        get.header("cache-control", "no-cache").start()
    };
    origin.refuse("b", 404);
    let gone = origin.hold(CALL);
    let b = anew("b");
    origin.wait_for_requests(3).await;
    origin.hold(CALL).open_for_all();
    anew("a").await.assert_status(200);
    gone.open();
    b.await.assert_status(404);
    proxy.get(CALL).bearer("b").await.assert_status(404);
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn an_answer_to_what_was_asked_before_it_was_gone_admits_nobody() {
    let (origin, proxy) = pair().await;
    let late = origin.hold(CALL);
    let early = proxy.get(CALL).bearer("b").start();
    origin.wait_for_requests(1).await;
    origin.hold(CALL).open_for_all();
    origin.refuse("b", 404);
    let anew = proxy.get(CALL).bearer("b");
    anew.header("cache-control", "no-cache")
        .await
        .assert_status(404);
    late.open();
    early.await.assert_status(200);
    proxy.get(CALL).bearer("b").await.assert_status(404);
}

#[tokio::test]
async fn private_and_varying_by_credential_is_not_shared() {
    for field in [
        ("cache-control", "private, max-age=60"),
        ("vary", "authorization"),
    ] {
        let (origin, proxy) = pair().await;
        origin.reply(CALL, Reply::echo().header(field.0, field.1));
        proxy.get(CALL).bearer("a").await.assert_miss();
        let other = proxy.get(CALL).bearer("b").await.assert_miss();
        assert_eq!(other.json()["authorization"], "Bearer b");
        proxy.get(CALL).bearer("a").await.assert_miss();
    }
}

#[tokio::test]
async fn a_write_and_a_purge_void_the_call_for_all() {
    let (_origin, proxy) = pair().await;
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

    /// Tokens come and go at the origin; no answer with a body reaches one that the origin
    /// refuses and that the proxy has been told about, and none reaches a token that the origin
    /// never admitted to that call.
    #[test]
    fn nobody_is_served_what_the_origin_never_gave_them(
        steps in proptest::collection::vec((0..5_usize, 0..3_usize, 0..6_u8), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let tokens = ["a", "b", "c", "x", "alone"];
            let (origin, proxy) = pair().await;
            let (mut admitted, mut refused) = (HashSet::new(), HashSet::new());
            for (token, call, action) in steps {
                let (token, target) = (tokens[token], format!("/v1/calls/c{call}"));
                match action {
                    0 => {
                        origin.refuse(token, 403);
                        refused.insert(token);
                    }
                    1 => {
                        origin.admit(token);
                        refused.remove(token);
                    }
                    2 => {
                        // The proxy learns of a refusal wherever it meets one.
                        let status = proxy.get("/v1/other").bearer(token).await.status();
                        if status == 403 {
                            admitted.retain(|(one, _): &(&str, String)| *one != token);
                        }
                    }
                    3 => proxy.advance_seconds(11),
                    _ => {
                        let before = origin.requests().len();
                        let answer = proxy.get(&target).bearer(token).await;
                        let asked = origin.requests().len() > before;
                        if asked && refused.contains(token) {
                            assert_eq!(answer.status(), 403, "{answer}");
                            admitted.retain(|(one, _)| *one != token);
                        } else if asked {
                            admitted.insert((token, target));
                        } else {
                            assert!(admitted.contains(&(token, target)), "{answer}");
                        }
                    }
                }
            }
        });
    }
}

/// A 304 speaks of what is stored, and so for all who share it.
#[tokio::test]
async fn what_a_304_withdrew_stood_in_for_the_origin_with_the_others() {
    for withdrawn in ["no-store", "private"] {
        let (origin, proxy) = pair().await;
        let call = Reply::json("{}")
            .header("etag", "\"1\"")
            .header("cache-control", "max-age=10");
        origin.reply(CALL, call);
        for token in ["a", "b"] {
            proxy.get(CALL).bearer(token).await.assert_status(200);
        }
        proxy.advance_seconds(10);
        let withdrawal = Reply::new(304)
            .header("etag", "\"1\"")
            .header("cache-control", withdrawn);
        origin.replies(CALL, vec![withdrawal, Reply::new(500)]);
        proxy.get(CALL).bearer("a").await.assert_status(200);
        proxy.get(CALL).bearer("b").await.assert_status(500);
    }
}

/// It ended what it was to renew, and with it that the origin had answered the others.
#[tokio::test]
async fn a_304_with_a_cookie_dismissed_all_others() {
    let (origin, proxy) = pair().await;
    let says = |reply: Reply| {
        let reply = reply.header("etag", "\"1\"");
        reply.header("cache-control", "max-age=10")
    };
    origin.reply(CALL, says(Reply::json("{}")));
    for token in ["a", "b"] {
        proxy.get(CALL).bearer(token).await.assert_status(200);
    }
    proxy.advance_seconds(10);
    origin.reply(CALL, says(Reply::new(304)).header("set-cookie", "s=1"));
    let renewed = proxy.get(CALL).bearer("a").await.assert_status(200);
    renewed.assert_no_header("set-cookie");
    let other = proxy.get(CALL).bearer("b").await.assert_hit();
    other.assert_no_header("set-cookie");
}

#[tokio::test]
async fn who_came_after_a_purge_of_the_scope_joined_a_fetch_from_before_it() {
    let (origin, proxy) = pair().await;
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
