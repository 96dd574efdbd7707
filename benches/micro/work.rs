//! The workloads: sizes of bodies, views, and their queries.

use std::hint::black_box;

use serde_json::Value;
use stuut_cache::config::Views;
use stuut_cache::view::{self, Options, View};

pub(crate) const SIZES: [(&str, usize); 4] = [
    ("4 KB", 4_000),
    ("40 KB", 40_000),
    ("400 KB", 400_000),
    ("4 MB", 4_000_000),
];

pub(crate) const VIEWS: [(&str, &str); 4] = [
    ("strip", "strip=invoices,**.linked_integration"),
    ("deep", "strip=**.linked_integration"),
    ("fields", "fields=id,status,partner(id,name)"),
    ("light", "view=light"),
];

pub(crate) fn options() -> Options {
    Options::new(&Views::default()).expect("the defaults are valid")
}

pub(crate) fn view_of(query: &str) -> View {
    let query = view::read_query(Some(query), &options()).expect("the query is valid");
    query.view.expect("the query has a view")
}

/// Queries that make parsing and pruning as expensive as the limits allow: all containers are
/// traversed, nearly every name is compared, nothing is removed.
pub(crate) fn hostile() -> [(&'static str, String); 3] {
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

/// `strip=invoices,**.linked_integration` on a `serde_json::Value`.
pub(crate) fn strip_by_value(body: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(black_box(body)).expect("a call is JSON");
    let call = value.as_object_mut().expect("a call is an object");
    call.remove("invoices");
    strip_everywhere(&mut value, "linked_integration");
    serde_json::to_vec(&value).expect("a value serialises")
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
