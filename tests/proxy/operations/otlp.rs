//! Spans are exported to a collector by OTLP over HTTP; requests never wait for it.

use http::Method;
use serde_json::Value;
use stuut_cache::config::{Config, OriginUrl};

use crate::support::{Origin, Proxy, Reply, wait_until};

const CALL: &str = "/v1/calls/c1";
const TRACES: &str = "/v1/traces";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Exports spans to this collector.
fn export_to(collector: &Origin) -> impl FnOnce(&mut Config) + use<> {
    let url = format!("http://{}", collector.address());
    move |config| config.trace.otlp_url = Some(OriginUrl::parse(&url).expect("an address"))
}

/// A collector that accepts everything.
async fn collector() -> Origin {
    let collector = Origin::start().await;
    collector.reply(TRACES, Reply::json("{}"));
    collector
}

/// All spans that the collector has received.
fn spans(collector: &Origin) -> Vec<Value> {
    let parse = |body: &[u8]| {
        let document: Value = serde_json::from_slice(body).expect("a document");
        let spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
        serde_json::from_value::<Vec<Value>>(spans).expect("a list of spans")
    };
    let requests = collector.requests();
    requests.iter().flat_map(|it| parse(&it.body)).collect()
}

/// The value of an attribute.
fn attribute<'a>(span: &'a Value, name: &str) -> Option<&'a str> {
    let attributes = span["attributes"].as_array()?;
    let attribute = attributes.iter().find(|it| it["key"] == name);
    let value = &attribute?["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str())
}

#[track_caller]
fn assert_attributes(span: &Value, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(attribute(span, name), Some(*value), "{name} of {span:#}");
    }
}

#[tokio::test]
async fn a_miss_exports_two_spans_and_a_hit_one() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let proxy = Proxy::with(&origin, export_to(&collector)).await;
    let traced = || {
        let line = format!("00-{TRACE}-{CALLER}-01");
        let request = proxy.get(CALL).bearer("secret-token");
        request
            .header("traceparent", &line)
            .header("x-request-id", "r1")
    };
    traced().await.assert_miss();
    traced().await.assert_hit();
    let sent = origin
        .last_request()
        .header("traceparent")
        .expect("it is propagated");
    // Queued spans are exported before the exit.
    proxy.stop().await;

    let spans = spans(&collector);
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let fetch = spans
        .iter()
        .find(|span| span["kind"] == 3)
        .expect("a fetch");
    let with_outcome = |outcome| {
        let span = spans
            .iter()
            .find(|span| span["kind"] == 2 && attribute(span, "stuut_cache.outcome") == outcome);
        span.expect("a request with this outcome")
    };
    let (miss, hit) = (with_outcome(Some("miss")), with_outcome(Some("hit")));
    for span in &spans {
        assert_eq!(span["traceId"], TRACE);
    }
    assert_eq!(miss["parentSpanId"], CALLER);
    assert_eq!(hit["parentSpanId"], CALLER);
    assert_eq!(fetch["parentSpanId"], miss["spanId"]);
    let span_id = fetch["spanId"].as_str().expect("an id");
    assert_eq!(sent, format!("00-{TRACE}-{span_id}-01"));
    assert_eq!(hit["name"], "GET /v1/calls/{call_id}");
    assert_attributes(
        miss,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("http.route", "/v1/calls/{call_id}"),
            ("url.path", CALL),
            ("stuut_cache.request_id", "r1"),
        ],
    );
    assert_attributes(
        fetch,
        &[
            ("http.response.status_code", "200"),
            ("server.address", "127.0.0.1"),
            ("stuut_cache.outcome", "stored"),
        ],
    );
    for export in collector.requests() {
        let body = String::from_utf8_lossy(&export.body);
        assert!(!body.contains("secret-token"));
        let content_type = export.header("content-type");
        assert_eq!(content_type.as_deref(), Some("application/json"));
    }
}

#[tokio::test]
async fn spans_of_a_failed_request_have_its_error() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let proxy = Proxy::with(&origin, export_to(&collector)).await;
    origin.stop_listening().await;
    for request in [proxy.get(CALL), proxy.request(Method::POST, CALL)] {
        request
            .bearer("a")
            .await
            .assert_problem(502, "connection_refused");
    }
    proxy.stop().await;

    let spans = spans(&collector);
    assert_eq!(spans.len(), 4, "{spans:#?}");
    for span in &spans {
        assert_eq!(span["status"]["code"], 2);
        if span["kind"] == 3 {
            assert_attributes(span, &[("error.type", "connection_refused")]);
        } else {
            let failed = [
                ("stuut_cache.outcome", "failed"),
                ("stuut_cache.detail", "connection_refused"),
            ];
            assert_attributes(span, &failed);
            assert_eq!(span["parentSpanId"], Value::Null, "the trace started here");
        }
    }
}

#[tokio::test]
async fn an_unsampled_request_exports_no_span_but_propagates_its_trace() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let configured = export_to(&collector);
    let proxy = Proxy::with(&origin, |config| {
        configured(config);
        config.trace.sample = 0;
    })
    .await;
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    let request = proxy.get(CALL).bearer("a");
    request
        .header("traceparent", &unsampled)
        .await
        .assert_miss();
    let sent = origin
        .last_request()
        .header("traceparent")
        .expect("it is propagated");
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"));

    proxy.get("/v1/other").bearer("a").await.assert_status(200);
    let sent = origin
        .last_request()
        .header("traceparent")
        .expect("a new one");
    assert!(sent.ends_with("-00"), "{sent}");
    proxy.stop().await;
    collector.assert_requests(0);
}

#[tokio::test]
async fn a_failing_collector_loses_spans_but_no_requests() {
    let (origin, collector) = (Origin::start().await, Origin::start().await);
    collector.reply(TRACES, Reply::new(503).closing());
    let proxy = Proxy::with(&origin, export_to(&collector)).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy
        .wait_for_metric("stuut_cache_spans_total{result=\"refused\"}", 2)
        .await;

    collector.stop_listening().await;
    proxy.get(CALL).bearer("a").await.assert_hit();
    proxy
        .wait_for_metric("stuut_cache_spans_total{result=\"unreachable\"}", 1)
        .await;
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn requests_do_not_wait_for_a_collector_that_does_not_answer() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let gate = collector.hold(TRACES);
    let proxy = Proxy::with(&origin, export_to(&collector)).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    collector.wait_for_requests(1).await;
    for _ in 0..20 {
        proxy.get(CALL).bearer("a").await.assert_hit();
    }
    gate.open_for_all();
    wait_until("all spans", async || spans(&collector).len() == 22).await;
}
