//! What it costs to read a query, to derive a view and to read a body's facts, beside deriving
//! the view with `serde_json::Value`.
//!
//! `cargo bench --bench prune -- --table` prints GB/s and ratios as a table. There each of the
//! works takes its turn in one loop, so that whatever else the machine does meets all alike.
//! `cargo bench --bench prune` measures them one by one; such figures mean something only
//! beside each other in one run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use serde_json::Value;
use stuut_cache::config::{Freshness, Views};
use stuut_cache::policy::facts;
use stuut_cache::view::{self, Options, Pruned, View, prune};

mod call;

const SIZES: [(&str, usize); 4] = [
    ("4 KB", 4_000),
    ("40 KB", 40_000),
    ("400 KB", 400_000),
    ("4 MB", 4_000_000),
];

const VIEWS: [(&str, &str); 4] = [
    ("strip", "strip=invoices,**.linked_integration"),
    ("deep", "strip=**.linked_integration"),
    ("fields", "fields=id,status,partner(id,name)"),
    ("light", "view=light"),
];

fn options() -> Options {
    Options::new(&Views::default()).expect("the defaults are valid")
}

fn view_of(query: &str) -> View {
    let asked = view::read_query(Some(query), &options()).expect("the query is valid");
    asked.view.expect("the query asks for a view")
}

/// Queries that make reading and pruning as dear as the limits allow: all containers are
/// walked through, nearly every name is looked for, nothing ever goes.
fn hostile() -> [(&'static str, String); 3] {
    let names = [
        "id",
        "object",
        "name",
        "created_at",
        "modified_at",
        "status",
        "amount",
        "currency",
        "emails",
        "payments",
        "assignee",
        "author",
        "integration",
        "linked_integration",
        "health",
        "models",
        "settings",
        "type",
        "description",
        "body",
        "subject",
        "is_unread",
        "last_sync",
        "run",
        "number",
        "memo",
        "pdf",
        "line_items",
        "quantity",
        "total_amount",
        "unit_amount",
        "attachments",
    ];
    let list = |one: &dyn Fn(usize) -> String| -> String {
        (0..64).map(one).collect::<Vec<_>>().join(",")
    };
    let deep = |n: usize| format!("**.{}.**.q{n}", names[n % 32]);
    let kinds = ["*.", "*.**.id.", "**.name."];
    let mixed = |n: usize| {
        let (first, second) = (kinds[n % 3], names[n / 2]);
        if n % 3 == 1 {
            format!("{first}{second}")
        } else {
            format!("{first}{second}.q")
        }
    };
    let words = |n: usize| {
        let word: Vec<_> = (0..3).map(|bit| ["*", "id"][n >> bit & 1]).collect();
        format!("{}.{}", word.join("."), names[n / 8])
    };
    let fields = format!("fields=*.*.*({})", names.join(","));
    [
        ("worst: deep", format!("strip={}", list(&deep))),
        ("worst: words", format!("fields={}", list(&words))),
        ("worst: both", format!("{fields}&strip={}", list(&mixed))),
    ]
}

// === The table ===

/// One row: a name, the work, and what its turns took.
type Row<'a> = (String, Box<dyn Fn() + 'a>, Vec<Duration>);

fn table() {
    println!("| body | work | GB/s | times `serde_json::Value` |");
    println!("|---|---|---:|---:|");
    let live = Freshness::default().live;
    for (size, bytes) in SIZES {
        let body = Bytes::from(call::call(bytes));
        let mut rows: Vec<Row<'_>> = Vec::new();
        let serde = || drop(black_box(strip_by_value(&body)));
        rows.push(("`serde_json::Value`".to_owned(), Box::new(serde), vec![]));
        let hostile = hostile();
        let views = VIEWS.into_iter();
        let worst = hostile.iter().map(|(name, query)| (*name, query.as_str()));
        for (name, query) in views.chain(worst) {
            let view = view_of(query);
            let body = &body;
            let work = move || drop(black_box(prune(black_box(body), &view)));
            rows.push((name.to_owned(), Box::new(work), vec![]));
        }
        let facts = || {
            black_box(facts::read(black_box(&body), &live));
        };
        rows.push(("facts".to_owned(), Box::new(facts), vec![]));
        let turns = (30_000_000 / bytes).clamp(7, 1_500);
        for _ in 0..turns {
            for (_, work, took) in &mut rows {
                let began = Instant::now();
                work();
                took.push(began.elapsed());
            }
        }
        // The median: what disturbs single turns does not count.
        let medians: Vec<_> = rows
            .iter_mut()
            .map(|(name, _, took)| {
                took.sort_unstable();
                (&*name, took[took.len() / 2].as_secs_f64())
            })
            .collect();
        for (name, seconds) in &medians {
            #[expect(clippy::cast_precision_loss, reason = "a body is of a few megabytes")]
            let rate = body.len() as f64 / seconds / 1e9;
            let ratio = medians[0].1 / seconds;
            println!("| {size} | {name} | {rate:.2} | {ratio:.1} |");
        }
    }
}

/// What `strip=invoices,**.linked_integration` says, by way of values.
fn strip_by_value(body: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(black_box(body)).expect("a call is JSON");
    let call = value.as_object_mut().expect("a call is an object");
    call.remove("invoices");
    strip_everywhere(&mut value, "linked_integration");
    serde_json::to_vec(&value).expect("a value can be written")
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

// === One by one ===

fn pruning(c: &mut Criterion) {
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
            b.iter(|| facts::read(black_box(&body), &live));
        });
        group.bench_function("serde_json strip", |b| b.iter(|| strip_by_value(&body)));
        group.finish();
    }
}

fn queries(c: &mut Criterion) {
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

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = pruning, queries
}

fn main() {
    if std::env::args().any(|argument| argument == "--table") {
        table();
    } else {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}
