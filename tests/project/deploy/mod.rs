//! The files of `deploy/` are valid: each is checked by the program for its format, and all of them
//! against the proxy.
//!
//! Checks whose program is not installed are skipped with a message; under CI they fail.

mod booted;
mod container;
mod grafana;
mod kubernetes;
mod kustomize;
mod names;
mod openapi;
mod prometheus;
mod queries;
mod release;
mod rules;
mod shared;
mod systemd;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file or folder of `deploy/`.
fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// The items of a list.
#[track_caller]
fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("expected a list, found {value}"))
}

#[track_caller]
fn string(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("expected a string, found {value}"))
}
