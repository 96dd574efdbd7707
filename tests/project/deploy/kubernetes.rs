//! The Kubernetes manifests are consistent with each other and with the program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;
use stuut_cache::config::{Document, ScopeKey, read};

use super::{deploy, list, string, text, yaml};
use crate::demo::Demo;
use crate::tools::run;

pub(crate) fn manifest(name: &str) -> Value {
    yaml(&format!("kubernetes/{name}.yaml"))
}

fn pod() -> Value {
    manifest("deployment")["spec"]["template"].clone()
}

/// The resources in `kustomization.yaml`.
pub(crate) fn resources() -> Vec<String> {
    let kustomization = yaml("kubernetes/kustomization.yaml");
    let resources = list(&kustomization["resources"]);
    resources
        .iter()
        .map(|name| string(name).to_owned())
        .collect()
}

#[test]
fn every_manifest_is_applied() {
    let mut files: Vec<_> = fs::read_dir(deploy("kubernetes"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .filter(|name| name != "kustomization.yaml")
        .collect();
    let mut applied = resources();
    files.sort();
    applied.sort();
    assert_eq!(applied, files);
}

#[test]
fn the_pod_mounts_the_configuration_that_is_generated() {
    let kustomization = manifest("kustomization");
    let generated = list(&kustomization["configMapGenerator"]);
    let [config] = generated else {
        panic!("expected one map, found {generated:?}");
    };
    let pod = pod();
    let volumes = list(&pod["spec"]["volumes"]);
    let mounts = |volume: &Value| volume["configMap"]["name"] == config["name"];
    assert!(volumes.iter().any(mounts), "{volumes:?}");
    for file in list(&config["files"]) {
        assert!(!text(&format!("kubernetes/{}", string(file))).is_empty());
    }
}

#[test]
fn all_manifests_select_the_same_pods() {
    let labels = &pod()["metadata"]["labels"];
    for (name, selector) in [
        ("deployment", "/spec/selector/matchLabels"),
        ("service", "/spec/selector"),
        ("service-admin", "/spec/selector"),
        ("poddisruptionbudget", "/spec/selector/matchLabels"),
        ("networkpolicy", "/spec/podSelector/matchLabels"),
    ] {
        assert_eq!(manifest(name).pointer(selector), Some(labels), "{name}");
    }
    for spread in list(&pod()["spec"]["topologySpreadConstraints"]) {
        assert_eq!(&spread["labelSelector"]["matchLabels"], labels);
    }
    let deployment = manifest("deployment");
    let scaled = &manifest("horizontalpodautoscaler")["spec"]["scaleTargetRef"];
    assert_eq!(scaled["name"], deployment["metadata"]["name"]);
    assert_eq!(scaled["kind"], deployment["kind"]);
    assert_eq!(scaled["apiVersion"], deployment["apiVersion"]);
}

#[test]
fn ports_are_referenced_by_existing_names() {
    let pod = pod();
    let container = &pod["spec"]["containers"][0];
    let ports: Vec<_> = list(&container["ports"])
        .iter()
        .map(|port| string(&port["name"]))
        .collect();
    let service = manifest("service-admin");
    for service in [&service, &manifest("service")] {
        for port in list(&service["spec"]["ports"]) {
            assert!(ports.contains(&string(&port["targetPort"])));
        }
    }
    let policy = manifest("networkpolicy");
    for rule in list(&policy["spec"]["ingress"]) {
        assert!(ports.contains(&string(&rule["ports"][0]["port"])));
    }
    let monitor = manifest("servicemonitor");
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"],
        service["metadata"]["labels"]
    );
    let endpoint = &monitor["spec"]["endpoints"][0];
    let named = |port: &Value| port["name"] == endpoint["port"];
    assert!(list(&service["spec"]["ports"]).iter().any(named));
    // The label whose value becomes the job, which the alerts select.
    let label = string(&monitor["spec"]["jobLabel"]);
    assert_eq!(service["metadata"]["labels"][label], "stuut-cache");
}

/// A fixed number would undo the autoscaler's; a request to the admin listener is for one pod.
#[test]
fn pods_are_scaled_and_watched_one_by_one() {
    assert_eq!(manifest("deployment")["spec"]["replicas"], Value::Null);
    let admin = &manifest("service-admin")["spec"];
    assert_eq!(admin["clusterIP"], "None");
    assert_eq!(admin["publishNotReadyAddresses"], true);
    let probe = &pod()["spec"]["containers"][0]["readinessProbe"];
    let failures = probe["failureThreshold"].as_u64();
    assert!(failures.is_some_and(|failures| failures > 1), "{probe}");
}

#[test]
fn names_and_the_origin_are_reached_at_every_kind_of_address() {
    let policy = manifest("networkpolicy");
    let rules = list(&policy["spec"]["egress"]);
    let of = |port: u64| rules.iter().find(|rule| rule["ports"][0]["port"] == port);
    assert_eq!(of(53).expect("a rule")["to"], Value::Null);
    let blocks = list(&of(443).expect("a rule")["to"]);
    let blocks: Vec<_> = blocks
        .iter()
        .map(|to| string(&to["ipBlock"]["cidr"]))
        .collect();
    assert_eq!(blocks, ["0.0.0.0/0", "::/0"]);
    assert!(of(4318).is_some(), "the collector");
}

#[tokio::test]
async fn probes_use_paths_of_the_admin_listener() {
    let demo = Demo::start().await;
    let pod = pod();
    let container = &pod["spec"]["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let request = &container[probe]["httpGet"];
        assert_eq!(request["port"], "admin", "{probe}");
        demo.admin(string(&request["path"])).await;
    }
    let monitor = manifest("servicemonitor");
    demo.admin(string(&monitor["spec"]["endpoints"][0]["path"]))
        .await;
}

#[test]
fn the_pod_has_the_resources_that_its_configuration_needs() {
    let settings = text("kubernetes/stuut-cache.toml");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let token = folder.path().join("token");
    fs::write(&token, "a-token-of-a-test\n").expect("a temporary file");
    let token = token.to_string_lossy().into_owned();
    let key = folder.path().join("scope-key");
    fs::write(&key, ScopeKey::random().hex()).expect("a temporary file");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    run(Command::new(env!("CARGO_BIN_EXE_stuut-cache"))
        .args(["check", "--config"])
        .arg(deploy("kubernetes/stuut-cache.toml"))
        .env("STUUT_CACHE__ADMIN__TOKEN_FILE", &token)
        .env("STUUT_CACHE__SCOPE__KEY_FILE", &key));
    let document = Document {
        name: "stuut-cache.toml",
        text: &settings,
    };
    let variables = [("STUUT_CACHE__ADMIN__TOKEN_FILE".to_owned(), token)];
    let loaded = read(Some(document), &variables, &[]).finish();
    let config = loaded.expect("checked above").config;
    let pod = pod();
    let container = &pod["spec"]["containers"][0];

    let ports = [config.server.listen.port(), config.admin.listen.port()];
    for (port, configured) in list(&container["ports"]).iter().zip(ports) {
        assert_eq!(port["containerPort"], configured);
    }
    let limit = string(&container["resources"]["limits"]["memory"]);
    let limit: u64 = limit
        .strip_suffix("Mi")
        .and_then(|limit| limit.parse().ok())
        .expect("a limit in Mi");
    // The formula of docs/operations.md.
    let (server, limits) = (&config.server, &config.limits);
    let connections = server.max_connections as u64 * ((24 << 10) + limits.header_bytes.0);
    let slots = limits.in_flight + limits.streams + limits.uploads;
    let origin = slots as u64 * (96 << 10);
    let store = config.cache.capacity.0 * 115 / 100;
    let needs = store + limits.in_transit.0 * 9 / 8 + connections + origin + (40 << 20);
    assert!(limit << 20 > needs, "{limit}Mi for {needs} bytes");
    let stop = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
    assert!(grace > stop.map(|stop| stop + config.server.drain_timeout.as_secs()));

    let mounts = list(&container["volumeMounts"]);
    let at = |path: &str| mounts.iter().any(|mount| mount["mountPath"] == path);
    // The secret, with the names that kustomization.yaml gives its values.
    for (key, name) in [("token_file", "token"), ("key_file", "scope-key")] {
        assert!(settings.contains(&format!("{key} = \"/run/secrets/stuut-cache/{name}\"")));
        let created = format!("--from-literal={name}=");
        assert!(text("kubernetes/kustomization.yaml").contains(&created));
        assert!(text("../docs/deployment.md").contains(&created));
    }
    assert!(at("/run/secrets/stuut-cache"));
    let args: Vec<_> = list(&container["args"]).iter().map(string).collect();
    assert!(at("/etc/stuut-cache"));
    assert_eq!(
        args,
        ["serve", "--config", "/etc/stuut-cache/stuut-cache.toml"]
    );
}

/// In a pod, a command has the image with its environment, and the mounted volumes.
#[tokio::test]
async fn the_purge_of_the_runbook_works_in_the_pod() {
    let demo = Demo::start().await;
    let runbook = text("../docs/deployment.md");
    let line = runbook
        .lines()
        .find(|line| line.contains("kubectl") && line.contains(" purge "));
    let (outside, inside) = line
        .and_then(|line| line.split_once(" -- "))
        .expect("a purge");
    let namespace = manifest("kustomization")["namespace"].clone();
    assert!(outside.contains(&format!("-n {} exec", string(&namespace))));
    let name = &pod()["metadata"]["labels"]["app.kubernetes.io/name"];
    let pods = format!("get pods -l app.kubernetes.io/name={} ", string(name));
    assert!(runbook.contains(&pods), "{pods}");

    let mut words = inside.split(' ');
    let program = words.next().expect("a program");
    let dockerfile = text("docker/Dockerfile");
    assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{program}\"]")));
    let words: Vec<_> = words.collect();
    let [arguments @ .., "--token-file", file] = words.as_slice() else {
        panic!("no token file: {words:?}");
    };
    assert!(text("kubernetes/stuut-cache.toml").contains(&format!("token_file = \"{file}\"")));
    let token = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(token.path(), "a-token-of-a-test\n").expect("a temporary file");

    let (_, port) = demo.admin.split_once(':').expect("a port");
    let listens = "STUUT_CACHE__ADMIN__LISTEN";
    assert!(dockerfile.contains(&format!("{listens}=0.0.0.0:9090")));
    let output = run(Command::new(env!("CARGO_BIN_EXE_stuut-cache"))
        .args(arguments)
        .arg("--token-file")
        .arg(token.path())
        .env(listens, format!("0.0.0.0:{port}")));
    assert!(
        output.starts_with("invalidated: call=CALL_ID (stored: 0, in flight: 0)\n"),
        "{output}"
    );
}

/// The Prometheus operator reads rules from a manifest.
///
/// `UPDATE=1 cargo test --test project deploy` regenerates it.
#[test]
fn the_prometheus_operator_gets_the_same_rules() {
    use std::fmt::Write as _;

    let mut generated = String::from(
        "# The rules of ../prometheus, for the Prometheus operator.\n\
         # Generated by: UPDATE=1 cargo test --test project deploy\n\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  \
         name: stuut-cache\n  labels:\n    app.kubernetes.io/name: stuut-cache\nspec:\n  groups:\n",
    );
    for file in ["recording.rules.yml", "alerts.rules.yml"] {
        let rules = text(&format!("prometheus/{file}"));
        let (_, groups) = rules.split_once("groups:\n").expect("groups");
        for line in groups.lines() {
            let indented = format!("  {line}");
            writeln!(generated, "{}", indented.trim_end())
                .expect("writing to a string cannot fail");
        }
    }
    let path = deploy("kubernetes/prometheusrule.yaml");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, generated).expect("the manifest is writable");
        return;
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        committed, generated,
        "run UPDATE=1 cargo test --test project deploy"
    );
}
