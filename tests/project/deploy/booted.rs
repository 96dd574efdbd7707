//! The units, installed as `deploy/README.md` says, under a systemd of their own: in a container
//! that has this machine's /usr, its own network, and nothing else.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::text;
use super::tools::tool;

/// Runs `booted.sh`, and ends the container.
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

/// Seconds that a start, the story and an end may take: a container that hangs does not stay.
const PATIENCE: &str = "150";

/// A process that hangs is noticed after half a minute, but for this.
const IMPATIENT: &str = "[Service]\nWatchdogSec=6s\n";

const FILE: &str = "[upstream]\nurl = \"http://127.0.0.1:8081\"\n";

/// The addition to the unit by which the runbook hands it the token of purges.
fn credential() -> String {
    let readme = text("README.md");
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
fn the_units_do_under_systemd_what_the_runbook_says() {
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
        IMPATIENT,
    );
    write(folder.path(), "units/simulate.service", ORIGIN);
    write(folder.path(), "units/driver.service", DRIVER);
    write(folder.path(), "etc/stuut-cache.toml", FILE);
    write(folder.path(), "etc/admin-token", "swordfish\n");
    write(folder.path(), "out/booted.sh", include_str!("booted.sh"));
    fs::create_dir_all(at("usr/bin")).expect("a temporary folder");
    fs::copy(env!("CARGO_BIN_EXE_stuut-cache"), at("usr/bin/stuut-cache")).expect("a copy");

    let ended = Command::new("timeout")
        .args(["--kill-after=5", PATIENCE])
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
    let Ok(told) = fs::read_to_string(at("out/log")) else {
        // It takes the rights of root, and a kernel that gives namespaces and control groups.
        let last = console.lines().last().unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "left out: the units under systemd; it does not come up here: {last}"
        );
        return;
    };
    let told: Vec<_> = told.lines().collect();
    let expected = [
        "systemd is up",
        "it answers on the sockets",
        "it runs as nobody in particular, without rights",
        "three restarts under load lose no request",
        "a reload keeps the process",
        "a reload with a faulty file is refused",
        "a start with a faulty file is not tried again",
        "a process that hangs is replaced",
        "a process that dies is replaced",
        "it has the credential, and refuses a faulty file itself",
        "it stops in peace",
    ];
    assert_eq!(told, expected, "{console}");
}
