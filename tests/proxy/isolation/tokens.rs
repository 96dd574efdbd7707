//! No response reaches a token it was not fetched for.

use std::sync::Arc;

use crate::support::{Origin, Proxy, Reply};

#[tokio::test]
async fn a_call_fetched_with_one_token_is_a_miss_for_another() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    let other = proxy.get("/v1/calls/c1").bearer("b").await.assert_miss();
    assert_eq!(other.json()["authorization"], "Bearer b");
    origin.assert_requests(2);
}

#[tokio::test]
async fn what_one_spelling_of_a_token_got_is_a_miss_for_another() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for credential in ["Bearer a", "bearer a", "Bearer  a", "Bearer a="] {
        let answer = proxy
            .get("/v1/calls/c1")
            .header("authorization", credential)
            .await
            .assert_miss();
        assert_eq!(answer.json()["authorization"], credential);
    }
}

/// A token that was taken back went on getting what it had fetched as `bearer`.
#[tokio::test]
async fn a_refusal_spared_what_the_token_had_got_in_another_spelling() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let ask = |target, credential| proxy.get(target).header("authorization", credential);

    ask("/v1/calls/c1", "bearer a").await.assert_miss();
    ask("/v1/calls/c1", "BEARER   a").await.assert_miss();
    ask("/v1/calls/c1", "Bearer b").await.assert_miss();
    origin.default_reply(Reply::new(401));
    ask("/v1/calls/c2", "Bearer a").await.assert_status(401);
    ask("/v1/calls/c1", "bearer a").await.assert_status(401);
    ask("/v1/calls/c1", "BEARER   a").await.assert_status(401);
    ask("/v1/calls/c1", "Bearer b").await.assert_hit();
}

/// The origin tells each body who asked for it; nobody may ever see another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tokens_ids_and_clients_never_see_each_others_calls() {
    const TOKENS: usize = 20;
    const CALLS: usize = 10;
    const CLIENTS: usize = 40;
    const ROUNDS: usize = 60;

    let origin = Origin::start().await;
    // Small, so that entries are evicted and fetched again all the time.
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
                let answer = proxy
                    .get(&format!("{target}{query}"))
                    .bearer(&token)
                    .await
                    .assert_status(200);
                assert_eq!(
                    answer.json()["authorization"],
                    format!("Bearer {token}"),
                    "{answer}"
                );
                assert_eq!(answer.json()["target"], target, "{answer}");
                if round % 10 == client % 10 {
                    proxy.advance_seconds(7);
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client ends well");
    }
    assert!(proxy.metric("stuut_cache_requests_total{method=\"GET\",outcome=\"hit\",route=\"/v1/calls/{call_id}\",status=\"200\"}").await > 0.0);
}

#[tokio::test]
async fn a_refusal_on_any_route_ends_what_the_token_may_see() {
    for status in [401, 403] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
        proxy.get("/v1/calls/c1").bearer("b").await.assert_miss();
        proxy.get("/v1/calls/c1").bearer("a").await.assert_hit();

        origin.reply("/v1/other", Reply::new(status));
        proxy
            .get("/v1/other")
            .bearer("a")
            .await
            .assert_status(status);

        proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
        proxy.get("/v1/calls/c1").bearer("b").await.assert_hit();
    }
}

#[tokio::test]
async fn a_refusal_on_another_call_counts_though_its_body_breaks_off() {
    for status in [401, 403] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
        origin.reply(
            "/v1/calls/c2",
            Reply::new(status)
                .body("the token was revoked")
                .truncated_after(3),
        );
        proxy.get("/v1/calls/c2").bearer("a").await;
        proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    }
}

#[tokio::test]
async fn wrong_tokens_void_nothing_that_good_tokens_may_see() {
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
    let voided = "stuut_cache_invalidations_total{cause=\"refusal\"}";
    assert_eq!(proxy.metric(voided).await.to_string(), "0");
}
