//! A real Prometheus, with the rules of `deploy/`, scrapes the real program.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use stuut_simulator::demo::{CALL, TOKEN};

use super::names::dashboard;
use super::{deploy, list, string, text};
use crate::demo::{Demo, fetch, get, wait_for};
use crate::tools::tool;

/// A running Prometheus; killed when dropped.
struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// With the configuration of `deploy/`, except for target and interval.
    fn scraping(command: Command, admin: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = text("prometheus/prometheus.yml")
            .replace("15s", "250ms")
            .replace("stuut-cache:9090", admin);
        for rules in ["recording.rules.yml", "alerts.rules.yml"] {
            let from = deploy("prometheus").join(rules);
            fs::copy(from, folder.path().join(rules)).expect("a temporary file");
        }
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("a temporary file");
        let (child, address) = Self::spawn(command, &file, &folder.path().join("data"));
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    fn spawn(mut command: Command, config: &Path, data: &Path) -> (Child, String) {
        let mut child = command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut log = Vec::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            // … msg="Listening on" address=127.0.0.1:40123
            let address = line
                .split_once("\"Listening on\" address=")
                .and_then(|(_, rest)| rest.split_whitespace().next())
                .map(str::to_owned);
            log.push(line);
            address
        });
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.unwrap_or_else(|| panic!("it does not start:\n{}", log.join("\n")));
        (child, address)
    }

    async fn api(&self, path: &str) -> Value {
        let response = get(&format!("http://{}/api/v1/{path}", self.address)).await;
        let response: Value = serde_json::from_str(&response).expect("JSON");
        assert_eq!(response["status"], "success", "{response}");
        response["data"].clone()
    }

    /// The first value of an expression, once there is one.
    async fn value(&self, expression: &str) -> Option<f64> {
        let mut query = String::new();
        for byte in expression.bytes() {
            write!(query, "%{byte:02x}").expect("writing to a string cannot fail");
        }
        let data = self.api(&format!("query?query={query}")).await;
        let first = list(&data["result"]).first()?;
        Some(string(&first["value"][1]).parse().expect("a number"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn every_rule_and_panel_has_a_value_in_prometheus() {
    let Some(command) = tool("prometheus") else {
        return;
    };
    let demo = Demo::start().await;
    let prometheus = Prometheus::scraping(command, &demo.admin);

    wait_for("a Prometheus that is ready", async || {
        let ready = format!("http://{}/-/ready", prometheus.address);
        fetch(&ready, None).await.0.is_success().then_some(())
    })
    .await;

    // Prometheus has the value that the program exports.
    let hits = "stuut_cache_requests_total{outcome=\"hit\"}";
    wait_for("a sample", async || prometheus.value(hits).await).await;
    let url = format!("http://{}/v1/calls/{CALL}", demo.proxy);
    for _ in 0..10 {
        let (status, body) = fetch(&url, Some(TOKEN)).await;
        assert!(status.is_success(), "{status}: {body}");
    }
    let page = demo.admin("/metrics").await;
    let line = page
        .lines()
        .find(|line| line.starts_with("stuut_cache_requests_total") && line.contains("\"hit\""));
    let exported = line.and_then(|line| line.rsplit_once(' ')).expect("hits").1;
    let exported: f64 = exported.parse().expect("a number");
    assert!(exported >= 10.0, "{page}");
    wait_for("the same count", async || {
        let value = prometheus.value(hits).await;
        value.filter(|value| *value >= exported)
    })
    .await;

    // It scrapes OpenMetrics, and keeps the exemplars of the demo's misses.
    let query =
        "query_exemplars?start=0&end=9999999999&query=stuut_cache_request_duration_seconds_bucket";
    wait_for("an exemplar", async || {
        let series = prometheus.api(query).await;
        let exemplar = &list(&series).first()?["exemplars"][0];
        exemplar["labels"]["request_id"].as_str().map(drop)
    })
    .await;

    let ratio = wait_for("a hit ratio", async || {
        let ratio = prometheus.value("stuut_cache:hit_ratio:rate5m").await;
        ratio.filter(|ratio| *ratio > 0.0)
    })
    .await;
    assert!(ratio <= 1.0, "{ratio}");

    wait_for("rules that are all evaluated", async || {
        let data = prometheus.api("rules").await;
        let mut rules = list(&data["groups"])
            .iter()
            .flat_map(|group| list(&group["rules"]));
        rules.all(|rule| rule["health"] == "ok").then_some(())
    })
    .await;
    let data = prometheus.api("alerts").await;
    assert_eq!(data["alerts"], Value::Array(Vec::new()), "no alerts");

    for (panel, expression) in dashboard() {
        let expression = expression
            .replace("$job", ".*")
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        // Some have no value while nothing happens.
        let may_be_empty = expression.ends_with("> 0") || expression.starts_with("ALERTS");
        let value = prometheus.value(&expression).await;
        assert!(value.is_some() || may_be_empty, "{panel}: {expression}");
    }

    drop(demo);
    wait_for("an alert", async || {
        let data = prometheus.api("alerts").await;
        let down = |alert: &Value| alert["labels"]["alertname"] == "StuutCacheDown";
        list(&data["alerts"]).iter().any(down).then_some(())
    })
    .await;
}
