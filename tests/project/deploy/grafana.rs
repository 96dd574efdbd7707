//! The dashboard of Grafana: its schema, its variables and its colours.

use std::fs::File;
use std::process::Stdio;

use serde_json::Value;
use stuut_cache::label::Label as _;
use stuut_cache::outcome::OutcomeLabel;

use super::names::dashboard;
use super::{deploy, list, string, text};
use crate::tools::{run, skip, tool};

/// Grafana's types (`grafana-foundation-sdk`) read the dashboard, and write it unchanged.
#[test]
fn the_dashboard_matches_grafanas_schema() {
    let Some(mut python) = tool("python3") else {
        return;
    };
    let import = python
        .args(["-c", "import grafana_foundation_sdk"])
        .output();
    if !import.expect("python3 runs").status.success() {
        skip("grafana-foundation-sdk is not installed; .ci/setup installs it");
        return;
    }
    let file = File::open(deploy("grafana/stuut-cache.json")).expect("a dashboard");
    let mut python = tool("python3").expect("it has run");
    run(python
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/project/deploy/grafana_schema.py"
        ))
        .stdin(Stdio::from(file)));
}

/// The tiles showed all instances whatever was selected, and nothing without the recording rules.
#[test]
fn every_panel_follows_the_selected_instance_and_needs_no_recording_rule() {
    for (panel, expression) in dashboard() {
        assert!(
            !expression.contains("stuut_cache:"),
            "{panel}: {expression}"
        );
        let selectors = expression.matches('{').count();
        let followed = expression.matches("instance=~\"$instance\"").count();
        let is_alert = expression.starts_with("ALERTS");
        assert!(followed == selectors || is_alert, "{panel}: {expression}");
    }
}

/// One colour for each outcome, that of the admin listener's dashboard (dark, like Grafana by default).
#[test]
fn panels_by_outcome_have_the_colours_of_the_dashboard() {
    let css = text("../src/admin/dashboard/dashboard.css");
    let (_, dark) = css
        .split_once("prefers-color-scheme: dark")
        .expect("colours");
    let colours: Vec<_> = OutcomeLabel::ALL
        .iter()
        .map(|outcome| {
            let outcome = outcome.as_str();
            let (_, rest) = dark
                .split_once(&format!("--{outcome}: "))
                .expect("a colour");
            let colour = rest.split(';').next().expect("a value");
            (outcome.to_owned(), colour.to_owned())
        })
        .collect();
    let dashboard = text("grafana/stuut-cache.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut by_outcome = 0;
    for panel in list(&dashboard["panels"]) {
        if !panel["targets"].to_string().contains("{{outcome}}") {
            continue;
        }
        by_outcome += 1;
        let overrides = list(&panel["fieldConfig"]["overrides"]).iter();
        let shown = overrides.map(|it| {
            let colour = &it["properties"][0]["value"]["fixedColor"];
            (
                string(&it["matcher"]["options"]).to_owned(),
                string(colour).to_owned(),
            )
        });
        assert_eq!(shown.collect::<Vec<_>>(), colours, "{}", panel["title"]);
    }
    assert_eq!(by_outcome, 3);
}
