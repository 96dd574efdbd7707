//! The release: its workflows, and the Debian package, installed. Its commands are those of
//! docs/deployment.md, with a debug build.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::deploy;
use crate::tools::{run, tool};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// With shellcheck for their scripts, as `.ci/setup` installs it.
#[test]
fn actionlint_accepts_the_workflows() {
    let (Some(mut actionlint), Some(_)) = (tool("actionlint"), tool("shellcheck")) else {
        return;
    };
    let output = run(actionlint.arg("-no-color").current_dir(ROOT));
    assert_eq!(output, "");
}

/// A tag can be moved to other code; a commit cannot.
#[test]
fn the_workflows_use_actions_by_commit() {
    for file in ["ci.yml", "release.yml"] {
        let path = Path::new(ROOT).join(".github/workflows").join(file);
        let workflow = fs::read_to_string(path).expect("a workflow");
        for line in workflow.lines().filter(|line| line.contains("uses: ")) {
            let (_, commit) = line.split_once('@').expect("a version");
            let (commit, tag) = commit.split_once(" # v").expect("its tag as a comment");
            let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(is_commit && !tag.is_empty(), "{file}: {line}");
        }
    }
}

#[test]
fn the_debian_package_is_installed_upgraded_and_removed() {
    let (Some(mut cargo_deb), Some(mut unshare)) = (tool("cargo-deb"), tool("unshare")) else {
        return;
    };
    let mut package = Command::new(deploy("package.sh"));
    let program = env!("CARGO_BIN_EXE_stuut-cache");
    run(package.args([program, "target/package"]).current_dir(ROOT));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let file = folder.path().join("stuut-cache.deb");
    run(cargo_deb
        .args([
            "--no-build",
            "--no-strip",
            "--offline",
            "--fast",
            "--output",
        ])
        .arg(&file)
        .current_dir(ROOT));
    let script = folder.path().join("installed.sh");
    fs::write(&script, include_str!("installed.sh")).expect("a temporary file");
    let may_mount = Command::new("unshare").args(["--mount", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: the installation of the package, which needs root and mounts"
        );
        return;
    }
    run(unshare.args(["--mount", "sh"]).args([script, file]));
}
