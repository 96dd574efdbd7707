//! Rules and dashboard use only metrics that the program exports.

use serde_json::Value;

use super::queries::faults;
use super::rules::rules;
use super::{string, text};
use crate::demo::Demo;

/// Every expression of the dashboard, with the title of its panel.
pub(crate) fn dashboard() -> Vec<(String, String)> {
    fn walk(value: &Value, title: &str, expressions: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) => {
                let title = fields.get("title").and_then(Value::as_str).unwrap_or(title);
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("expr", Value::String(expression)) => {
                            expressions.push((title.to_owned(), expression.clone()));
                        }
                        _ => walk(value, title, expressions),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, title, expressions)),
            _ => {}
        }
    }
    let dashboard = text("grafana/stuut-cache.json");
    let dashboard = serde_json::from_str(&dashboard).expect("the dashboard is JSON");
    let mut expressions = Vec::new();
    walk(&dashboard, "", &mut expressions);
    expressions
}

#[tokio::test]
async fn rules_and_dashboard_use_only_exported_metrics() {
    let demo = Demo::start().await;
    let samples = demo.samples().await;
    let rules = rules();
    let recorded: Vec<_> = rules
        .iter()
        .filter_map(|rule| rule["record"].as_str())
        .collect();
    let mut expressions: Vec<_> = rules
        .iter()
        .map(|rule| {
            let name = rule["record"].as_str().or(rule["alert"].as_str());
            let name = name.expect("a rule has a name");
            (name.to_owned(), string(&rule["expr"]).to_owned())
        })
        .collect();
    expressions.extend(dashboard());
    assert!(expressions.len() > 60, "{} expressions", expressions.len());
    let faults: Vec<_> = expressions
        .iter()
        .flat_map(|(place, expression)| {
            let faults = faults(expression, &samples, &recorded);
            faults
                .into_iter()
                .map(move |fault| format!("{place}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn an_unknown_name_label_or_value_is_found() {
    let demo = Demo::start().await;
    let samples = demo.samples().await;
    for (expression, fault) in [
        (
            "stuut_cache_hits_total",
            "there is no stuut_cache_hits_total",
        ),
        (
            "stuut_cache_view_total{kind=\"x\"}",
            "stuut_cache_view_total has no label kind",
        ),
        (
            "stuut_cache_requests_total{outcome=~\"hit|hot\"}",
            "stuut_cache_requests_total has no outcome=^(?:hot)$",
        ),
        (
            "sum by (colour) (stuut_cache_connections)",
            "nothing has the label colour",
        ),
    ] {
        assert_eq!(faults(expression, &samples, &[]), [fault]);
    }
}
