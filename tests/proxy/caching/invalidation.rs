//! Invalidation by writes and refusals.

use http::Method;
use http_body_util::{BodyExt as _, Full};
use stuut_cache::config::{Route, RoutePattern};
use tokio::io::AsyncWriteExt as _;

use crate::support::{Origin, Proxy, RawOrigin, Reply, Request, wait_until};

pub(super) const CALL: &str = "/v1/calls/c1";

pub(super) async fn start() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    (origin, proxy)
}

/// The stored responses of the call: two tokens, two queries.
const STORED: [(&str, &str); 4] = [
    ("a", "/v1/calls/c1"),
    ("a", "/v1/calls/c1?x=1"),
    ("b", "/v1/calls/c1"),
    ("b", "/v1/calls/c1?"),
];

pub(super) async fn store(proxy: &Proxy) {
    for (token, target) in STORED {
        proxy.get(target).bearer(token).await.assert_status(200);
    }
    assert_stored(proxy).await;
}

pub(super) async fn assert_stored(proxy: &Proxy) {
    for (token, target) in STORED {
        proxy.get(target).bearer(token).await.assert_hit();
    }
}

pub(super) async fn assert_invalidated(proxy: &Proxy) {
    for (token, target) in STORED {
        proxy.get(target).bearer(token).await.assert_miss();
    }
}

fn write(proxy: &Proxy, method: &str, target: &str) -> Request {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    proxy.request(method, target).bearer("a").body("{}")
}

pub(super) async fn assert_hits(requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        request.await.assert_hit();
    }
}

#[tokio::test]
async fn a_write_invalidates_the_call_for_all_tokens_and_queries() {
    for method in ["PATCH", "POST", "PUT", "DELETE", "BREW", "get"] {
        for status in [200, 204, 303] {
            let (origin, proxy) = start().await;
            store(&proxy).await;
            origin.reply(CALL, Reply::new(status));
            write(&proxy, method, CALL).await.assert_status(status);
            origin.reply(CALL, Reply::echo());
            assert_invalidated(&proxy).await;
        }
    }
}

#[tokio::test]
async fn a_write_below_a_call_invalidates_that_call_only() {
    for target in [
        "/v1/calls/c1/approve",
        "/v1/calls/c1/",
        "/v1/calls/c1?notify=1",
        "/v1/calls/c1/notes/7?x",
    ] {
        let (_origin, proxy) = start().await;
        store(&proxy).await;
        let others = ["/v1/calls/c", "/v1/calls/c11", "/v1/calls/c2"];
        for other in others {
            proxy.get(other).bearer("a").await;
        }
        write(&proxy, "POST", target).await.assert_status(200);
        assert_invalidated(&proxy).await;
        assert_hits(others.map(|other| proxy.get(other).bearer("a"))).await;
        let invalidations = proxy
            .metric("stuut_cache_invalidations_total{cause=\"write\"}")
            .await;
        assert_eq!(invalidations.to_string(), "1", "one write is counted once");
    }
}

#[tokio::test]
async fn equivalent_paths_are_invalidated_together() {
    for (read, written) in [
        ("/v1/calls/c1", "/v1/calls/%631"),
        ("/v1/calls/%63%31", "/v1/calls/c1"),
        ("/v1/calls/a%2fb", "/v1/calls/a%2Fb"),
        ("/v1/calls/c1", "/v1/calls/./x/../c1"),
        ("/v1/calls/c:1", "/v1/calls/c%3A1"),
        ("/v1/calls/c%3A1", "/v1/calls/c:1"),
        ("/v1/calls/c1", "//v1/calls/c1"),
        ("/v1/calls/c1", "/v1//calls//c1/"),
        ("/v1/calls/c1", "/v1/calls%2Fc1"),
        ("/v1/calls/c1", "/v1/calls/c1:cancel"),
        ("/v1/calls/c1:summary", "/v1/calls/c1"),
        ("/v1/calls/c:1", "/v1/calls/c:1:cancel"),
        ("/v1/calls/c1", "/v1/calls/c1;v=2"),
        ("/v1/calls/c1;v=2", "/v1/calls/c1"),
        ("/v1/calls/c1", "/v1;a=b/calls/c1;v=2/approve"),
    ] {
        let (_origin, proxy) = start().await;
        proxy.get(read).bearer("a").await.assert_miss();
        proxy.get(read).bearer("a").await.assert_hit();
        write(&proxy, "PATCH", written).await.assert_status(200);
        proxy.get(read).bearer("a").await.assert_miss();
    }
}

#[tokio::test]
async fn a_write_to_the_collection_invalidates_all_calls_unless_it_adds_one() {
    for (method, target, invalidates) in [
        ("PATCH", "/v1/calls", true),
        ("PUT", "/v1/calls/?dry_run=false", true),
        ("DELETE", "/v1/calls", true),
        ("POST", "/v1/calls", false),
        ("PATCH", "/v1", false),
        ("PATCH", "/v1/callsigns", false),
    ] {
        let (_origin, proxy) = start().await;
        store(&proxy).await;
        write(&proxy, method, target).await.assert_status(200);
        if invalidates {
            assert_invalidated(&proxy).await;
        } else {
            assert_stored(&proxy).await;
        }
    }
}

#[tokio::test]
async fn a_write_rejected_by_the_origin_invalidates_nothing() {
    for status in [400, 404, 405, 409, 412, 422, 429] {
        let (origin, proxy) = start().await;
        store(&proxy).await;
        origin.reply("/v1/calls/c1/approve", Reply::new(status));
        write(&proxy, "POST", "/v1/calls/c1/approve")
            .await
            .assert_status(status);
        assert_stored(&proxy).await;
    }
}

#[tokio::test]
async fn a_safe_method_invalidates_nothing() {
    let (_origin, proxy) = start().await;
    store(&proxy).await;
    for method in ["OPTIONS", "HEAD", "GET"] {
        write(&proxy, method, CALL).await.assert_status(200);
    }
    assert_stored(&proxy).await;
}

#[tokio::test]
async fn a_write_with_an_unknown_result_invalidates_the_call() {
    for lost in [
        Reply::new(500),
        Reply::new(503),
        Reply::reset(),
        Reply::raw(""),
        Reply::raw("HTTP/1.1 2"),
        Reply::json("{}").truncated_after(1),
    ] {
        let (origin, proxy) = start().await;
        store(&proxy).await;
        origin.reply("/v1/calls/c1/approve", lost);
        write(&proxy, "POST", "/v1/calls/c1/approve").await;
        assert_invalidated(&proxy).await;
    }
}

#[tokio::test]
async fn a_write_whose_client_disconnects_invalidates_the_call() {
    let (origin, proxy) = start().await;
    store(&proxy).await;
    origin.hold("/v1/calls/c1/approve");
    let writing = write(&proxy, "POST", "/v1/calls/c1/approve")
        .over_http2()
        .start();
    origin.wait_for_requests(5).await;
    assert_stored(&proxy).await;
    writing.hang_up().await;
    proxy.advance_waiters(61);
    wait_until_invalidated(&proxy).await;
}

/// Its result is known, so responses fetched a moment after it are stored.
#[tokio::test]
async fn a_write_completes_after_its_client_disconnects() {
    for over_http2 in [true, false] {
        let (origin, proxy) = start().await;
        store(&proxy).await;
        let gate = origin.hold("/v1/calls/c1/approve");
        let writing = write(&proxy, "POST", "/v1/calls/c1/approve");
        let writing = if over_http2 {
            writing.over_http2()
        } else {
            writing
        };
        let writing = writing.start();
        origin.wait_for_requests(5).await;
        writing.hang_up().await;
        assert_stored(&proxy).await;
        gate.open_for_all();
        wait_until_invalidated(&proxy).await;
        proxy.advance_seconds(1);
        assert_invalidated(&proxy).await;
        assert_stored(&proxy).await;
    }
}

/// The write may take effect with the last byte of its response.
#[tokio::test]
async fn a_write_invalidates_again_at_the_end_of_its_response() {
    const WRITE: &str =
        "DELETE /v1/calls/c1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer w\r\n\r\n";
    const RESPONSE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    for client_stays in [true, false] {
        let origin = RawOrigin::start().await;
        let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
        let mut client = proxy.raw_connection().await;
        client.send(WRITE).await;
        let mut writing = origin.accept().await;
        writing.read_request().await;
        writing
            .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{\"")
            .await;
        client.read_head().await;
        proxy.advance_seconds(1);
        // The write has not taken effect yet.
        let reading = proxy.get(CALL).bearer("a").start();
        let mut read = origin.accept().await;
        read.read_request().await;
        read.send(RESPONSE).await;
        reading.await.assert_miss();
        let cached = || {
            let get = proxy.get(CALL).bearer("a");
            get.header("cache-control", "only-if-cached")
        };
        cached().await.assert_hit();
        if client_stays {
            writing.send("\"}").await;
            client.read_exact(4).await;
            cached().await.assert_status(504);
        } else {
            drop(client);
            writing.send("\"}").await;
            wait_until("an invalidation", async || cached().await.status() == 504).await;
        }
    }
}

/// The timeout for the rest of the response starts when the client disconnects.
#[tokio::test]
async fn a_write_completes_after_its_slow_client_disconnects() {
    const RESPONSE: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\nconnection: close\r\n\
                          content-length: 2\r\n\r\n{}";
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.http2().await;
    let request = http::Request::delete("http://proxy/v1/calls/c1")
        .header("authorization", "Bearer w")
        .body(Full::default())
        .expect("a request");
    let (response, mut writing) = tokio::join!(client.send_request(request), async {
        let mut writing = origin.accept().await;
        writing.read_request().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
        writing.send(head).await;
        writing
    });
    let mut body = response.expect("a response").into_body();
    for byte in ["{", "\""] {
        proxy.advance_waiters(20);
        writing.send(byte).await;
        body.frame().await.expect("a byte").expect("a frame");
    }
    drop(body);
    proxy.wait_for_metric("stuut_cache_in_flight", 0).await;
    let (stored, _read) = tokio::join!(proxy.get(CALL).bearer("a"), async {
        let mut read = origin.accept().await;
        read.read_request().await;
        read.send(RESPONSE).await;
        read
    });
    stored.assert_miss();
    let cached = || {
        let get = proxy.get(CALL).bearer("a");
        get.header("cache-control", "only-if-cached")
    };
    cached().await.assert_hit();
    writing.send("\"}").await;
    wait_until("an invalidation", async || cached().await.status() == 504).await;
}

/// The origin may still be processing it: the write may take effect later.
#[tokio::test]
async fn a_write_with_a_truncated_response_stays_pending() {
    let (origin, proxy) = start().await;
    store(&proxy).await;
    origin.reply("/v1/calls/c1/approve", Reply::json("{}").truncated_after(1));
    let truncated = write(&proxy, "POST", "/v1/calls/c1/approve").await;
    truncated.assert_truncated();
    for _ in 0..2 {
        proxy.get(CALL).bearer("a").await.assert_miss();
    }
    proxy.advance_seconds(30);
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn an_aborted_upload_of_an_accepted_token_invalidates_the_call() {
    let (_origin, proxy) = start().await;
    store(&proxy).await;
    let mut socket = proxy.connect().await;
    socket
        .write_all(
            b"PATCH /v1/calls/c1 HTTP/1.1\r\nhost: p\r\nauthorization: Bearer a\r\n\
              content-length: 9\r\n\r\nhalf",
        )
        .await
        .expect("the proxy reads the bytes");
    proxy
        .wait_for_metric("stuut_cache_bypass_total{reason=\"method\"}", 1)
        .await;
    assert_stored(&proxy).await;
    drop(socket);
    wait_until_invalidated(&proxy).await;
}

async fn wait_until_invalidated(proxy: &Proxy) {
    let line = "stuut_cache_invalidations_total{cause=\"write\"}";
    wait_until("an invalidation", async || proxy.metric(line).await > 0.0).await;
    assert_invalidated(proxy).await;
}

#[tokio::test]
async fn a_write_invalidates_the_paths_below_its_target() {
    let below = ["/v1/calls/c1/transcript", "/v1/calls/c1/notes/7"];
    for (method, target, is_invalidated) in [
        ("DELETE", "/v1/calls/c1", true),
        ("PATCH", "/v1/calls/%631", true),
        ("POST", "/v1/calls/c1/approve", false),
        ("PUT", "/v1/calls/c2", false),
        ("PATCH", "/v1/calls", true),
        ("POST", "/v1/calls", false),
        ("DELETE", "/", false),
    ] {
        let origin = Origin::start().await;
        let proxy = Proxy::with(&origin, |config| {
            let path = RoutePattern::parse("/v1/calls/{*rest}").expect("a pattern");
            config.cache.routes = vec![Route { path, ttl: None }];
        })
        .await;
        for target in below {
            proxy.get(target).bearer("a").await.assert_miss();
        }
        write(&proxy, method, target).await.assert_status(200);
        for target in below {
            let response = proxy.get(target).bearer("a").await;
            assert_eq!(
                !response.cache_status().contains("hit"),
                is_invalidated,
                "{response}"
            );
        }
    }
}

#[tokio::test]
async fn a_write_that_was_never_sent_invalidates_nothing() {
    let (origin, proxy) = start().await;
    for (_, target) in STORED {
        origin.reply(target, Reply::echo().closing());
    }
    store(&proxy).await;
    origin.stop_listening().await;
    write(&proxy, "PATCH", CALL)
        .await
        .assert_problem(502, "connection_refused")
        .assert_cache_status("stuut-cache; fwd=method; detail=connection_refused");
    assert_stored(&proxy).await;
}

#[tokio::test]
async fn location_fields_invalidate_on_the_same_origin_only() {
    for name in ["location", "content-location"] {
        for (target, is_invalidated) in [
            ("/v1/calls/c1", true),
            ("/v1/calls/c1?x=1#y", true),
            ("calls/c1", true),
            ("http://ORIGIN/v1/calls/c1", true),
            ("//ORIGIN/v1/calls/%631", true),
            ("http://other.example/v1/calls/c1", false),
            ("https://ORIGIN/v1/calls/c1", false),
            ("//other.example/v1/calls/c1", false),
        ] {
            let (origin, proxy) = start().await;
            store(&proxy).await;
            let target = target.replace("ORIGIN", &origin.address().to_string());
            origin.reply("/v1/calls", Reply::new(201).header(name, &target));
            write(&proxy, "POST", "/v1/calls").await.assert_status(201);
            if is_invalidated {
                assert_invalidated(&proxy).await;
            } else {
                assert_stored(&proxy).await;
            }
        }
    }
}

#[tokio::test]
async fn the_location_of_a_rejected_write_invalidates_nothing() {
    let (origin, proxy) = start().await;
    store(&proxy).await;
    origin.reply("/v1/calls", Reply::new(409).header("location", CALL));
    write(&proxy, "POST", "/v1/calls").await.assert_status(409);
    assert_stored(&proxy).await;
}

#[tokio::test]
async fn a_write_refused_with_403_ends_that_resource_for_its_token_only() {
    let (origin, proxy) = start().await;
    store(&proxy).await;
    for token in ["c", "d"] {
        proxy.get(CALL).bearer(token).await;
    }
    proxy.get("/v1/calls/c2").bearer("a").await.assert_miss();
    origin.reply("/v1/calls/c1/approve", Reply::new(403));
    write(&proxy, "POST", "/v1/calls/c1/approve")
        .await
        .assert_status(403);
    assert_stored(&proxy).await;
    origin.reply("/v1/calls/c1?force", Reply::new(403));
    write(&proxy, "PATCH", "/v1/calls/c1?force")
        .await
        .assert_status(403);
    for (token, target) in STORED.into_iter().filter(|(token, _)| *token == "a") {
        proxy.get(target).bearer(token).await.assert_miss();
    }
    assert_hits(["b", "c", "d"].map(|token| proxy.get(CALL).bearer(token))).await;
    assert_hits([proxy.get("/v1/calls/c2").bearer("a")]).await;
}
