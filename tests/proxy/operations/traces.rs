//! Trace context is propagated through the proxy, and a request keeps its id.

use http::Method;

use crate::support::{Origin, Program, Proxy, Reply, Response, wait_until};

const CALL: &str = "/v1/calls/c1";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn parent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// The proxy has no span of its own: the origin's request is a part of the caller's span.
#[tokio::test]
async fn without_a_collector_trace_fields_are_forwarded_unchanged() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    // A fetch, and two forwarded requests.
    for (method, target) in [
        (Method::GET, CALL),
        (Method::GET, "/v1/other"),
        (Method::POST, CALL),
    ] {
        let fields = [
            ("traceparent", &*parent()),
            ("tracestate", "vendor=opaque,other=2"),
            ("baggage", "k=v"),
        ];
        let mut request = proxy.request(method, target).bearer("a");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        request.await.assert_status(200);
        for (name, value) in fields {
            let sent = origin.last_request().header(name);
            assert_eq!(sent.as_deref(), Some(value));
        }
    }
}

#[tokio::test]
async fn without_a_collector_no_trace_is_started() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for target in [CALL, "/v1/other"] {
        proxy.get(target).bearer("a").await.assert_status(200);
        assert_eq!(origin.last_request().header("traceparent"), None);
    }
}

#[tokio::test]
async fn traceparent_is_not_part_of_the_cache_key() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for (line, outcome) in [
        (parent(), Response::assert_miss as fn(Response) -> Response),
        (
            parent().replace(CALLER, "1111111111111111"),
            Response::assert_hit,
        ),
    ] {
        let request = proxy.get(CALL).bearer("a").header("traceparent", &line);
        outcome(request.await);
    }
}

#[tokio::test]
async fn x_request_id_is_forwarded_and_echoed() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let named = |id: &str, target: &str| {
        let request = proxy.get(target).bearer("a");
        request.header("x-request-id", id)
    };
    named("first", CALL)
        .await
        .assert_miss()
        .assert_header("x-request-id", "first");
    let sent = origin.last_request().header("x-request-id");
    assert_eq!(sent.as_deref(), Some("first"));
    named("second", CALL)
        .await
        .assert_hit()
        .assert_header("x-request-id", "second");
    named("third", "/v1/other")
        .await
        .assert_header("x-request-id", "third");
    // Without one, the response has the proxy's, which no other has.
    let ids = [
        proxy.get(CALL).bearer("a").await.assert_hit(),
        proxy.get("/v1/other").await,
        proxy.get("/v1/calls/c1?strip=a..b").bearer("a").await,
        proxy.get(CALL).bearer("a").over_http2().await.assert_hit(),
    ]
    .map(|response| response.header("x-request-id").unwrap_or_default());
    let different: std::collections::BTreeSet<_> = ids.iter().collect();
    assert!(
        different.len() == 4 && ids.iter().all(|id| id.len() == 16),
        "{ids:?}"
    );
}

/// The id from the origin finds the request in its log; on a hit it would name another request.
#[tokio::test]
async fn the_request_id_of_the_origin_is_sent_on_a_miss_only() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, Reply::json("{}").header("x-request-id", "origin-1"));
    let named = || proxy.get(CALL).bearer("a").header("x-request-id", "mine");
    named()
        .await
        .assert_miss()
        .assert_header("x-request-id", "origin-1");
    named()
        .await
        .assert_hit()
        .assert_header("x-request-id", "mine");
}

/// Neither the leader's, nor that of the request for which the stored response was fetched.
#[tokio::test]
async fn the_request_id_of_another_request_is_never_sent() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let reply = Reply::json("{}").header("x-request-id", "origin-1");
    origin.reply(CALL, reply.validating("\"1\""));
    let gate = origin.hold(CALL);
    let named = |id: &str| proxy.get(CALL).bearer("a").header("x-request-id", id);
    let leader = named("leader").start();
    origin.wait_for_requests(1).await;
    let waiter = named("waiter").start();
    proxy.wait_for_metric("stuut_cache_in_flight", 2).await;
    gate.open_for_all();
    for (pending, id) in [(leader, "origin-1"), (waiter, "waiter")] {
        pending.await.assert_header("x-request-id", id);
    }
    origin.reply(CALL, Reply::new(304).header("etag", "\"1\""));
    let revalidated = named("revalidated").header("cache-control", "no-cache");
    revalidated
        .await
        .assert_header("x-request-id", "revalidated");
}

/// An invalid id must not be forwarded: the two logs would have different ids.
#[tokio::test]
async fn an_invalid_request_id_is_replaced_in_the_log_and_at_the_origin() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[]).await;
    for (n, target) in ["/v1/calls/c1", "/v1/other"].into_iter().enumerate() {
        let request = program.get(target).bearer("a");
        request.header("x-request-id", "two words").await;
        let sent = origin
            .last_request()
            .header("x-request-id")
            .expect("a generated id");
        wait_until("its access line", async || {
            program.output().matches("\"request_id\"").count() > n
        })
        .await;
        let log = program.output();
        assert!(log.contains(&format!("\"{sent}\"")), "{sent}: {log}");
    }
}
