//! One token requests more views than the proxy derives.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::Full;

use super::views::views;
use crate::support::{Origin, Proxy, Reply, wait_until};

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
