//! Spans and metrics are exported to a collector by OTLP over HTTP; requests never wait for it.

use std::fmt::Write as _;
use std::process::Command;

use http::Method;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

use crate::support::{Authority, Origin, OriginRequest, Program, Reply, TlsOrigin};

const CALL: &str = "/v1/calls/c1";
const TRACES: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

const NO_METRICS: (&str, &str) = ("OTEL_METRICS_EXPORTER", "none");
const NO_TRACES: (&str, &str) = ("OTEL_TRACES_EXPORTER", "none");
/// Exports as soon as there are spans: nothing in a test depends on how long this is.
const AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "10");

/// The program, with these variables.
fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
    command.envs(variables.iter().copied());
    command
}

/// Starts the program in front of `origin`, with a collector at `url` and these variables.
async fn start(origin: &Origin, url: &str, variables: &[(&str, &str)]) -> Program {
    let mut command = command(variables);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", url);
    Program::with_command(command, origin).await
}

/// Stops the program, which exports what is queued, while the collector answers. Returns its output.
async fn stop(program: Program) -> String {
    let stopped = tokio::task::spawn_blocking(|| program.stop()).await;
    stopped.expect("it stops")
}

fn url(collector: &Origin) -> String {
    format!("http://{}", collector.address())
}

/// A collector that accepts everything.
async fn collector() -> Origin {
    let collector = Origin::start().await;
    collector.default_reply(Reply::new(200));
    collector
}

fn decoded(export: &OriginRequest) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(&export.body[..]).expect("an export of spans")
}

/// All spans that the collector has received.
fn spans(collector: &Origin) -> Vec<Span> {
    let exports = collector.requests();
    let resources = exports.iter().flat_map(|it| decoded(it).resource_spans);
    let scopes = resources.flat_map(|it| it.scope_spans);
    scopes.flat_map(|it| it.spans).collect()
}

/// The value of an attribute, as text.
fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|it| it.key == name)?;
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
fn assert_attributes(attributes: &[KeyValue], expected: &[(&str, &str)]) {
    for (name, value) in expected {
        let found = attribute(attributes, name);
        assert_eq!(found.as_deref(), Some(*value), "{name} of {attributes:#?}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn exported(result: &str) -> String {
    format!("stuut_cache_spans_total{{result=\"{result}\"}}")
}

#[tokio::test]
async fn a_miss_exports_two_spans_and_a_hit_one() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let key = ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=k1");
    let proxy = start(&origin, &url(&collector), &[NO_METRICS, key]).await;
    let traced = || {
        let line = format!("00-{TRACE}-{CALLER}-01");
        let request = proxy.get(CALL).bearer("secret-token");
        request
            .header("traceparent", &line)
            .header("tracestate", "vendor=opaque")
            .header("x-request-id", "r1")
    };
    traced().await.assert_miss();
    traced().await.assert_hit();
    let request = origin.last_request();
    let sent = request.header("traceparent").expect("it is propagated");
    let state = request.header("tracestate");
    assert_eq!(state.as_deref(), Some("vendor=opaque"));
    // Queued spans are exported before the exit.
    stop(proxy).await;

    let spans = spans(&collector);
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let find = |kind: SpanKind, outcome: &str| {
        let outcome = Some(outcome.to_owned());
        let found = spans.iter().find(|span| {
            span.kind() == kind && attribute(&span.attributes, "stuut_cache.outcome") == outcome
        });
        found.expect("a span of this kind and outcome")
    };
    let fetch = find(SpanKind::Client, "stored");
    let (miss, hit) = (
        find(SpanKind::Server, "miss"),
        find(SpanKind::Server, "hit"),
    );
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert_eq!(hex(&miss.parent_span_id), CALLER);
    assert_eq!(hex(&hit.parent_span_id), CALLER);
    assert_eq!(fetch.parent_span_id, miss.span_id);
    assert_eq!(sent, format!("00-{TRACE}-{}-01", hex(&fetch.span_id)));
    assert_eq!(hit.name, "GET /v1/calls/{call_id}");
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/v1/calls/{call_id}"),
        ("url.path", CALL),
        ("stuut_cache.request_id", "r1"),
    ];
    assert_attributes(&miss.attributes, &expected);
    let expected = [
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
    ];
    assert_attributes(&fetch.attributes, &expected);

    for export in collector.requests() {
        assert!(!String::from_utf8_lossy(&export.body).contains("secret-token"));
        let content_type = export.header("content-type");
        assert_eq!(content_type.as_deref(), Some("application/x-protobuf"));
        assert_eq!(export.header("x-collector-key").as_deref(), Some("k1"));
        let [traced] = &decoded(&export).resource_spans[..] else {
            panic!("one resource");
        };
        let resource = traced.resource.as_ref().expect("a resource");
        let name = ("service.name", "stuut-cache");
        assert_attributes(&resource.attributes, &[name]);
    }
}

#[tokio::test]
async fn spans_of_a_failed_request_have_its_error() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let named = ("OTEL_SERVICE_NAME", "calls-cache");
    let proxy = start(&origin, &url(&collector), &[NO_METRICS, named]).await;
    origin.stop_listening().await;
    for method in [Method::GET, Method::POST] {
        let request = proxy.request(method, CALL).bearer("a");
        request.await.assert_problem(502, "connection_refused");
    }
    stop(proxy).await;

    let spans = spans(&collector);
    assert_eq!(spans.len(), 4, "{spans:#?}");
    for span in &spans {
        let status = span.status.as_ref().expect("a status");
        assert_eq!(status.code, 2, "it is an error");
        if span.kind() == SpanKind::Client {
            assert_attributes(&span.attributes, &[("error.type", "connection_refused")]);
        } else {
            let failed = [
                ("stuut_cache.outcome", "failed"),
                ("stuut_cache.detail", "connection_refused"),
            ];
            assert_attributes(&span.attributes, &failed);
            assert!(span.parent_span_id.is_empty(), "the trace started here");
        }
    }
    let traced = decoded(&collector.last_request()).resource_spans.remove(0);
    let resource = traced.resource.expect("a resource");
    assert_attributes(
        &resource.attributes,
        &[named].map(|(_, name)| ("service.name", name)),
    );
}

#[tokio::test]
async fn an_unsampled_request_exports_no_span_but_propagates_its_trace() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let off = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let proxy = start(&origin, &url(&collector), &[NO_METRICS, off]).await;
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    let request = proxy
        .get(CALL)
        .bearer("a")
        .header("traceparent", &unsampled);
    request.await.assert_miss();
    let sent = origin
        .last_request()
        .header("traceparent")
        .expect("it is propagated");
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"));
    assert_ne!(sent, unsampled, "the proxy's request is a span of its own");

    proxy.get("/v1/other").bearer("a").await.assert_status(200);
    let sent = origin
        .last_request()
        .header("traceparent")
        .expect("a new one");
    assert!(sent.ends_with("-00"), "{sent}");
    stop(proxy).await;
    collector.assert_requests(0);
}

#[tokio::test]
async fn an_invalid_traceparent_starts_a_new_trace_and_drops_tracestate() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let proxy = start(&origin, &url(&collector), &[NO_METRICS]).await;
    let valid = format!("00-{TRACE}-{CALLER}-01");
    let (upper, longer) = (valid.to_uppercase(), format!("{valid}-more"));
    for lines in [&["nonsense"][..], &[&upper], &[&longer], &[&valid, &valid]] {
        let mut request = proxy.get("/v1/other").bearer("a");
        request = request.header("tracestate", "vendor=opaque");
        for line in lines {
            request = request.header("traceparent", line);
        }
        request.await.assert_status(200);
        let sent = origin.last_request();
        let line = sent.header("traceparent").expect("a new one");
        assert!(line.len() == valid.len() && !line.contains(TRACE), "{line}");
        assert_eq!(sent.header("tracestate"), None);
    }
}

#[tokio::test]
async fn a_refused_export_is_retried() {
    let (origin, collector) = (Origin::start().await, collector().await);
    collector.replies(TRACES, vec![Reply::new(503), Reply::new(200)]);
    let proxy = start(&origin, &url(&collector), &[NO_METRICS]).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    stop(proxy).await;
    let exports = collector.requests();
    assert_eq!(exports.len(), 2);
    assert_eq!(exports[0].body, exports[1].body);
}

#[tokio::test]
async fn a_failing_collector_loses_spans_but_no_requests() {
    let (origin, collector) = (Origin::start().await, Origin::start().await);
    collector.reply(TRACES, Reply::new(400).closing());
    let proxy = start(&origin, &url(&collector), &[NO_METRICS, AT_ONCE]).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.wait_for_metric(&exported("failed"), 2).await;

    collector.stop_listening().await;
    proxy.get(CALL).bearer("a").await.assert_hit();
    proxy.wait_for_metric(&exported("failed"), 3).await;
    proxy.get(CALL).bearer("a").await.assert_hit();
    let log = stop(proxy).await;
    assert!(log.contains("400"), "the log has the cause: {log}");
}

#[tokio::test]
async fn a_full_queue_drops_spans_and_requests_do_not_wait_for_the_collector() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let gate = collector.hold(TRACES);
    let size = ("OTEL_BSP_MAX_QUEUE_SIZE", "2");
    let never = ("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let proxy = start(&origin, &url(&collector), &[NO_METRICS, size, never]).await;
    // Two spans, as many as the queue takes, are exported, and the collector does not answer.
    proxy.get(CALL).bearer("a").await.assert_miss();
    collector.wait_for_requests(1).await;
    for _ in 0..5 {
        proxy.get(CALL).bearer("a").await.assert_hit();
    }
    proxy.wait_for_metric(&exported("queue_full"), 3).await;
    gate.open_for_all();
    proxy.wait_for_metric(&exported("exported"), 4).await;
    stop(proxy).await;
    assert_eq!(spans(&collector).len(), 4);
}

#[tokio::test]
async fn a_collector_with_tls_is_verified() {
    let (origin, authority) = (Origin::start().await, Authority::new());
    let collector = TlsOrigin::start(&authority, "localhost", &[], 1).await;
    let file = authority.file.path().to_str().expect("a path in UTF-8");
    let trusted = ("OTEL_EXPORTER_OTLP_CERTIFICATE", file);
    let trusting = start(&origin, &collector.url(), &[NO_METRICS, AT_ONCE, trusted]).await;
    trusting.get(CALL).bearer("a").await.assert_miss();
    trusting.wait_for_metric(&exported("exported"), 2).await;
    assert_eq!(collector.connections(), 1);

    let distrusting = start(&origin, &collector.url(), &[NO_METRICS, AT_ONCE]).await;
    distrusting.get(CALL).bearer("a").await.assert_miss();
    distrusting.wait_for_metric(&exported("failed"), 2).await;
    assert_eq!(collector.connections(), 1);
}

#[tokio::test]
async fn metrics_are_pushed_as_they_are_on_the_admin_listener() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let proxy = start(&origin, &url(&collector), &[NO_TRACES]).await;
    proxy.get(CALL).bearer("secret-token").await.assert_miss();
    proxy.get(CALL).bearer("secret-token").await.assert_hit();
    // The last values are pushed before the exit.
    stop(proxy).await;

    let export = collector.last_request();
    assert_eq!(export.target(), METRICS);
    assert!(!String::from_utf8_lossy(&export.body).contains("secret-token"));
    let export = ExportMetricsServiceRequest::decode(&export.body[..]).expect("metrics");
    let [resource] = &export.resource_metrics[..] else {
        panic!("one resource: {export:#?}");
    };
    let attributes = &resource.resource.as_ref().expect("a resource").attributes;
    assert_attributes(attributes, &[("service.name", "stuut-cache")]);
    let metrics = &resource.scope_metrics[0].metrics;
    let data = |name: &str| {
        let metric = metrics.iter().find(|it| it.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name}"));
        metric.data.as_ref().expect("data")
    };
    let hit = Some("hit".to_owned());
    let Data::Sum(requests) = data("stuut_cache_requests_total") else {
        panic!("a counter");
    };
    let is_hit = |attributes: &[KeyValue]| attribute(attributes, "outcome") == hit;
    let hits = requests
        .data_points
        .iter()
        .find(|it| is_hit(&it.attributes));
    let hits = hits.expect("a point");
    assert_eq!(hits.value, Some(Number::AsDouble(1.0)));
    assert!((1..=hits.time_unix_nano).contains(&hits.start_time_unix_nano));
    assert!(requests.is_monotonic);

    let Data::Histogram(durations) = data("stuut_cache_request_duration_seconds") else {
        panic!("a histogram");
    };
    let hits = durations
        .data_points
        .iter()
        .find(|it| is_hit(&it.attributes));
    let hits = hits.expect("a point");
    assert_eq!((hits.count, hits.bucket_counts.iter().sum()), (1, 1));
    assert_eq!(hits.bucket_counts.len(), hits.explicit_bounds.len() + 1);
    assert!(matches!(data("stuut_cache_connections"), Data::Gauge(_)));
}

#[tokio::test]
async fn metrics_are_pushed_periodically() {
    let (origin, collector) = (Origin::start().await, collector().await);
    let often = ("OTEL_METRIC_EXPORT_INTERVAL", "10");
    let _proxy = start(&origin, &url(&collector), &[NO_TRACES, often]).await;
    collector.wait_for_requests(3).await;
}

#[test]
fn an_invalid_variable_prevents_the_start() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://["),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
    ] {
        let mut command = command(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a"), (name, value)]);
        let command = command
            .env("STUUT_CACHE__SERVER__LISTEN", "127.0.0.1:0")
            .env("STUUT_CACHE__ADMIN__LISTEN", "127.0.0.1:0")
            .env("STUUT_CACHE__UPSTREAM__URL", "http://127.0.0.1:9");
        let output = command.output().expect("the program starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{errors}");
        assert!(errors.contains(name), "{errors}");
    }
}
