//! What is answered from the store, and what it looks like.

use http::Method;

use crate::support::{Origin, Proxy, Reply};

#[tokio::test]
async fn a_second_get_by_the_same_token_is_a_hit() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let first = proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    proxy
        .get("/v1/calls/c1")
        .bearer("a")
        .await
        .assert_hit()
        .assert_body(first.body());
    origin.assert_requests(1);
}

#[tokio::test]
async fn a_hit_ends_with_its_lifetime() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(
        "/v1/calls/c1",
        Reply::json("{}").header("cache-control", "max-age=10"),
    );

    proxy
        .get("/v1/calls/c1")
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=miss; fwd-status=200; stored; ttl=10")
        .assert_no_header("age");
    proxy.advance_seconds(9);
    proxy
        .get("/v1/calls/c1")
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; hit; ttl=1")
        .assert_header("age", "9");
    proxy.advance_seconds(1);
    proxy
        .get("/v1/calls/c1")
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; fwd=stale; fwd-status=200; stored; ttl=10");
    origin.assert_requests(2);
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let length = proxy.get("/v1/calls/c1").bearer("a").await.body().len();
    proxy
        .request(Method::HEAD, "/v1/calls/c1")
        .bearer("a")
        .await
        .assert_hit()
        .assert_header("content-length", &length.to_string())
        .assert_body("");
    origin.assert_requests(1);
}

#[tokio::test]
async fn an_answer_without_content_has_no_length_either() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply("/v1/calls/c1", Reply::new(204));
    for method in [Method::GET, Method::GET, Method::HEAD] {
        proxy
            .request(method, "/v1/calls/c1")
            .bearer("a")
            .await
            .assert_status(204)
            .assert_no_header("content-length");
    }
    origin.assert_requests(1);
}
