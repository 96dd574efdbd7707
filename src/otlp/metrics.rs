//! The families of `/metrics` in OTLP. The SDK's metrics cannot be built from values that exist, so
//! `fill` replaces those of its export, which has the resource, the times and the destination.

use bytes::Bytes;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::proto::{self, MetricFamily, MetricType};
use prost::{DecodeError, Message as _};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Begins periodic exports of one counter, which [`fill`] replaces: without any, the SDK exports
/// nothing.
pub(super) fn push(exporter: MetricExporter, resource: Resource) -> SdkMeterProvider {
    let provider = SdkMeterProvider::builder().with_resource(resource);
    let provider = provider.with_periodic_exporter(exporter).build();
    let meter = provider.meter(env!("CARGO_PKG_NAME"));
    meter.u64_counter("replaced").build().add(1, &[]);
    provider
}

/// Replaces the metrics of an export by these families.
pub(super) fn fill(export: &[u8], families: &[MetricFamily]) -> Result<Bytes, DecodeError> {
    let mut export = ExportMetricsServiceRequest::decode(export)?;
    let resources = export.resource_metrics.iter_mut();
    for scope in resources.flat_map(|resource| &mut resource.scope_metrics) {
        let replaced = scope.metrics.iter().find_map(point).unwrap_or_default();
        scope.metrics = families.iter().map(|it| metric(it, &replaced)).collect();
    }
    Ok(export.encode_to_vec().into())
}

/// The point of the replaced counter: it has the times of the others.
fn point(metric: &Metric) -> Option<NumberDataPoint> {
    match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.first().cloned(),
        _ => None,
    }
}

fn metric(family: &MetricFamily, replaced: &NumberDataPoint) -> Metric {
    let number = |metric: &proto::Metric, value| NumberDataPoint {
        attributes: attributes(metric),
        value: Some(Value::AsDouble(value)),
        ..replaced.clone()
    };
    let each = family.get_metric().iter();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: each
                .map(|it| number(it, it.get_counter().get_value()))
                .collect(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: each.map(|it| histogram(it, replaced)).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
        _ => Data::Gauge(Gauge {
            data_points: each
                .map(|it| number(it, it.get_gauge().get_value()))
                .collect(),
        }),
    };
    Metric {
        name: family.name().to_owned(),
        description: family.help().to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// Prometheus counts all values up to a bound; OTLP those between two, and those above the last.
fn histogram(metric: &proto::Metric, replaced: &NumberDataPoint) -> HistogramDataPoint {
    let histogram = metric.get_histogram();
    let (count, buckets) = (histogram.get_sample_count(), histogram.get_bucket());
    let up_to = buckets.iter().map(proto::Bucket::cumulative_count);
    let below = std::iter::once(0).chain(up_to.clone());
    let between = up_to.chain([count]).zip(below);
    HistogramDataPoint {
        attributes: attributes(metric),
        start_time_unix_nano: replaced.start_time_unix_nano,
        time_unix_nano: replaced.time_unix_nano,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: between
            .map(|(to, below)| to.saturating_sub(below))
            .collect(),
        explicit_bounds: buckets.iter().map(proto::Bucket::upper_bound).collect(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(metric: &proto::Metric) -> Vec<KeyValue> {
    let attribute = |label: &proto::LabelPair| KeyValue {
        key: label.name().to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(label.value().to_owned())),
        }),
        ..KeyValue::default()
    };
    metric.get_label().iter().map(attribute).collect()
}
