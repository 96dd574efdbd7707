//! No response reaches a token for which it was not fetched.

use std::sync::Arc;

use crate::support::{Origin, Proxy, Reply};

#[tokio::test]
async fn a_response_is_a_miss_for_any_other_credential() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for credential in ["Bearer a", "Bearer b", "bearer a", "Bearer  a", "Bearer a="] {
        let response = proxy
            .get("/v1/calls/c1")
            .header("authorization", credential)
            .await
            .assert_miss();
        assert_eq!(response.json()["authorization"], credential);
    }
}

/// Otherwise a revoked token would still get what it had fetched as `bearer`.
#[tokio::test]
async fn a_refusal_covers_every_spelling_of_the_token() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let get = |target, credential| proxy.get(target).header("authorization", credential);

    get("/v1/calls/c1", "bearer a").await.assert_miss();
    get("/v1/calls/c1", "BEARER   a").await.assert_miss();
    get("/v1/calls/c1", "Bearer b").await.assert_miss();
    origin.default_reply(Reply::new(401));
    get("/v1/calls/c2", "Bearer a").await.assert_status(401);
    get("/v1/calls/c1", "bearer a").await.assert_status(401);
    get("/v1/calls/c1", "BEARER   a").await.assert_status(401);
    get("/v1/calls/c1", "Bearer b").await.assert_hit();
}

/// The origin puts the token into each body: no client may get a body with another token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_and_tokens_never_get_each_others_calls() {
    const TOKENS: usize = 20;
    const CALLS: usize = 10;
    const CLIENTS: usize = 40;
    const ROUNDS: usize = 60;

    let origin = Origin::start().await;
    // Small, so that entries are constantly evicted and fetched again.
    let proxy = Arc::new(
        Proxy::with(&origin, |config| {
            config.cache.capacity = stuut_cache::config::ByteSize(64 << 10);
            config.cache.max_entry = stuut_cache::config::ByteSize(32 << 10);
        })
        .await,
    );
    let clients = (0..CLIENTS).map(|client| {
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let token = format!("token-{}", (client * 7 + round * 3) % TOKENS);
                let target = format!("/v1/calls/c{}", (client + round * 5) % CALLS);
                let query = ["", "?strip=number", "?fields=authorization,target"][round % 3];
                let response = proxy
                    .get(&format!("{target}{query}"))
                    .bearer(&token)
                    .await
                    .assert_status(200);
                assert_eq!(
                    response.json()["authorization"],
                    format!("Bearer {token}"),
                    "{response}"
                );
                assert_eq!(response.json()["target"], target, "{response}");
                if round % 10 == client % 10 {
                    proxy.advance_seconds(7);
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client does not panic");
    }
    assert!(proxy.metric("stuut_cache_requests_total{method=\"GET\",outcome=\"hit\",route=\"/v1/calls/{call_id}\",status=\"200\"}").await > 0.0);
}

#[tokio::test]
async fn a_401_on_any_route_invalidates_the_tokens_entries() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    proxy.get("/v1/calls/c1").bearer("b").await.assert_miss();
    proxy.get("/v1/calls/c1").bearer("a").await.assert_hit();

    origin.reply("/v1/other", Reply::new(401));
    proxy.get("/v1/other").bearer("a").await.assert_status(401);

    proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    proxy.get("/v1/calls/c1").bearer("b").await.assert_hit();
}

/// RFC 6750 §3.1: the token lacks the scope for this resource, and may still see others.
#[tokio::test]
async fn a_403_ends_that_resource_for_that_token_only() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let get = |target: &str, credential| proxy.get(target).header("authorization", credential);
    let refused = [
        ("/v1/calls/c1", "Bearer a"),
        ("/v1/calls/c1?x=1", "Bearer a"),
        ("/v1/calls/c1", "bearer a"),
    ];
    let others = [("/v1/calls/c2", "Bearer a"), ("/v1/calls/c1", "Bearer b")];
    for (target, credential) in refused.into_iter().chain(others) {
        get(target, credential).await.assert_miss();
    }
    for elsewhere in ["/v1/other", "/v1/calls/c1/approve", "/v1/calls"] {
        origin.reply(elsewhere, Reply::new(403));
        get(elsewhere, "Bearer a").await.assert_status(403);
    }
    for (target, credential) in refused.into_iter().chain(others) {
        get(target, credential).await.assert_hit();
    }
    origin.reply("/v1/calls/%631?y", Reply::new(403));
    get("/v1/calls/%631?y", "Bearer a").await.assert_status(403);
    for (target, credential) in refused {
        get(target, credential).await.assert_miss();
    }
    for (target, credential) in others {
        get(target, credential).await.assert_hit();
    }
}

/// Otherwise the response from before the refusal would be stored after it.
#[tokio::test]
async fn a_403_fences_fetches_of_that_resource_in_flight() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let get = |target: &str| proxy.get(target).bearer("a");
    let gate = origin.hold("/v1/calls/c1");
    let (before, other) = (get("/v1/calls/c1").start(), origin.hold("/v1/calls/c2"));
    let unrelated = get("/v1/calls/c2").start();
    origin.wait_for_requests(2).await;
    origin.reply("/v1/calls/c1?x=1", Reply::new(403));
    get("/v1/calls/c1?x=1").await.assert_status(403);
    let after = get("/v1/calls/c1").start();
    origin.wait_for_requests(4).await;
    gate.open();
    let before = before.await.assert_status(200);
    assert!(before.cache_status().ends_with("detail=fenced"), "{before}");
    gate.open();
    after.await.assert_miss();
    other.open();
    unrelated.await.assert_miss();
    for target in ["/v1/calls/c1", "/v1/calls/c2"] {
        get(target).await.assert_hit();
    }
}

#[tokio::test]
async fn a_refusal_with_a_truncated_body_still_counts() {
    for status in [401, 403] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
        origin.reply(
            "/v1/calls/c1?x",
            Reply::new(status)
                .body("the token was revoked")
                .truncated_after(3),
        );
        proxy.get("/v1/calls/c1?x").bearer("a").await;
        proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    }
}

#[tokio::test]
async fn refusals_of_unknown_tokens_invalidate_nothing() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply("/v1/other", Reply::new(401));
    for token in 0..100 {
        let token = format!("good-{token}");
        proxy.get("/v1/calls/c1").bearer(&token).await.assert_miss();
    }
    for guess in 0..1_000 {
        let guess = format!("guess-{guess}");
        proxy
            .get("/v1/other")
            .bearer(&guess)
            .await
            .assert_status(401);
    }
    for token in 0..100 {
        let token = format!("good-{token}");
        proxy.get("/v1/calls/c1").bearer(&token).await.assert_hit();
    }
    let invalidations = "stuut_cache_invalidations_total{cause=\"refusal\"}";
    assert_eq!(proxy.metric(invalidations).await.to_string(), "0");
}
