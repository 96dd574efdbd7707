//! Rules and alerts: sound in themselves, tested, and in the runbook.

use std::collections::BTreeSet;

use serde_json::Value;
use stuut_cache::label::Label as _;
use stuut_cache::outcome::Fault;

use super::tools::{content, tool};
use super::{deploy, list, string, text, yaml};

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
fn promtool_understands_configuration_and_rules() {
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    let said = content(
        promtool
            .args(["check", "config"])
            .arg(deploy("prometheus/prometheus.yml")),
    );
    assert!(said.contains("2 rule files found"), "{said}");
}

/// The stories of `alerts.test.yml`: each alert when it is due, and not before.
#[test]
fn alerts_go_off_when_they_should() {
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    content(
        promtool
            .args(["test", "rules"])
            .arg(deploy("prometheus/alerts.test.yml")),
    );
}

#[test]
fn every_alert_goes_off_in_a_story() {
    let stories = text("prometheus/alerts.test.yml");
    for alert in alerts() {
        let name = string(&alert["alert"]);
        let fires = format!("alertname=\"{name}\", alertstate=\"firing\"");
        assert!(stories.contains(&fires), "{name} has no story");
    }
}

#[test]
fn every_alert_says_how_urgent_it_is_and_what_is_wrong() {
    for alert in alerts() {
        let name = string(&alert["alert"]);
        let severity = string(&alert["labels"]["severity"]);
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        let said = &alert["annotations"];
        assert!(!string(&said["summary"]).is_empty() && !string(&said["description"]).is_empty());
        let anchor = format!("deploy/README.md#{}", name.to_lowercase());
        assert_eq!(said["runbook"], anchor, "{name}");
    }
}

/// Some results had no row.
#[test]
fn the_runbook_says_what_each_fault_of_a_fetch_means() {
    let runbook = text("README.md");
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
    let runbook = text("README.md");
    let told: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### StuutCache"))
        .map(|rest| format!("StuutCache{rest}"))
        .collect();
    let alerts = alerts();
    let there: BTreeSet<_> = alerts
        .iter()
        .map(|alert| string(&alert["alert"]).to_owned())
        .collect();
    assert_eq!(told, there);
}
