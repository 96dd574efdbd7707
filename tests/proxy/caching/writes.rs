//! When a write takes effect, and what is stored about that time.

use http::Method;

use crate::support::{Origin, Proxy, RawConnection, RawOrigin, Reply};

const CALL: &str = "/v1/calls/c1";

/// Answers the next request; returns its connection, which the response needs open.
async fn answer_read(origin: &RawOrigin) -> RawConnection {
    let mut reading = origin.accept().await;
    reading.read_request().await;
    reading
        .send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    reading
}

/// The origin's replicas, queues and read caches may show the old call for a moment.
#[tokio::test]
async fn what_a_write_may_have_changed_is_not_stored_for_a_moment_after_it() {
    for (status, seconds) in [(200, 1), (204, 1), (303, 1), (202, 10)] {
        for (method, target) in [
            (Method::PATCH, CALL),
            (Method::POST, "/v1/calls/c1/approve"),
        ] {
            let origin = Origin::start().await;
            let proxy = Proxy::start(&origin).await;
            let get = || proxy.get(CALL).bearer("a");
            get().await.assert_miss();
            // Its token is accepted.
            proxy.get("/v1/calls/c3").bearer("w").await.assert_miss();
            origin.reply(target, Reply::new(status));
            let write = proxy.request(method, target).bearer("w");
            write.await.assert_status(status);
            origin.reply(CALL, Reply::echo());
            proxy.advance_seconds(seconds - 1);
            for _ in 0..2 {
                let fenced = "stuut-cache; fwd=miss; fwd-status=200; detail=fenced";
                get().await.assert_cache_status(fenced);
            }
            // Another call is stored meanwhile.
            proxy.get("/v1/calls/c2").bearer("a").await;
            proxy.get("/v1/calls/c2").bearer("a").await.assert_hit();
            proxy.advance_seconds(1);
            get().await.assert_miss();
            get().await.assert_hit();
        }
    }
}

/// Many origins redirect before they look at the credential.
#[tokio::test]
async fn writes_without_an_accepted_token_do_not_keep_calls_out_of_the_store() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    for (method, target, status) in [
        (Method::PATCH, "/v1/calls", 301),
        (Method::DELETE, "/v1//calls", 308),
        (Method::PUT, "/v1", 202),
    ] {
        origin.reply(target, Reply::new(status));
        let write = || proxy.request(method.clone(), target);
        write().await.assert_status(status);
        if status > 299 {
            write().bearer("invented").await.assert_status(status);
        }
        proxy.get(CALL).bearer("a").await.assert_hit();
    }
    // The call itself is invalidated (RFC 9111 §4.4), but stored again at once.
    origin.reply("/v1/calls/c1/approve", Reply::new(303));
    let write = proxy.request(Method::POST, "/v1/calls/c1/approve");
    write.await.assert_status(303);
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn a_write_that_the_origin_rejects_delays_nothing() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply("/v1/calls/c1/approve", Reply::new(409));
    let write = proxy.request(Method::POST, "/v1/calls/c1/approve");
    write.bearer("w").await.assert_status(409);
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();
}

/// A write may take effect with the last byte of its response.
#[tokio::test]
async fn the_moment_after_a_write_begins_at_the_end_of_its_response() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.raw_connection().await;
    client
        .send("DELETE /v1/calls/c1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer w\r\n\r\n")
        .await;
    let mut writing = origin.accept().await;
    writing.read_request().await;
    writing
        .send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\n{\"")
        .await;
    client.read_head().await;
    proxy.advance_seconds(5);
    writing.send("\"}").await;
    client.read_exact(4).await;
    for (seconds, ends) in [(0, "detail=fenced"), (1, "stored; ttl=60")] {
        proxy.advance_seconds(seconds);
        let (read, _connection) = tokio::join!(proxy.get(CALL).bearer("a"), answer_read(&origin));
        let status = read.assert_miss().cache_status();
        assert!(status.ends_with(ends), "{status}");
    }
}

/// The origin responds before it has the whole request, and applies it when it has.
#[tokio::test]
async fn the_moment_after_a_write_begins_at_the_end_of_its_upload_if_that_is_later() {
    for early in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
    ] {
        let origin = RawOrigin::start().await;
        let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
        let read = async |ends: &str| {
            let mut read = proxy.get(CALL).bearer("w").into_future();
            let read = tokio::select! {
                hit = &mut read => hit,
                _connection = answer_read(&origin) => read.await,
            };
            let status = read.assert_miss().cache_status();
            assert!(status.ends_with(ends), "{status}");
        };
        // Its token is accepted.
        read("stored; ttl=60").await;
        let mut client = proxy.raw_connection().await;
        client
            .send("PUT /v1/calls/c1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer w\r\ncontent-length: 8\r\n\r\nbody")
            .await;
        let mut writing = origin.accept().await;
        writing.read_until("body").await;
        writing.send(early).await;
        let end = if early.contains("{}") {
            "{}"
        } else {
            "\r\n\r\n"
        };
        client.read_until(end).await;
        proxy.advance_seconds(2);
        // The old call, which the origin is about to change.
        read("stored; ttl=60").await;
        client.send("more").await;
        writing.read_until("more").await;
        read("detail=fenced").await;
        proxy.advance_seconds(1);
        read("stored; ttl=60").await;
    }
}
