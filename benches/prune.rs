//! What it costs to derive a view and to read a body's facts, beside deriving the view with
//! `serde_json::Value`.
//!
//! `cargo bench --bench prune`; figures mean something only beside each other in one run.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use stuut_cache::config::{Freshness, Views};
use stuut_cache::policy::facts;
use stuut_cache::view::{self, Options, Pruned, View, prune};

mod call;

const SIZES: [(&str, usize); 4] = [
    ("4KB", 4_000),
    ("40KB", 40_000),
    ("400KB", 400_000),
    ("4MB", 4_000_000),
];

fn view_of(query: &str) -> View {
    let options = Options::new(&Views::default()).expect("the defaults are valid");
    let asked = view::read_query(Some(query), &options).expect("the query is valid");
    asked.view.expect("the query asks for a view")
}

fn pruning(c: &mut Criterion) {
    for (size, bytes) in SIZES {
        let body = Bytes::from(call::call(bytes));
        let mut group = c.benchmark_group(format!("prune/{size}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        for (name, query) in [
            ("strip", "strip=invoices,**.linked_integration"),
            ("deep", "strip=**.linked_integration"),
            ("fields", "fields=id,status,partner(id,name)"),
            ("light", "view=light"),
        ] {
            let view = view_of(query);
            assert!(matches!(prune(&body, &view), Pruned::Part(_)));
            group.bench_with_input(BenchmarkId::from_parameter(name), &view, |b, view| {
                b.iter(|| prune(black_box(&body), view));
            });
        }
        let live = Freshness::default().live;
        group.bench_function("facts", |b| {
            b.iter(|| facts::read(black_box(&body), &live));
        });
        group.bench_function("serde_json strip", |b| {
            b.iter(|| {
                let mut value: Value =
                    serde_json::from_slice(black_box(&body)).expect("a call is JSON");
                let call = value.as_object_mut().expect("a call is an object");
                call.remove("invoices");
                strip_everywhere(&mut value, "linked_integration");
                serde_json::to_vec(&value).expect("a value can be written")
            });
        });
        group.finish();
    }
}

fn strip_everywhere(value: &mut Value, name: &str) {
    match value {
        Value::Array(elements) => {
            for element in elements {
                strip_everywhere(element, name);
            }
        }
        Value::Object(members) => {
            members.remove(name);
            for (_, member) in members {
                strip_everywhere(member, name);
            }
        }
        _ => {}
    }
}

fn queries(c: &mut Criterion) {
    let options = Options::new(&Views::default()).expect("the defaults are valid");
    let mut group = c.benchmark_group("query");
    for (name, query) in [
        ("none", "page=2&limit=50"),
        ("named", "view=light"),
        ("strip", "strip=invoices,**.linked_integration"),
        ("fields", "fields=id,status,partner(id,name)"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| view::read_query(Some(black_box(query)), &options));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = pruning, queries
}
criterion_main!(benches);
