//! The units, installed as in `docs/deployment.md`, under systemd in a container that has only this
//! machine's /usr and its own network.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::text;
use crate::tools::tool;

/// Runs `booted.sh`, then stops the container.
const DRIVER: &str = "[Unit]\n\
    Wants=simulate.service stuut-cache.socket stuut-cache-admin.socket stuut-cache.service\n\
    After=simulate.service stuut-cache.service\n\
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

/// The runbook's drop-in file that passes the token for purges to the unit.
fn credential() -> String {
    let readme = text("../docs/deployment.md");
    let block = readme
        .split("```ini\n")
        .find(|block| block.contains("LoadCredential="));
    let (block, _) = block
        .and_then(|block| block.split_once("```"))
        .expect("a block");
    block.to_owned()
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
    for name in [
        "stuut-cache.service",
        "stuut-cache.socket",
        "stuut-cache-admin.socket",
    ] {
        let unit = text(&format!("systemd/{name}"));
        write(folder.path(), &format!("units/{name}"), &unit);
    }
    write(folder.path(), "out/credential.conf", &credential());
    write(
        folder.path(),
        "units/stuut-cache.service.d/watchdog.conf",
        WATCHDOG,
    );
    write(folder.path(), "units/simulate.service", ORIGIN);
    write(folder.path(), "units/driver.service", DRIVER);
    write(folder.path(), "etc/stuut-cache.toml", FILE);
    write(folder.path(), "etc/admin-token", "swordfish\n");
    write(folder.path(), "out/booted.sh", include_str!("booted.sh"));
    fs::create_dir_all(at("usr/bin")).expect("a temporary folder");
    fs::copy(env!("CARGO_BIN_EXE_stuut-cache"), at("usr/bin/stuut-cache")).expect("a copy");

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
        .arg(format!("--bind-ro={}:/etc/systemd/system", at("units")))
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
