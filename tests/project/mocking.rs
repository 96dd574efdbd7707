//! `simulate` as a mock for other services' tests: the example (`pytest deploy/mocking`), and fixtures.

use std::path::Path;
use std::process::Command;

use crate::tools::{run, tool};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stuut-cache");

/// It starts `simulate` on port 0 and reads its address, by name from `PATH`.
#[test]
fn the_example_of_pytest_passes() {
    let Some(mut pytest) = tool("pytest") else {
        return;
    };
    let programs = Path::new(PROGRAM).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = run(pytest
        .args(["-q", "-p", "no:cacheprovider", "deploy/mocking"])
        .env("PATH", format!("{}:{path}", programs.display()))
        // A plugin of another tool lacks a package.
        .env("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1"));
    assert!(output.contains("5 passed"), "{output}");
}

#[test]
fn every_fault_of_the_fixtures_is_reported_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in [
        ("acme/.gitkeep", ""),
        ("acme/call_1.json", "{}"),
        ("acme/call_1.http", "HTTP/2 200\r\netag: \"1\"\r\n\r\n"),
        ("acme/call_2.json", "{\n  \"id\": }"),
        ("acme/call_3.http", "HTTP/1.1 200 OK\nno field\n\n"),
        ("acme/call_4.http", "HTTP/1.1 304 Not Modified\n\n"),
        ("acme/call_5.http", "HTTP/1.1 200 OK\nDate: today"),
        ("acme/call 6.json", "{}"),
        ("acme/notes.txt", ""),
        ("hooli/call_1.json", "{}"),
    ] {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a temporary folder");
        std::fs::write(file, content).expect("a temporary file");
    }
    let mut simulate = Command::new(PROGRAM);
    simulate.args(["simulate", "--listen=127.0.0.1:0", "--fixtures"]);
    let output = simulate.arg(folder.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(78), "EX_CONFIG of sysexits.h");
    let faults = String::from_utf8(output.stderr).expect("text");
    let faults = faults.replace(&format!("{}/", folder.path().display()), "");
    let expected = "\
        acme/call 6.json: its name is not CALL_ID.json or CALL_ID.http\n\
        acme/call_1.json: a second response for this call\n\
        acme/call_2.json:2:9: expected value\n\
        acme/call_3.http:2: write a field as NAME: VALUE\n\
        acme/call_4.http:1: write a status line, e.g. HTTP/1.1 200 OK, of a status that has a body\n\
        acme/call_5.http:2: the head does not end: write an empty line after it\n\
        acme/notes.txt: its name is not CALL_ID.json or CALL_ID.http\n\
        hooli: no organisation has this name; --organisation hooli=TOKEN adds it\n";
    assert_eq!(faults, expected);
}
