//! What a write or a refusal makes void.

use http::Method;
use http_body_util::{BodyExt as _, Full};
use stuut_cache::config::{Route, RoutePattern};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Origin, Proxy, RawOrigin, Reply, Request, wait_until};

pub(super) const CALL: &str = "/v1/calls/c1";

pub(super) async fn pair() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    (origin, proxy)
}

/// What is stored of the call: two tokens, two queries.
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

pub(super) async fn assert_void(proxy: &Proxy) {
    for (token, target) in STORED {
        proxy.get(target).bearer(token).await.assert_miss();
    }
}

fn write(proxy: &Proxy, method: &str, target: &str) -> Request {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    proxy.request(method, target).bearer("w").body("{}")
}

pub(super) async fn assert_hits(requests: impl IntoIterator<Item = Request>) {
    for request in requests {
        request.await.assert_hit();
    }
}

#[tokio::test]
async fn a_write_voids_the_call_for_every_token_and_query() {
    for method in ["PATCH", "POST", "PUT", "DELETE", "BREW", "get"] {
        for status in [200, 204, 303] {
            let (origin, proxy) = pair().await;
            store(&proxy).await;
            origin.reply(CALL, Reply::new(status));
            write(&proxy, method, CALL).await.assert_status(status);
            origin.reply(CALL, Reply::echo());
            assert_void(&proxy).await;
        }
    }
}

#[tokio::test]
async fn a_write_below_a_call_voids_it_and_no_other() {
    for target in [
        "/v1/calls/c1/approve",
        "/v1/calls/c1/",
        "/v1/calls/c1?notify=1",
        "/v1/calls/c1/notes/7?x",
    ] {
        let (_origin, proxy) = pair().await;
        store(&proxy).await;
        let others = ["/v1/calls/c", "/v1/calls/c11", "/v1/calls/c2"];
        for other in others {
            proxy.get(other).bearer("a").await;
        }
        write(&proxy, "POST", target).await.assert_status(200);
        assert_void(&proxy).await;
        assert_hits(others.map(|other| proxy.get(other).bearer("a"))).await;
        let counted = proxy
            .metric("stuut_cache_invalidations_total{cause=\"write\"}")
            .await;
        assert_eq!(counted.to_string(), "1", "one write is counted once");
    }
}

#[tokio::test]
async fn spellings_of_one_path_are_voided_together() {
    for (read, written) in [
        ("/v1/calls/c1", "/v1/calls/%631"),
        ("/v1/calls/%63%31", "/v1/calls/c1"),
        ("/v1/calls/a%2fb", "/v1/calls/a%2Fb"),
        ("/v1/calls/c1", "/v1/calls/./x/../c1"),
    ] {
        let (_origin, proxy) = pair().await;
        proxy.get(read).bearer("a").await.assert_miss();
        proxy.get(read).bearer("a").await.assert_hit();
        write(&proxy, "PATCH", written).await.assert_status(200);
        proxy.get(read).bearer("a").await.assert_miss();
    }
}

#[tokio::test]
async fn a_write_that_the_origin_declines_voids_nothing() {
    for status in [400, 404, 405, 409, 412, 422, 429] {
        let (origin, proxy) = pair().await;
        store(&proxy).await;
        origin.reply("/v1/calls/c1/approve", Reply::new(status));
        write(&proxy, "POST", "/v1/calls/c1/approve")
            .await
            .assert_status(status);
        assert_stored(&proxy).await;
    }
}

#[tokio::test]
async fn a_safe_method_voids_nothing() {
    let (_origin, proxy) = pair().await;
    store(&proxy).await;
    for method in ["OPTIONS", "HEAD", "GET"] {
        write(&proxy, method, CALL).await.assert_status(200);
    }
    assert_stored(&proxy).await;
}

#[tokio::test]
async fn a_write_whose_end_nobody_knows_voids_the_call() {
    for lost in [
        Reply::new(500),
        Reply::new(503),
        Reply::reset(),
        Reply::raw(""),
        Reply::raw("HTTP/1.1 2"),
        Reply::json("{}").truncated_after(1),
    ] {
        let (origin, proxy) = pair().await;
        store(&proxy).await;
        origin.reply("/v1/calls/c1/approve", lost);
        write(&proxy, "POST", "/v1/calls/c1/approve").await;
        assert_void(&proxy).await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_on_its_write_voids_the_call() {
    let (origin, proxy) = pair().await;
    store(&proxy).await;
    origin.hold("/v1/calls/c1/approve");
    let writing = write(&proxy, "POST", "/v1/calls/c1/approve")
        .over_http2()
        .start();
    origin.wait_for_requests(5).await;
    assert_stored(&proxy).await;
    writing.hang_up().await;
    until_void(&proxy).await;
}

/// A client's departure leaves no doubt: what is fetched after the write has ended is stored.
#[tokio::test]
async fn a_write_runs_to_its_end_without_its_client() {
    for over_http2 in [true, false] {
        let (origin, proxy) = pair().await;
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
        until_void(&proxy).await;
        assert_stored(&proxy).await;
    }
}

/// The effect may come with the last byte.
#[tokio::test]
async fn a_write_invalidates_once_more_at_the_end_of_its_response() {
    const WRITE: &str =
        "DELETE /v1/calls/c1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer w\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
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
        // Its effect is not there yet.
        let reading = proxy.get(CALL).bearer("a").start();
        let mut read = origin.accept().await;
        read.read_request().await;
        read.send(ANSWER).await;
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
            wait_until("an invalid call", async || cached().await.status() == 504).await;
        }
    }
}

/// The rest of the response is waited for as long as for any other, from when the client goes.
#[tokio::test]
async fn a_slow_client_that_goes_leaves_its_write_to_end() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\nconnection: close\r\n\
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
        read.send(ANSWER).await;
        read
    });
    stored.assert_miss();
    let cached = || {
        let get = proxy.get(CALL).bearer("a");
        get.header("cache-control", "only-if-cached")
    };
    cached().await.assert_hit();
    writing.send("\"}").await;
    wait_until("an invalid call", async || cached().await.status() == 504).await;
}

/// Nor does it say that it has ended: its effect may still come.
#[tokio::test]
async fn a_write_whose_response_breaks_off_is_pending() {
    let (origin, proxy) = pair().await;
    store(&proxy).await;
    origin.reply("/v1/calls/c1/approve", Reply::json("{}").truncated_after(1));
    let torn = write(&proxy, "POST", "/v1/calls/c1/approve").await;
    torn.assert_truncated();
    for _ in 0..2 {
        proxy.get(CALL).bearer("a").await.assert_miss();
    }
    proxy.advance_seconds(30);
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn an_upload_that_breaks_off_voids_the_call() {
    let (_origin, proxy) = pair().await;
    store(&proxy).await;
    let mut socket = proxy.connect().await;
    socket
        .write_all(b"PATCH /v1/calls/c1 HTTP/1.1\r\nhost: p\r\ncontent-length: 9\r\n\r\nhalf")
        .await
        .expect("the proxy takes bytes");
    proxy
        .wait_for_metric("stuut_cache_bypass_total{reason=\"method\"}", 1)
        .await;
    assert_stored(&proxy).await;
    drop(socket);
    until_void(&proxy).await;
}

async fn until_void(proxy: &Proxy) {
    let line = "stuut_cache_invalidations_total{cause=\"write\"}";
    wait_until("a voided call", async || proxy.metric(line).await > 0.0).await;
    assert_void(proxy).await;
}

#[tokio::test]
async fn a_write_voids_what_is_a_part_of_what_it_writes_to() {
    let below = ["/v1/calls/c1/transcript", "/v1/calls/c1/notes/7"];
    for (method, target, voids) in [
        ("DELETE", "/v1/calls/c1", true),
        ("PATCH", "/v1/calls/%631", true),
        ("POST", "/v1/calls/c1/approve", false),
        ("PUT", "/v1/calls/c2", false),
        ("PATCH", "/v1/calls", false),
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
            let answer = proxy.get(target).bearer("a").await;
            assert_eq!(!answer.cache_status().contains("hit"), voids, "{answer}");
        }
    }
}

#[tokio::test]
async fn half_sent_writes_without_a_token_void_nobodys_calls() {
    let (_origin, proxy) = pair().await;
    let calls: Vec<_> = (0..50).map(|call| format!("/v1/calls/c{call}")).collect();
    for call in &calls {
        proxy.get(call).bearer("a").await.assert_miss();
    }
    let deep = format!("/v1/calls{}", "/x".repeat(3_000));
    for path in [deep.as_str(), "/v1/calls/c1/approve", "/v1/calls", "/"] {
        let mut socket = proxy.connect().await;
        let half = format!("PUT {path} HTTP/1.1\r\nhost: p\r\ncontent-length: 9\r\n\r\nhalf");
        socket
            .write_all(half.as_bytes())
            .await
            .expect("the proxy takes bytes");
        socket.shutdown().await.expect("it may end");
        let _ = socket.read_to_end(&mut Vec::new()).await;
    }
    assert_hits(calls.iter().map(|call| proxy.get(call).bearer("a"))).await;
}

#[tokio::test]
async fn a_write_that_never_left_voids_nothing() {
    let (origin, proxy) = pair().await;
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
async fn locations_are_voided_on_the_same_origin() {
    for name in ["location", "content-location"] {
        for (target, voids) in [
            ("/v1/calls/c1", true),
            ("/v1/calls/c1?x=1#y", true),
            ("calls/c1", true),
            ("http://ORIGIN/v1/calls/c1", true),
            ("//ORIGIN/v1/calls/%631", true),
            ("http://other.example/v1/calls/c1", false),
            ("https://ORIGIN/v1/calls/c1", false),
            ("//other.example/v1/calls/c1", false),
        ] {
            let (origin, proxy) = pair().await;
            store(&proxy).await;
            let target = target.replace("ORIGIN", &origin.address().to_string());
            origin.reply("/v1/calls", Reply::new(201).header(name, &target));
            write(&proxy, "POST", "/v1/calls").await.assert_status(201);
            if voids {
                assert_void(&proxy).await;
            } else {
                assert_stored(&proxy).await;
            }
        }
    }
}

#[tokio::test]
async fn a_location_in_a_declined_write_voids_nothing() {
    let (origin, proxy) = pair().await;
    store(&proxy).await;
    origin.reply("/v1/calls", Reply::new(409).header("location", CALL));
    write(&proxy, "POST", "/v1/calls").await.assert_status(409);
    assert_stored(&proxy).await;
}

#[tokio::test]
async fn a_refused_write_ends_what_its_token_may_see_and_nothing_else() {
    let (origin, proxy) = pair().await;
    store(&proxy).await;
    for token in ["c", "d"] {
        proxy.get(CALL).bearer(token).await;
    }
    origin.reply("/v1/calls/c1/approve", Reply::new(403));
    proxy
        .request(Method::POST, "/v1/calls/c1/approve")
        .bearer("a")
        .await
        .assert_status(403);
    for (token, target) in STORED.into_iter().filter(|(token, _)| *token == "a") {
        proxy.get(target).bearer(token).await.assert_miss();
    }
    assert_hits(["b", "c", "d"].map(|token| proxy.get(CALL).bearer(token))).await;
}
