//! Accepted scopes: what only a token may do that the origin has accepted on a cache route.

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Origin, Proxy, Reply};

const CALLS: usize = 40;

fn call(number: usize) -> String {
    format!("/v1/calls/c{number}")
}

/// A victim with stored calls.
async fn start() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for number in 0..CALLS {
        proxy.get(&call(number)).bearer("v").await.assert_miss();
    }
    (origin, proxy)
}

/// Every stored call of the victim is a hit, and a new one is stored.
async fn assert_victim_unharmed(proxy: &Proxy, new: &str) {
    for number in 0..CALLS {
        proxy.get(&call(number)).bearer("v").await.assert_hit();
    }
    proxy.get(new).bearer("v").await.assert_miss();
    proxy.get(new).bearer("v").await.assert_hit();
}

/// Sends a write whose body is broken off, and waits until the proxy has closed the connection.
async fn break_off(proxy: &Proxy, method: &str, target: &str, credential: &str) {
    let mut socket = proxy.connect().await;
    let half = format!(
        "{method} {target} HTTP/1.1\r\nhost: p\r\n{credential}content-length: 9\r\n\r\nhalf"
    );
    let written = socket.write_all(half.as_bytes()).await;
    written.expect("the proxy reads the bytes");
    socket
        .shutdown()
        .await
        .expect("the socket can be shut down");
    let _ = socket.read_to_end(&mut Vec::new()).await;
}

async fn count_of_writes(proxy: &Proxy) -> String {
    let line = "stuut_cache_invalidations_total{cause=\"write\"}";
    proxy.metric(line).await.to_string()
}

#[tokio::test]
async fn broken_off_writes_without_an_accepted_token_change_nothing() {
    let (_origin, proxy) = start().await;
    let deep = format!("/v1/calls{}", "/x".repeat(3_000));
    for number in 0..CALLS {
        for method in ["PATCH", "DELETE"] {
            let invented = format!("authorization: Bearer invented-{number}\r\n");
            for credential in ["", &invented, "authorization: Basic dTpw\r\n"] {
                break_off(&proxy, method, &call(number), credential).await;
            }
        }
    }
    for path in [deep.as_str(), "/v1/calls/new", "/v1/calls", "/v1", "/"] {
        break_off(&proxy, "DELETE", path, "").await;
    }
    assert_victim_unharmed(&proxy, "/v1/calls/new").await;
    assert_eq!(count_of_writes(&proxy).await, "0");
}

#[tokio::test]
async fn writes_that_the_origin_fails_count_for_accepted_tokens_only() {
    for lost in [Reply::new(503), Reply::reset(), Reply::raw("HTTP/1.1 2")] {
        let (origin, proxy) = start().await;
        origin.reply("/v1/calls/c0/approve", lost);
        let write = |token| {
            let write = proxy.request(Method::POST, "/v1/calls/c0/approve");
            write.bearer(token)
        };
        write("invented").await;
        assert_victim_unharmed(&proxy, "/v1/calls/new").await;
        proxy.get("/v1/calls/c1").bearer("w").await.assert_miss();
        write("w").await;
        for _ in 0..2 {
            let fenced = proxy
                .get("/v1/calls/c0")
                .bearer("v")
                .await
                .assert_status(200);
            assert!(fenced.cache_status().ends_with("detail=fenced"), "{fenced}");
        }
        proxy.get("/v1/calls/c1").bearer("v").await.assert_hit();
    }
}

/// Elsewhere the origin may serve anyone, and some servers respond to OPTIONS without a look at the
/// credential.
#[tokio::test]
async fn a_2xx_that_proves_nothing_accepts_no_token() {
    let (origin, proxy) = start().await;
    let patch = |token| {
        origin.reply("/v1/calls/c0", Reply::reset());
        proxy.request(Method::PATCH, "/v1/calls/c0").bearer(token)
    };
    let unproven = [
        (Method::GET, "/v1/me", Reply::echo()),
        (Method::GET, "/v1/callsigns", Reply::echo()),
        (Method::GET, "/v1/calls/../me", Reply::echo()),
        (Method::OPTIONS, "/v1/calls/c9", Reply::echo()),
        (Method::GET, "/v1/calls/gone", Reply::new(404)),
        (Method::GET, "/v1/calls", Reply::new(304)),
    ];
    for (method, target, reply) in unproven {
        origin.reply(target, reply);
        proxy.request(method, target).bearer("w").await;
        patch("w").await;
        proxy.get("/v1/calls/c0").bearer("v").await.assert_hit();
    }
    proxy
        .wait_for_metric("stuut_cache_accepted_scopes", 1)
        .await;
    origin.reply("/v1/calls", Reply::new(201));
    let list = proxy.request(Method::POST, "/v1/calls").bearer("w");
    list.await.assert_status(201);
    proxy
        .wait_for_metric("stuut_cache_accepted_scopes", 2)
        .await;
    patch("w").await;
    origin.reply("/v1/calls/c0", Reply::echo());
    proxy.get("/v1/calls/c0").bearer("v").await.assert_miss();
}

#[tokio::test]
async fn a_401_ends_the_acceptance_of_a_token() {
    let (origin, proxy) = start().await;
    proxy.get("/v1/calls/c0").bearer("w").await.assert_miss();
    origin.refuse("w", 401);
    proxy.get("/v1/me").bearer("w").await.assert_status(401);
    proxy
        .wait_for_metric("stuut_cache_accepted_scopes", 1)
        .await;
    break_off(
        &proxy,
        "PATCH",
        "/v1/calls/c0",
        "authorization: Bearer w\r\n",
    )
    .await;
    assert_victim_unharmed(&proxy, "/v1/calls/new").await;
}

#[tokio::test]
async fn many_lost_writes_of_one_token_stop_storing_for_its_paths_only() {
    let (origin, proxy) = start().await;
    let below = "/x".repeat(16);
    proxy.get("/v1/calls/c0").bearer("w").await.assert_miss();
    origin.default_reply(Reply::new(503));
    for number in 0..300 {
        let target = format!("/v1/calls/lost{number}{below}");
        let write = proxy.request(Method::DELETE, &target).bearer("w");
        write.await.assert_status(503);
    }
    origin.default_reply(Reply::echo());
    assert!(proxy.metric("stuut_cache_writes_untracked_total").await > 0.0);
    assert_victim_unharmed(&proxy, "/v1/calls/new").await;
}
