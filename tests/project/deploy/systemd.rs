//! The unit and its sockets.

use std::fs;

use stuut_cache::config::Config;

use super::{deploy, text};
use crate::tools::{run, tool};

const UNITS: [&str; 3] = [
    "stuut-cache.service",
    "stuut-cache.socket",
    "stuut-cache-admin.socket",
];

const PROGRAM: &str = env!("CARGO_BIN_EXE_stuut-cache");

fn unit(name: &str) -> String {
    text(&format!("systemd/{name}"))
}

/// The values of a setting.
fn settings<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .collect()
}

#[track_caller]
fn seconds(unit: &str, name: &str) -> u64 {
    let value = settings(unit, name).concat();
    let seconds = value.strip_suffix('s').and_then(|value| value.parse().ok());
    seconds.unwrap_or_else(|| panic!("{name}={value} is not in seconds"))
}

/// A folder with the units, unchanged except for the program's path.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in UNITS {
        let unit = unit(name).replace("/usr/bin/stuut-cache", PROGRAM);
        fs::write(folder.path().join(name), unit).expect("a temporary file");
    }
    folder
}

#[test]
fn systemd_accepts_the_units() {
    let Some(mut analyze) = tool("systemd-analyze") else {
        return;
    };
    let folder = installed();
    let output = run(analyze
        .args(["verify", "--man=no"])
        .args(UNITS.map(|name| folder.path().join(name))));
    assert_eq!(output, "", "no warnings");
}

#[test]
fn the_service_has_a_low_exposure() {
    let Some(mut analyze) = tool("systemd-analyze") else {
        return;
    };
    // 1.5 of 10: what remains is its use of the network and of /proc/stat.
    run(analyze
        .args(["security", "--offline=true", "--threshold=15"])
        .arg(deploy("systemd/stuut-cache.service")));
}

#[test]
fn the_unit_runs_commands_of_the_program() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/stuut-cache.toml");
    let unit = unit("stuut-cache.service");
    let commands = ["ExecStart", "ExecReload"]
        .iter()
        .flat_map(|name| settings(&unit, name));
    let mut commands: Vec<_> = commands
        .filter_map(|command| command.strip_prefix("/usr/bin/stuut-cache "))
        .collect();
    commands.sort_unstable();
    let file = "--config /etc/stuut-cache/stuut-cache.toml";
    let expected = ["check", "serve"].map(|command| format!("{command} {file}"));
    assert_eq!(commands, expected);
    run(std::process::Command::new(PROGRAM).args(["check", "--config", shipped]));
}

#[test]
fn the_sockets_have_the_default_addresses() {
    let Config { server, admin, .. } = Config::default();
    for (name, descriptor, address) in [
        ("stuut-cache.socket", "proxy", server.listen),
        ("stuut-cache-admin.socket", "admin", admin.listen),
    ] {
        let unit = unit(name);
        assert_eq!(settings(&unit, "FileDescriptorName"), [descriptor]);
        assert_eq!(settings(&unit, "ListenStream"), [address.to_string()]);
    }
}

#[test]
fn the_limits_of_the_unit_exceed_those_of_the_program() {
    let server = Config::default().server;
    let unit = unit("stuut-cache.service");
    assert!(seconds(&unit, "TimeoutStopSec") > server.drain_timeout.as_secs());
    let files = settings(&unit, "LimitNOFILE").concat();
    let files: usize = files.parse().expect("a number");
    let limits = Config::default().limits;
    let to_origin = 2 * limits.in_flight + limits.streams + limits.uploads;
    assert!(files > server.max_connections + to_origin);
    assert_eq!(settings(&unit, "RestartPreventExitStatus"), ["78"]);
}
