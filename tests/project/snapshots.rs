//! Snapshots of output for people. After an intended change: `INSTA_UPDATE=always cargo test
//! --test project snapshots`, and review the diff.

use std::fs::File;
use std::io::Write as _;
use std::process::{Output, Stdio};

use assert_cmd::Command;
use stuut_cache::config::Config;
use stuut_cache::request::Routes;
use stuut_cache::telemetry::Metrics;

fn stuut_cache(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
    command
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Only of a program built with all commands.
#[cfg(feature = "top")]
#[test]
fn help_of_every_command() {
    let help = text(&stuut_cache(&["--help"]).stdout);
    // As listed by the program, so that none is missing here.
    let (_, commands) = help.split_once("Commands:\n").expect("a list of commands");
    let commands = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help");
    for command in commands.chain([""]) {
        let arguments: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let name = format!(
            "help_{}",
            if command.is_empty() {
                "stuut-cache"
            } else {
                command
            }
        );
        insta::assert_snapshot!(name, text(&stuut_cache(&arguments).stdout));
    }
}

#[test]
fn help_of_every_metric() {
    let metrics = Metrics::new(&Routes::new(&Config::default().cache.routes));
    let rendered = metrics.render(false);
    let ours = rendered
        .lines()
        .filter(|line| line.starts_with("# ") && line.contains(" stuut_cache_"));
    insta::assert_snapshot!("metrics", ours.collect::<Vec<_>>().join("\n"));
}

#[test]
fn check_reports_every_fault_with_its_place_and_remedy() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("proxy.toml");
    let faults = "[server]\nlisten = \"8080\"\n\n[server.tls]\ncert = \"/nowhere/cert.pem\"\nkey = \"/nowhere/key.pem\"\n\n[cache]\ncapacity = \"64 megs\"\n\n[upstraem]\nurl = \"https://api.stuut.ai\"\n";
    std::fs::write(&path, faults).expect("a temporary file");
    let output = stuut_cache(&["check", "--config", path.to_str().expect("a path of text")]);
    assert_eq!(output.status.code(), Some(78), "EX_CONFIG of sysexits.h");
    let stderr = text(&output.stderr).replace(&*folder.path().to_string_lossy(), "FOLDER");
    insta::assert_snapshot!("check", stderr);
}

/// A full disk, or a closed reader, caused a panic.
#[test]
fn a_failed_write_to_standard_output_is_an_error_message() {
    for arguments in [
        &["check"][..],
        &["digest"],
        &["key"],
        &["man"],
        &["simulate", "--listen=127.0.0.1:0"],
        &["demo", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"],
    ] {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("a Linux device");
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_stuut-cache"));
        let mut program = program
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut token = program.stdin.take().expect("a pipe");
        // A command that reads no token may have exited already.
        let _ = token.write_all(b"a-token");
        drop(token);
        let output = program.wait_with_output().expect("it exits");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        let message = "stuut-cache: cannot write to standard output: ";
        assert!(stderr.starts_with(message), "{arguments:?}: {stderr}");
    }
}
