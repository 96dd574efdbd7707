//! The shape of generated calls, compared with `schema.txt`: the paths of a call and their types.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::call;
use crate::call_context::CallContext;
use crate::call_id::CallId;
use crate::lifecycle::{Events, Lifecycle};
use crate::time::Signature;

/// One path and its type per line.
const SCHEMA: &str = include_str!("schema.txt");

fn schema() -> BTreeMap<&'static str, &'static str> {
    SCHEMA
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("a line is a path and a type"))
        .collect()
}

fn document(id: &str) -> Value {
    let now = Timestamp::from_second(1_790_000_000).expect("the second is in range");
    let id = CallId::parse(id).expect("a test's id is well formed");
    let context = CallContext {
        organisation: id.organisation.clone(),
        started: now,
        signature: Signature::at(now, now, std::time::Duration::from_mins(15)),
    };
    let phase = Lifecycle::of(&id, now, Events::default())
        .and_then(|lifecycle| lifecycle.at(now))
        .expect("a test's call is created");
    call::document(&context, &id, &phase)
}

/// Whether `value` is of the type `wanted`.
fn fits(value: &Value, wanted: &str) -> bool {
    if value.is_null() && (wanted.ends_with('?') || wanted == "null" || wanted == "any") {
        return true;
    }
    match wanted.trim_end_matches('?') {
        "any" | "null" => true,
        "string" | "enum" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" | "free-object" => value.is_object(),
        "time" => value
            .as_str()
            .is_some_and(|text| text.parse::<Timestamp>().is_ok()),
        "date" => value
            .as_str()
            .is_some_and(|text| text.parse::<jiff::civil::Date>().is_ok()),
        closed => value.as_str().is_some_and(|text| {
            closed
                .trim_start_matches("enum(")
                .trim_end_matches(')')
                .split('|')
                .any(|member| member == text)
        }),
    }
}

/// Walks `value` at `path`; records every path in it, with the fault where it does not fit.
fn walk(
    path: &str,
    value: &Value,
    schema: &BTreeMap<&str, &str>,
    paths: &mut BTreeMap<String, Option<String>>,
) {
    let wanted = schema.get(path).copied();
    if !path.is_empty() {
        let fault = match wanted {
            None => Some("unknown path".to_owned()),
            Some(wanted) if fits(value, wanted) => None,
            Some(wanted) => Some(format!("{value} is not {wanted}")),
        };
        paths.insert(path.to_owned(), fault);
    }
    match value {
        Value::Object(members)
            if path.is_empty() || wanted.is_some_and(|w| w.starts_with("object")) =>
        {
            for (name, member) in members {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(&below, member, schema, paths);
            }
        }
        Value::Array(elements) if schema.contains_key(format!("{path}[]").as_str()) => {
            for element in elements {
                walk(&format!("{path}[]"), element, schema, paths);
            }
        }
        _ => {}
    }
}

fn faults(id: &str) -> (Vec<String>, Vec<String>) {
    let schema = schema();
    let mut paths = BTreeMap::new();
    walk("", &document(id), &schema, &mut paths);
    let missing = schema
        .keys()
        .filter(|path| !paths.contains_key(**path))
        .map(|path| (*path).to_owned())
        .collect();
    let wrong = paths
        .into_iter()
        .filter_map(|(path, fault)| Some(format!("{path}: {}", fault?)))
        .collect();
    (missing, wrong)
}

#[test]
fn a_completed_call_has_exactly_the_paths_of_the_schema() {
    for id in [
        "call_acme_0001",
        "call_globex_0001",
        "call_large_initech_0003",
    ] {
        let (missing, wrong) = faults(id);
        assert_eq!((missing, wrong), (vec![], vec![]), "{id}");
    }
}

#[test]
fn every_call_has_the_types_of_the_schema() {
    for number in (1..=40).filter(|number| number % 10 != 8) {
        let (_, wrong) = faults(&format!("call_acme_{number:04}"));
        assert_eq!(wrong, Vec::<String>::new(), "call_acme_{number:04}");
    }
}

/// Adds the paths under `value` that are not null.
fn present(path: &str, value: &Value, found: &mut std::collections::BTreeSet<String>) {
    if value.is_null() {
        return;
    }
    found.insert(path.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                present(&format!("{path}.{name}"), member, found);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                present(&format!("{path}[]"), element, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_path_has_a_value_in_some_call() {
    let mut found = std::collections::BTreeSet::new();
    for organisation in ["acme", "globex"] {
        for number in (1..=99).filter(|number| number % 10 != 8) {
            let id = format!("call_{organisation}_{number:04}");
            present("", &document(&id), &mut found);
        }
    }
    let never = schema().into_iter();
    let never =
        never.filter(|(path, kind)| *kind != "null" && !found.contains(&format!(".{path}")));
    assert_eq!(never.collect::<Vec<_>>(), []);
}

#[test]
fn a_call_has_the_same_members_in_every_status() {
    let names = |id: &str| -> Vec<String> {
        let document = document(id);
        let members = document.as_object().expect("a call is an object");
        members.keys().cloned().collect()
    };
    let whole = names("call_acme_0001");
    for id in [
        "call_small_acme_0001",
        "call_busy_acme_0001",
        "call_pending_acme_0001",
    ] {
        assert_eq!(names(id), whole, "{id}");
    }
}

#[test]
fn values_without_a_type_vary() {
    let mut kinds = std::collections::BTreeSet::new();
    for number in (11..=400).filter(|number| number % 10 < 6 && number % 10 > 0) {
        let document = document(&format!("call_acme_{number:04}"));
        kinds.insert(match document["partner"]["remote_metadata"] {
            Value::Null => "null",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            _ => "other",
        });
    }
    assert_eq!(Vec::from_iter(kinds), ["array", "null", "object", "string"]);
}

#[test]
fn calls_have_the_documented_sizes() {
    let size = |id: &str| document(id).to_string().len();
    let kilobytes = [
        ("call_small_acme_0001", 3_000..=6_000),
        ("call_acme_0001", 34_000..=46_000),
        ("call_globex_0001", 34_000..=46_000),
        ("call_large_acme_0001", 340_000..=460_000),
    ];
    for (id, range) in kilobytes {
        let size = size(id);
        assert!(range.contains(&size), "{id} has {size} bytes");
    }
}
