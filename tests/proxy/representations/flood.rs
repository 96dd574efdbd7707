//! One token requests more views than the proxy derives.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::Full;

use super::views::views;
use crate::support::{Gate, Origin, Proxy, Reply, wait_until};

const LARGE: &str = "/v1/calls/large";
const OTHER: &str = "/v1/calls/other";

/// A call of this size.
fn call(bytes: usize) -> Reply {
    let row = r#"{"id":1,"name":"n","x":[1,2,3]},"#;
    let rows = row.repeat(bytes / row.len());
    Reply::json(&format!(r#"{{"id":"c1","rows":[{rows}0]}}"#))
}

/// Requests these views of the large call over one HTTP/2 connection. HEAD: the whole would be
/// sent for each view that is skipped.
async fn flood(proxy: &Proxy, views: std::ops::Range<usize>) -> Vec<HeaderMap> {
    let mut connection = proxy.http2().await;
    let mut responses = Vec::new();
    for view in views {
        connection.ready().await.expect("the connection is open");
        let uri = format!("http://{}{LARGE}?strip=**.absent{view}", proxy.address);
        let head = http::Request::builder().method(Method::HEAD).uri(uri);
        let request = head.header("authorization", "Bearer flood");
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        responses.push(connection.send_request(request));
    }
    let mut heads = Vec::new();
    for response in responses {
        let response = response.await.expect("the proxy responds");
        assert_eq!(response.status(), 200);
        heads.push(response.headers().clone());
    }
    heads
}

#[tokio::test]
async fn a_flood_of_views_leaves_a_place_for_another_token() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(LARGE, call(7 << 20));
    origin.reply(OTHER, call(286_000));
    proxy.get(LARGE).bearer("flood").await.assert_miss();
    proxy.get(OTHER).bearer("other").await.assert_miss();

    let other = async {
        wait_until("the flood", async || {
            proxy.metric("stuut_cache_in_flight").await > 100.0
        })
        .await;
        let view = format!("{OTHER}?fields=id");
        let view = proxy.get(&view).bearer("other").await.assert_hit();
        view.assert_header("stuut-cache-view", "applied; removed=285995")
            .assert_body(r#"{"id":"c1"}"#);
        // Those that wait get the whole now.
        proxy.advance_waiters(1);
    };
    let (first, second, ()) = tokio::join!(flood(&proxy, 0..250), flood(&proxy, 250..500), other);

    let heads = [first, second].concat();
    let reports = heads.iter().filter_map(|head| head.get("stuut-cache-view"));
    let skipped: Vec<_> = reports
        .filter(|report| *report == "skipped; reason=busy")
        .collect();
    assert!(!skipped.is_empty(), "not all 500 were derived");
    let (whole, busy) = (
        views(&proxy, "whole").await,
        views(&proxy, "skipped_busy").await,
    );
    assert_eq!(busy.to_string(), skipped.len().to_string());
    assert_eq!((whole + busy).to_string(), "500");
    assert_eq!(
        proxy.metric("stuut_cache_views_deriving").await.to_string(),
        "0"
    );
}

/// The bodies of one token wait for the one of its places; those of another token do not.
#[tokio::test]
async fn a_flood_of_large_fetches_is_parsed_within_its_bounds() {
    const FETCHES: usize = 16;
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let targets: Vec<_> = (0..FETCHES).map(|n| format!("{LARGE}{n}")).collect();
    for target in targets.iter().map(String::as_str).chain([OTHER]) {
        let reply = call(if target == OTHER { 286_000 } else { 7 << 20 });
        origin.reply(target, reply.header("cache-control", "max-age=600"));
    }
    let gates: Vec<_> = targets.iter().map(|target| origin.hold(target)).collect();
    let get = |target: &String| proxy.get(target).bearer("flood").start();
    let pending: Vec<_> = targets.iter().map(get).collect();
    origin.wait_for_requests(FETCHES).await;
    gates.iter().for_each(Gate::open);
    proxy.get(OTHER).bearer("other").await.assert_status(200);
    proxy.get(OTHER).bearer("other").await.assert_hit();

    // All are read, and those that wait have waited as long as they may.
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    proxy.advance_waiters(30);
    let mut unparsed = 0_u32;
    for response in pending {
        let response = response.await.assert_status(200).assert_miss();
        let status = response.cache_status();
        let ttl = status.rsplit_once("; stored; ttl=").map(|(_, ttl)| ttl);
        let ttl: u32 = ttl.and_then(|ttl| ttl.parse().ok()).expect("a lifetime");
        // Unread, it may have any live part: a minute, instead of ten.
        unparsed += u32::from(ttl <= 60);
    }
    assert!(unparsed > 0, "all were parsed");
    proxy
        .wait_for_metric("stuut_cache_bodies_unparsed_total", unparsed)
        .await;
    proxy.wait_for_metric("stuut_cache_bodies_parsing", 0).await;
}

/// A client that leaves does not start the derivation over for the next.
#[tokio::test]
async fn a_view_is_derived_once_although_its_first_client_leaves() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(LARGE, call(7 << 20));
    proxy.get(LARGE).bearer("a").await.assert_miss();
    let view = format!("{LARGE}?fields=id");
    let first = proxy.get(&view).bearer("a").over_http2().start();
    let derivations = "stuut_cache_prune_duration_seconds_count";
    wait_until("the derivation", async || {
        let running = proxy.metric("stuut_cache_views_deriving").await;
        running + proxy.metric(derivations).await > 0.5
    })
    .await;
    first.hang_up().await;
    proxy
        .get(&view)
        .bearer("a")
        .await
        .assert_body(r#"{"id":"c1"}"#);
    assert_eq!(proxy.metric(derivations).await.to_string(), "1");
}
