//! Responses served from the store.

use http::Method;

use crate::support::{Origin, Proxy, Reply};

#[tokio::test]
async fn a_second_get_by_the_same_token_is_a_hit() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let first = proxy.get("/v1/calls/c1").bearer("a").await.assert_miss();
    let first = first.assert_no_header("age");
    proxy
        .get("/v1/calls/c1")
        .bearer("a")
        .await
        .assert_hit()
        .assert_body(first.body());
    origin.assert_requests(1);
}

#[tokio::test]
async fn head_is_served_from_a_stored_get() {
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
async fn a_204_has_no_content_length() {
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
