//! What people read, as snapshots. After a change on purpose: `INSTA_UPDATE=always cargo test
//! --test project snapshots`, and a look at the difference.

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

/// Of the program that has them all.
#[cfg(feature = "top")]
#[test]
fn help_of_every_command() {
    let help = text(&stuut_cache(&["--help"]).stdout);
    // All that the program lists, so that none is forgotten here.
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
fn metrics_tell_what_they_mean() {
    let metrics = Metrics::new(&Routes::new(&Config::default().cache.routes));
    let rendered = text(&metrics.render());
    let ours = rendered
        .lines()
        .filter(|line| line.starts_with("# ") && line.contains(" stuut_cache_"));
    insta::assert_snapshot!("metrics", ours.collect::<Vec<_>>().join("\n"));
}

/// Four faults planted in one file are told at once, each with its place and its remedy.
#[test]
fn check_tells_every_fault_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("proxy.toml");
    let faults = "[server]\nlisten = \"8080\"\n\n[server.tls]\ncert = \"/nowhere/cert.pem\"\nkey = \"/nowhere/key.pem\"\n\n[cache]\ncapacity = \"64 megs\"\n\n[upstraem]\nurl = \"https://api.stuut.ai\"\n";
    std::fs::write(&path, faults).expect("a temporary file");
    let output = stuut_cache(&["check", "--config", path.to_str().expect("a path of text")]);
    assert_eq!(output.status.code(), Some(78), "EX_CONFIG of sysexits.h");
    let told = text(&output.stderr).replace(&*folder.path().to_string_lossy(), "FOLDER");
    insta::assert_snapshot!("check", told);
}

/// A disk that is full, or a reader that has gone, was a panic.
#[test]
fn a_standard_output_that_takes_nothing_is_told_in_a_sentence() {
    for arguments in [
        &["check"][..],
        &["digest"],
        &["man"],
        &["simulate", "--listen=127.0.0.1:0"],
        &["demo", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"],
    ] {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device of Linux");
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
        // One that asks for none may have gone already.
        let _ = token.write_all(b"a-token");
        drop(token);
        let output = program.wait_with_output().expect("it ends");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        let sentence = "stuut-cache: cannot write to standard output: ";
        assert!(told.starts_with(sentence), "{arguments:?}: {told}");
    }
}
