//! Spans as an `ExportTraceServiceRequest` in JSON (OTLP 1, "JSON Protobuf Encoding"): ids in
//! hex, 64-bit numbers as text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::telemetry::trace::{Attribute, Span, SpanKind};

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The document of a batch.
pub(super) fn of(batch: &[Span]) -> Bytes {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let document = json!({
        "resourceSpans": [{
            "resource": {
                "attributes": [
                    attribute(&("service.name", name.into())),
                    attribute(&("service.version", version.into())),
                    attribute(&("service.instance.id", std::process::id().to_string().into())),
                ],
            },
            "scopeSpans": [{
                "scope": { "name": name, "version": version },
                "spans": batch.iter().map(span).collect::<Vec<_>>(),
            }],
        }],
    });
    document.to_string().into()
}

fn span(span: &Span) -> Value {
    let mut json = json!({
        "traceId": span.context.trace_id(),
        "spanId": span.context.span().to_string(),
        "name": span.name,
        "kind": match span.kind {
            SpanKind::Request => SERVER,
            SpanKind::Fetch => CLIENT,
        },
        "startTimeUnixNano": nanoseconds(span.at, Duration::ZERO),
        "endTimeUnixNano": nanoseconds(span.at, span.took),
        "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
        "status": if span.failed { json!({ "code": ERROR }) } else { json!({}) },
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = parent.to_string().into();
    }
    json
}

fn attribute((name, value): &Attribute) -> Value {
    let value = match value {
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        text => json!({ "stringValue": text }),
    };
    json!({ "key": name, "value": value })
}

fn nanoseconds(at: SystemTime, took: Duration) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since + took).as_nanos().to_string()
}
