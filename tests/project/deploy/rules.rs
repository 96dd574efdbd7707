//! Rules and alerts: valid, tested, and in the runbook.

use std::collections::BTreeSet;

use serde_json::Value;
use stuut_cache::label::Label as _;
use stuut_cache::outcome::Fault;

use super::{deploy, list, string, text, yaml};
use crate::tools::{run, tool};

/// The rules of both files.
pub(crate) fn rules() -> Vec<Value> {
    ["recording.rules.yml", "alerts.rules.yml"]
        .iter()
        .flat_map(|file| {
            let file = yaml(&format!("prometheus/{file}"));
            list(&file["groups"])
                .iter()
                .flat_map(|group| list(&group["rules"]).to_vec())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn alerts() -> Vec<Value> {
    let is_alert = |rule: &Value| rule["alert"].is_string();
    rules().into_iter().filter(is_alert).collect()
}

#[test]
fn promtool_accepts_configuration_and_rules() {
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    let output = run(promtool
        .args(["check", "config"])
        .arg(deploy("prometheus/prometheus.yml")));
    assert!(output.contains("2 rule files found"), "{output}");
}

/// The cases of `alerts.test.yml`.
#[test]
fn alerts_fire_when_they_should() {
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    run(promtool
        .args(["test", "rules"])
        .arg(deploy("prometheus/alerts.test.yml")));
}

#[test]
fn every_alert_fires_in_a_test_case() {
    let cases = text("prometheus/alerts.test.yml");
    for alert in alerts() {
        let name = string(&alert["alert"]);
        let fires = format!("alertname=\"{name}\", alertstate=\"firing\"");
        assert!(cases.contains(&fires), "{name} has no test case");
    }
}

#[test]
fn every_alert_has_a_severity_a_description_and_a_runbook() {
    for alert in alerts() {
        let name = string(&alert["alert"]);
        let severity = string(&alert["labels"]["severity"]);
        let severities = ["critical", "warning", "info"];
        assert!(severities.contains(&severity), "{name}: {severity}");
        let texts = &alert["annotations"];
        assert!(!string(&texts["summary"]).is_empty() && !string(&texts["description"]).is_empty());
        let page = "https://example.com/stuut-cache/docs/runbook.md";
        let anchor = format!("{page}#{}", name.to_lowercase());
        assert_eq!(texts["runbook_url"], anchor, "{name}");
    }
}

#[test]
fn the_runbook_explains_every_error_of_a_fetch() {
    let runbook = text("../docs/runbook.md");
    let rows: Vec<_> = runbook
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for fault in Fault::ALL {
        let name = format!("`{}`", fault.as_str());
        assert!(rows.iter().any(|row| row.contains(&name)), "{name}");
    }
}

#[test]
fn the_runbook_has_every_alert_and_no_other() {
    let runbook = text("../docs/runbook.md");
    let explained: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## StuutCache"))
        .map(|rest| format!("StuutCache{rest}"))
        .collect();
    let alerts = alerts();
    let names: BTreeSet<_> = alerts
        .iter()
        .map(|alert| string(&alert["alert"]).to_owned())
        .collect();
    assert_eq!(explained, names);
}
