//! The objects that `kubectl apply -k` would apply, rendered by the real program and validated
//! against the schema of their kind.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::kubernetes::{manifest, resources};
use super::{deploy, list, string, text, yaml};
use crate::tools::{run, tool};

/// API group of the Prometheus operator.
const OPERATOR: &str = "monitoring.coreos.com/";

/// The objects of a folder with a `kustomization.yaml`; `None` if `kubectl` is not installed.
pub(crate) fn rendered(folder: &Path) -> Option<Vec<Value>> {
    let output = run(tool("kubectl")?.arg("kustomize").arg(folder));
    let object = |text| serde_saphyr::from_str(text).expect("kubectl writes YAML");
    Some(output.split("\n---\n").map(object).collect())
}

#[track_caller]
fn object<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let object = objects.iter().find(|object| object["kind"] == kind);
    object.unwrap_or_else(|| panic!("no {kind}"))
}

/// Validates objects of the Prometheus operator against its own definitions.
fn operator_check(objects: &[&Value]) -> Option<Command> {
    // Its command is installed with its library.
    let (Some(_), Some(mut python)) = (tool("cloudcoil-model-codegen"), tool("python3")) else {
        return None;
    };
    let file = tempfile::tempfile().expect("a temporary file");
    serde_json::to_writer(&file, objects).expect("the file is writable");
    std::io::Seek::rewind(&mut &file).expect("a file can be rewound");
    python
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/project/deploy/prometheus_operator.py"
        ))
        .stdin(Stdio::from(file));
    Some(python)
}

#[test]
fn every_object_matches_the_schema_of_its_kind() {
    // The resources, and the generated ConfigMaps; with the engine, three objects of `engine.yaml`.
    let all = resources().len() + 1;
    for (folder, count) in [("kubernetes", all), ("shared", all + 3 + 1)] {
        let Some(objects) = rendered(&deploy(folder)) else {
            return;
        };
        assert_eq!(objects.len(), count, "{folder}");
        assert_valid(&objects);
    }
}

#[test]
fn every_object_has_the_recommended_labels() {
    for folder in ["kubernetes", "shared"] {
        let Some(objects) = rendered(&deploy(folder)) else {
            return;
        };
        for object in &objects {
            let label = |name| &object["metadata"]["labels"][format!("app.kubernetes.io/{name}")];
            let name = string(label("name"));
            for (label_name, value) in [
                ("instance", "stuut-cache"),
                ("part-of", "stuut-cache"),
                ("managed-by", "kustomize"),
            ] {
                assert_eq!(label(label_name), value, "{object}");
            }
            // The engine has a version of its own.
            assert!(
                name == "stuut-cache-engine" || label("version") == env!("CARGO_PKG_VERSION"),
                "{object}"
            );
        }
        let deployment = object(&objects, "Deployment");
        let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(image, concat!("stuut-cache:", env!("CARGO_PKG_VERSION")));
    }
}

/// As `kustomize edit set image NAME=IMAGE@sha256:…` writes it.
#[test]
fn the_image_can_be_given_by_digest() {
    let copy = tempfile::tempdir().expect("a temporary folder");
    for file in fs::read_dir(deploy("kubernetes")).expect("a folder") {
        let file = file.expect("a file");
        fs::copy(file.path(), copy.path().join(file.file_name())).expect("a copy");
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    let kustomization = text("kubernetes/kustomization.yaml");
    let tag = concat!("newTag: ", env!("CARGO_PKG_VERSION"));
    let kustomization = kustomization.replace(tag, &format!("digest: {digest}"));
    fs::write(copy.path().join("kustomization.yaml"), kustomization).expect("a copy");
    let Some(objects) = rendered(copy.path()) else {
        return;
    };
    let deployment = object(&objects, "Deployment");
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(string(image), format!("stuut-cache@{digest}"));
}

#[track_caller]
fn assert_valid(objects: &[Value]) {
    let (operator, own): (Vec<_>, Vec<_>) = objects
        .iter()
        .partition(|object| string(&object["apiVersion"]).starts_with(OPERATOR));
    if let Some(mut validate) = tool("kubernetes-validate") {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // JSON is YAML.
        let documents: Vec<_> = own.iter().map(ToString::to_string).collect();
        let file = folder.path().join("rendered.yaml");
        fs::write(&file, documents.join("\n---\n")).expect("a temporary file");
        let output = run(validate.arg("--strict").arg(file));
        assert_eq!(output.matches(" passed ").count(), own.len(), "{output}");
    }
    if let Some(mut check) = operator_check(&operator) {
        let output = run(&mut check);
        assert_eq!(
            output.matches(" passed").count(),
            operator.len(),
            "{output}"
        );
    }
}

/// Those of Envoy Gateway have no schema here.
#[test]
fn manifests_of_balancers_send_to_the_service() {
    let service = manifest("service");
    let ingress = yaml("balancers/kubernetes-ingress.yaml");
    let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    let gateway = text("balancers/kubernetes-gateway.yaml");
    let gateway = gateway.split("\n---\n").map(|text| {
        let object: Value = serde_saphyr::from_str(text).expect("the manifest is YAML");
        object
    });
    let [route, policy]: [Value; 2] = gateway.collect::<Vec<_>>().try_into().expect("two objects");
    let routed = &route["spec"]["rules"][0]["backendRefs"][0];
    let port = &service["spec"]["ports"][0];
    assert_eq!(backend["port"]["name"], port["name"]);
    assert_eq!(routed["port"], port["port"]);
    for name in [&backend["name"], &routed["name"]] {
        assert_eq!(name, &service["metadata"]["name"]);
    }
    let target = &policy["spec"]["targetRefs"][0];
    assert_eq!(target["kind"], route["kind"]);
    assert_eq!(target["name"], route["metadata"]["name"]);
    for object in [&ingress, &route, &policy] {
        let namespace = manifest("kustomization")["namespace"].clone();
        assert_eq!(object["metadata"]["namespace"], namespace);
    }
    if let Some(mut validate) = tool("kubernetes-validate") {
        let file = deploy("balancers/kubernetes-ingress.yaml");
        run(validate.arg("--strict").arg(file));
    }
}

#[test]
fn objects_reference_only_applied_objects() {
    let Some(objects) = rendered(&deploy("kubernetes")) else {
        return;
    };
    let kustomization = manifest("kustomization");
    let namespace = &object(&objects, "Namespace")["metadata"]["name"];
    for object in objects
        .iter()
        .filter(|object| object["kind"] != "Namespace")
    {
        assert_eq!(&object["metadata"]["namespace"], namespace, "{object}");
    }

    let deployment = object(&objects, "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let image = &kustomization["images"][0];
    let image = format!("{}:{}", string(&image["newName"]), string(&image["newTag"]));
    assert_eq!(pod["containers"][0]["image"], image);

    // Its name has a hash of the content: a changed configuration triggers a rollout.
    let config = object(&objects, "ConfigMap");
    let name = string(&config["metadata"]["name"]);
    let base = string(&kustomization["configMapGenerator"][0]["name"]);
    assert!(name.len() > base.len() && name.starts_with(base), "{name}");
    let mounts = |volume: &Value| volume["configMap"]["name"] == name;
    assert!(list(&pod["volumes"]).iter().any(mounts), "{pod}");
    assert_eq!(
        config["data"]["stuut-cache.toml"],
        text("kubernetes/stuut-cache.toml")
    );
}

#[test]
fn a_misspelt_field_is_found_in_every_kind_of_object() {
    let broken = |name, right, wrong| {
        let text = manifest(name).to_string();
        assert!(text.contains(right), "{text}");
        serde_json::from_str(&text.replace(right, wrong)).expect("still JSON")
    };
    let broken: [Value; 4] = [
        broken("servicemonitor", "jobLabel", "jobLable"),
        broken("servicemonitor", "\"15s\"", "\"15\""),
        broken("prometheusrule", "\"expr\"", "\"expression\""),
        broken("prometheusrule", "\"10m\"", "\"ten minutes\""),
    ];
    if let Some(mut check) = operator_check(&broken.each_ref()) {
        let output = check.output().expect("the program runs");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success(), "{stdout}");
        assert_eq!(stdout.matches(" validation error").count(), broken.len());
        assert!(!stdout.contains("passed"), "{stdout}");
    }

    let Some(mut kubectl) = tool("kubectl") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broken = text("kubernetes/kustomization.yaml").replace("resources:", "resource:");
    fs::write(folder.path().join("kustomization.yaml"), broken).expect("a temporary file");
    let output = kubectl.arg("kustomize").arg(folder.path()).output();
    let output = output.expect("the program runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{stderr}");
    // Releases quote it differently.
    let names = stderr.contains("unknown field") && stderr.contains("resource");
    assert!(names, "{stderr}");
}
