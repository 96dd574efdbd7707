//! The image and the compose file.

use std::path::Path;
use std::process::Command;

use super::tools::{content, tool};
use super::{deploy, list, string, text, yaml};

#[test]
fn hadolint_has_nothing_to_say_about_the_dockerfile() {
    let Some(mut hadolint) = tool("hadolint") else {
        return;
    };
    let said = content(hadolint.arg(deploy("docker/Dockerfile")));
    assert_eq!(said, "");
}

#[test]
fn the_image_is_built_with_the_compiler_that_the_package_asks_for() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    let first = format!("FROM rust:{version}-slim-bookworm AS build");
    assert!(text("docker/Dockerfile").lines().any(|line| line == first));
}

/// `gcr.io/distroless/cc-debian12` has the C library and libgcc, and nothing that links to more
/// would start there.
#[test]
fn the_program_needs_no_library_that_the_image_lacks() {
    let Some(mut ldd) = tool("ldd") else {
        return;
    };
    let said = content(ldd.arg(env!("CARGO_BIN_EXE_stuut-cache")));
    let has = [
        "linux-vdso",
        "libgcc_s",
        "libc.",
        "libm.",
        "libdl.",
        "libpthread.",
        "librt.",
        "ld-linux",
    ];
    for line in said.lines() {
        let known = has.iter().any(|library| line.contains(library));
        assert!(known, "the image has no {line}");
    }
}

#[test]
fn the_compose_file_is_one() {
    let Some(mut check) = tool("check-jsonschema") else {
        return;
    };
    content(
        check
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(deploy("docker/compose.yaml")),
    );
}

#[test]
fn what_the_compose_file_mounts_and_builds_is_there() {
    let compose = yaml("docker/compose.yaml");
    let folder = deploy("docker");
    for service in ["prometheus", "grafana"] {
        for volume in list(&compose["services"][service]["volumes"]) {
            let (from, _) = string(volume).split_once(':').expect("from:to");
            let own = Path::new(from).extension().is_none() && !from.starts_with('.');
            assert!(own || folder.join(from).exists(), "{from} is not there");
        }
    }
    let build = &compose["services"]["stuut-cache"]["build"];
    let context = folder.join(string(&build["context"]));
    assert!(context.join(string(&build["dockerfile"])).is_file());
    let port = string(&list(&compose["services"]["stuut-cache"]["ports"])[1]);
    assert_eq!(port, "127.0.0.1:9090:9090");
    // What Prometheus scrapes is that service, on that port.
    let scrapes = &yaml("prometheus/prometheus.yml")["scrape_configs"];
    let target = &list(scrapes)[0]["static_configs"][0]["targets"][0];
    assert_eq!(target, "stuut-cache:9090");
}

#[test]
fn the_commands_of_image_and_compose_file_exist() {
    let compose = yaml("docker/compose.yaml");
    let simulate: Vec<_> = list(&compose["services"]["simulate"]["command"])
        .iter()
        .map(string)
        .collect();
    assert_eq!(simulate[0], "simulate");
    let dockerfile = text("docker/Dockerfile");
    for command in ["serve", "simulate", "healthcheck"] {
        assert!(command == "simulate" || dockerfile.contains(&format!("\"{command}\"")));
        content(Command::new(env!("CARGO_BIN_EXE_stuut-cache")).args([command, "--help"]));
    }
}
