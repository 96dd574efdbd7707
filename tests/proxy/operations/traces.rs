//! A trace goes on through the proxy, and a request keeps its name.

use http::Method;

use crate::support::{Origin, OriginRequest, Program, Proxy, Reply, Response, wait_until};

const CALL: &str = "/v1/calls/c1";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn parent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// The parts of the only `traceparent` that the origin got: trace, parent, flags.
#[track_caller]
fn traceparent(seen: &OriginRequest) -> (String, String, String) {
    let lines: Vec<_> = seen
        .head
        .lines()
        .filter_map(|line| line.strip_prefix("traceparent: "))
        .collect();
    let [line] = lines[..] else {
        panic!("one traceparent in\n{}", seen.head);
    };
    let parts: Vec<_> = line.split('-').collect();
    let ["00", trace, parent, flags] = parts[..] else {
        panic!("{line}");
    };
    assert_eq!((trace.len(), parent.len(), flags.len()), (32, 16, 2));
    (trace.to_owned(), parent.to_owned(), flags.to_owned())
}

#[tokio::test]
async fn a_trace_goes_on_with_the_request_to_the_origin_as_its_parent() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut parents = Vec::new();
    // Fetched for the store, and passed on.
    for (method, target) in [
        (Method::GET, CALL),
        (Method::GET, "/v1/other"),
        (Method::POST, CALL),
    ] {
        let asked = proxy
            .request(method, target)
            .bearer("a")
            .header("traceparent", &parent())
            .header("tracestate", "vendor=opaque,other=2")
            .header("baggage", "k=v");
        asked.await.assert_status(200);
        let seen = origin.last_request();
        let (trace, parent, flags) = traceparent(&seen);
        assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
        assert_ne!(parent, CALLER, "the proxy's request is a span of its own");
        let state = seen.header("tracestate");
        assert_eq!(state.as_deref(), Some("vendor=opaque,other=2"));
        assert_eq!(seen.header("baggage").as_deref(), Some("k=v"));
        parents.push(parent);
    }
    parents.dedup();
    assert_eq!(parents.len(), 3, "each has its own");
}

#[tokio::test]
async fn what_is_no_traceparent_gives_way_to_a_new_trace_without_its_state() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let upper = parent().to_uppercase();
    let longer = format!("{}-more", parent());
    for (call, line) in ["nonsense", &upper, &longer].into_iter().enumerate() {
        for target in [format!("/v1/calls/c{call}"), format!("/v1/other/{call}")] {
            proxy
                .get(&target)
                .bearer("a")
                .header("traceparent", line)
                .header("tracestate", "vendor=opaque")
                .await
                .assert_status(200);
            let (trace, ..) = traceparent(&origin.last_request());
            assert_ne!(trace, TRACE);
            assert_eq!(origin.last_request().header("tracestate"), None);
        }
    }
}

#[tokio::test]
async fn nothing_is_begun_where_nobody_collects() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for target in [CALL, "/v1/other"] {
        proxy.get(target).bearer("a").await.assert_status(200);
        assert_eq!(origin.last_request().header("traceparent"), None);
    }
}

/// A trace is nothing that a response depends on.
#[tokio::test]
async fn traces_share_what_is_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for (line, outcome) in [
        (parent(), Response::assert_miss as fn(Response) -> Response),
        (
            parent().replace(CALLER, "1111111111111111"),
            Response::assert_hit,
        ),
    ] {
        let asked = proxy.get(CALL).bearer("a").header("traceparent", &line);
        outcome(asked.await);
    }
}

#[tokio::test]
async fn a_request_that_has_a_name_keeps_it_in_and_out() {
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
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_hit()
        .assert_no_header("x-request-id");
}

/// What the origin calls a request helps to ask the origin about it; on a hit it would be about
/// somebody else's.
#[tokio::test]
async fn the_origins_own_name_stays_on_what_comes_from_the_origin() {
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

/// One with blanks in it, or too long, went on to the origin, whose log then had another name for the
/// request than ours.
#[tokio::test]
async fn an_id_that_is_not_usable_names_a_request_at_the_origin_and_not_in_the_log() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[]).await;
    for (n, target) in ["/v1/calls/c1", "/v1/other"].into_iter().enumerate() {
        let request = program.get(target).bearer("a");
        request.header("x-request-id", "two words").await;
        let sent = origin
            .last_request()
            .header("x-request-id")
            .expect("one of ours");
        wait_until("its line in the log", async || {
            program.output().matches("\"request_id\"").count() > n
        })
        .await;
        let written = program.output();
        assert!(
            written.contains(&format!("\"{sent}\"")),
            "{sent}: {written}"
        );
    }
}
