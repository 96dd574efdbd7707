//! Views: parsing the query, deriving the view, reading the facts of a body.

use std::hint::black_box;
use std::time::SystemTime;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use stuut_cache::config::Freshness;
use stuut_cache::policy::facts;
use stuut_cache::view::{self, Pruned, prune};

use crate::call;
use crate::work::{SIZES, VIEWS, hostile, options, strip_by_value, view_of};

/// Deriving views from bodies of several sizes, one of them also with `serde_json::Value`.
pub(crate) fn pruning(c: &mut Criterion) {
    for (size, bytes) in SIZES {
        let body = Bytes::from(call::call(bytes));
        let mut group = c.benchmark_group(format!("prune/{size}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        for (name, query) in VIEWS {
            let view = view_of(query);
            assert!(matches!(prune(&body, &view), Pruned::Part(_)));
            group.bench_with_input(BenchmarkId::from_parameter(name), &view, |b, view| {
                b.iter(|| prune(black_box(&body), view));
            });
        }
        let live = Freshness::default().live;
        group.bench_function("facts", |b| {
            b.iter(|| facts::read(black_box(&body), &live, SystemTime::UNIX_EPOCH));
        });
        group.bench_function("serde_json strip", |b| b.iter(|| strip_by_value(&body)));
        group.finish();
    }
}

/// Parsing queries: typical ones, and those as expensive as the limits allow.
pub(crate) fn queries(c: &mut Criterion) {
    let options = options();
    let hostile = hostile();
    let mut group = c.benchmark_group("query");
    for (name, query) in [
        ("none", "page=2&limit=50"),
        ("named", "view=light"),
        ("strip", "strip=invoices,**.linked_integration"),
        ("fields", "fields=id,status,partner(id,name)"),
        (
            "encoded",
            "fields=id%2Cstatus%2Cpartner%28id%2Cname%29&page=2",
        ),
    ]
    .into_iter()
    .chain(hostile.iter().map(|(name, query)| (*name, query.as_str())))
    {
        group.bench_function(name, |b| {
            b.iter(|| view::read_query(Some(black_box(query)), &options));
        });
    }
    group.finish();
}
