//! The image and the compose file.

use std::path::Path;
use std::process::Command;

use super::{deploy, list, string, text, yaml};
use crate::tools::{run, tool};

#[test]
fn hadolint_accepts_the_dockerfile() {
    let Some(mut hadolint) = tool("hadolint") else {
        return;
    };
    let output = run(hadolint.arg(deploy("docker/Dockerfile")));
    assert_eq!(output, "");
}

#[test]
fn the_image_is_built_with_the_packages_rust_version() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    let first = format!("FROM rust:{version}-slim-bookworm AS build");
    assert!(text("docker/Dockerfile").lines().any(|line| line == first));
}

/// `gcr.io/distroless/cc-debian12` has only the C library and libgcc; a program that links to more
/// would not start there.
#[test]
fn the_program_needs_no_library_that_the_image_lacks() {
    let Some(mut ldd) = tool("ldd") else {
        return;
    };
    let output = run(ldd.arg(env!("CARGO_BIN_EXE_stuut-cache")));
    let available = [
        "linux-vdso",
        "libgcc_s",
        "libc.",
        "libm.",
        "libdl.",
        "libpthread.",
        "librt.",
        "ld-linux",
    ];
    for line in output.lines() {
        let is_available = available.iter().any(|library| line.contains(library));
        assert!(is_available, "the image has no {line}");
    }
}

#[test]
fn the_compose_files_match_their_schema() {
    let Some(mut check) = tool("check-jsonschema") else {
        return;
    };
    run(check
        .args(["--builtin-schema", "vendor.compose-spec"])
        .arg(deploy("docker/compose.yaml"))
        .arg(deploy("mocking/compose.yaml")));
}

#[test]
fn the_compose_file_mounts_and_builds_files_that_exist() {
    let compose = yaml("docker/compose.yaml");
    let folder = deploy("docker");
    for service in ["prometheus", "grafana"] {
        for volume in list(&compose["services"][service]["volumes"]) {
            let (from, _) = string(volume).split_once(':').expect("from:to");
            let is_volume = Path::new(from).extension().is_none() && !from.starts_with('.');
            assert!(
                is_volume || folder.join(from).exists(),
                "{from} does not exist"
            );
        }
    }
    let build = &compose["services"]["stuut-cache"]["build"];
    let context = folder.join(string(&build["context"]));
    assert!(context.join(string(&build["dockerfile"])).is_file());
    let port = string(&list(&compose["services"]["stuut-cache"]["ports"])[1]);
    assert_eq!(port, "127.0.0.1:9090:9090");
    // Prometheus scrapes that service, on that port.
    let scrapes = &yaml("prometheus/prometheus.yml")["scrape_configs"];
    let target = &list(scrapes)[0]["static_configs"][0]["targets"][0];
    assert_eq!(target, "stuut-cache:9090");
}

#[test]
fn the_commands_of_image_and_compose_file_exist() {
    for (file, service) in [("docker", "simulate"), ("mocking", "stuut")] {
        let compose = yaml(&format!("{file}/compose.yaml"));
        let command = list(&compose["services"][service]["command"]);
        let arguments = command.iter().map(string).chain(["--help"]);
        let help = run(Command::new(env!("CARGO_BIN_EXE_stuut-cache")).args(arguments));
        assert!(help.contains("simulate [OPTIONS]"), "{help}");
    }
    let dockerfile = text("docker/Dockerfile");
    for command in ["serve", "healthcheck"] {
        assert!(dockerfile.contains(&format!("\"{command}\"")));
        run(Command::new(env!("CARGO_BIN_EXE_stuut-cache")).args([command, "--help"]));
    }
}
