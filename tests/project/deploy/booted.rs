//! The units, installed as in `docs/deployment.md`, under systemd in a container that has only this
//! machine's /usr and its own network.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use stuut_cache::config::ScopeKey;

use super::text;
use crate::tools::{run, tool};

/// Runs `booted.sh`, then stops the container.
const DRIVER: &str = "[Unit]\n\
    Wants=simulate.service\n\
    After=simulate.service\n\
    SuccessAction=exit\n\
    FailureAction=exit\n\
    [Service]\n\
    Type=oneshot\n\
    StandardOutput=file:/out/log\n\
    StandardError=inherit\n\
    ExecStart=/bin/bash /out/booted.sh\n";

const ORIGIN: &str = "[Service]\n\
    ExecStart=/usr/bin/stuut-cache simulate --latency 5ms\n";

/// Timeout in seconds, so that a container that hangs is killed.
const TIMEOUT: &str = "150";

/// Detects a hanging process earlier than the unit's half a minute.
const WATCHDOG: &str = "[Service]\nWatchdogSec=6s\n";

const FILE: &str = "[upstream]\nurl = \"http://127.0.0.1:8081\"\n";

/// The block of `docs/deployment.md` in this language that contains a text.
fn block(language: &str, contained: &str) -> String {
    let page = text("../docs/deployment.md");
    let opening = format!("```{language}\n");
    let blocks = page.split(&opening).skip(1);
    let mut blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()));
    let block = blocks.find(|block| block.contains(contained));
    block.expect("a block of the page")
}

/// Runs the page's `install` commands into a folder, and returns its `systemctl` commands.
fn install(at: impl Fn(&str) -> String) -> String {
    let block = block("sh", "systemctl enable");
    let (install, rest) = block.split_at(block.find("systemctl").expect("commands"));
    for folder in ["usr/bin", "etc", "units"] {
        fs::create_dir_all(at(folder)).expect("a temporary folder");
    }
    let install = install
        .replace(
            "target/release/stuut-cache",
            env!("CARGO_BIN_EXE_stuut-cache"),
        )
        .replace("/usr/bin", &at("usr/bin"))
        .replace("/etc/stuut-cache", &at("etc"))
        .replace("/etc/systemd/system", &at("units"));
    let mut bash = Command::new("bash");
    run(bash
        .args(["-euxc", &install])
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    rest.to_owned()
}

#[track_caller]
fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a temporary folder");
    fs::write(path, text).expect("a temporary file");
}

#[test]
fn the_units_work_under_systemd_as_the_runbook_says() {
    let Some(nspawn) = tool("systemd-nspawn") else {
        return;
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    write(folder.path(), "out/enable.sh", &install(at));
    let credential = block("ini", "LoadCredential=");
    write(folder.path(), "out/credential.conf", &credential);
    write(
        folder.path(),
        "units/stuut-cache.service.d/watchdog.conf",
        WATCHDOG,
    );
    // The container has only a loopback interface: no other comes online.
    let wait_online = at("units/systemd-networkd-wait-online.service");
    std::os::unix::fs::symlink("/dev/null", wait_online).expect("a link");
    write(folder.path(), "units/simulate.service", ORIGIN);
    write(folder.path(), "units/driver.service", DRIVER);
    write(folder.path(), "etc/stuut-cache.toml", FILE);
    write(folder.path(), "etc/admin-token", "swordfish\n");
    write(folder.path(), "etc/scope-key", &ScopeKey::random().hex());
    write(folder.path(), "out/booted.sh", include_str!("booted.sh"));

    let ended = Command::new("timeout")
        .args(["--kill-after=5", TIMEOUT])
        .arg(nspawn.get_program())
        .args([
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
        ])
        .args(["--directory=/", "--volatile=yes"])
        .arg(format!("--overlay-ro=/usr:{}:/usr", at("usr")))
        .arg(format!("--bind={}:/etc/systemd/system", at("units")))
        .arg(format!("--bind={}:/etc/stuut-cache", at("etc")))
        .arg(format!("--bind={}:/out", at("out")))
        .args([
            "--boot",
            "systemd.unit=driver.service",
            "systemd.firstboot=off",
        ])
        .args(["systemd.log_target=console", "systemd.show_status=no"])
        .output()
        .expect("the program runs");
    let console = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    let Ok(log) = fs::read_to_string(at("out/log")) else {
        // It requires root, and a kernel with namespaces and control groups.
        let last = console.lines().last().unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "skipped: the units under systemd, which does not boot here: {last}"
        );
        return;
    };
    let log: Vec<_> = log.lines().collect();
    let expected = [
        "systemd is up",
        "it answers on the sockets",
        "it runs unprivileged",
        "three restarts under load lose no request",
        "a reload keeps the process",
        "a reload with a faulty file is refused",
        "a start with a faulty file is not retried",
        "a process that hangs is replaced",
        "a process that dies is replaced",
        "it has the credential, and refuses a faulty file itself",
        "it stops cleanly",
    ];
    assert_eq!(log, expected, "{console}");
}
