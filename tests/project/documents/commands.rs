//! Every command of the documents, run as it is written against one `demo` for each document.
//!
//! - A `console` block has commands after `$ ` and the output of each. Compared without what differs
//!   from run to run (times, ages, ids, ports); `…` matches any text, and a line `...` any lines.
//! - An `sh` block succeeds.
//! - A `toml` block is a configuration that `stuut-cache check` accepts. If it begins with a comment
//!   that names a file, later blocks find it there. `<!-- faulty -->` before it: only written.
//! - `<!-- serves -->` before a block: its command starts a server, which is stopped once it is up.
//! - `<!-- run by FILE -->`: another script or test runs it; that file has the commands, or reads
//!   them from this document.
//! - `<!-- not run: REASON -->`: it needs what no test has. The reason is printed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;

use super::blocks::{Block, blocks};
use super::{documents, text};
use crate::demo::Demo;
use crate::tools::tool;

/// A document while its blocks run, in order, in a folder of its own.
struct Session<'a> {
    document: &'a str,
    demo: &'a Demo,
    folder: &'a Path,
}

macro_rules! documents {
    ($($test:ident: $document:literal,)+) => {
        const RUN: &[&str] = &[$($document),+];
        $(
            #[tokio::test]
            async fn $test() {
                let demo = Demo::start().await;
                tokio::task::spawn_blocking(move || run($document, &demo))
                    .await
                    .expect("its commands do what it says");
            }
        )+
    };
}

documents! {
    commands_of_the_readme: "README.md",
    commands_of_contributing: "CONTRIBUTING.md",
    commands_of_benchmarks: "docs/benchmarks.md",
    commands_of_clients: "docs/clients.md",
    commands_of_compression: "docs/compression.md",
    commands_of_configuration: "docs/configuration.md",
    commands_of_deployment: "docs/deployment.md",
    commands_of_freshness: "docs/freshness.md",
    commands_of_metrics: "docs/metrics.md",
    commands_of_mocking: "docs/mocking.md",
    commands_of_operations: "docs/operations.md",
    commands_of_views: "docs/views.md",
    commands_of_waiting: "docs/waiting.md",
}

#[test]
fn every_document_with_commands_is_run() {
    for document in documents() {
        let found = blocks(&text(&document));
        let commands = ["console", "sh", "toml", "bash", "shell", ""];
        let has_any = |block: &Block| commands.contains(&&*block.language);
        let found = found.iter().any(has_any);
        assert!(
            !found || RUN.contains(&&*document),
            "{document} is not in RUN"
        );
    }
}

fn run(document: &str, demo: &Demo) {
    let needed = ["bash", "curl", "openssl"].map(tool);
    if needed.iter().any(Option::is_none) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let program = folder.join("bin/stuut-cache");
    fs::create_dir(folder.join("bin")).expect("a temporary folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_stuut-cache"), program).expect("a link");
    let session = Session {
        document,
        demo,
        folder,
    };
    for block in blocks(&text(document)) {
        session.run(&block);
    }
}

impl Session<'_> {
    fn run(&self, block: &Block) {
        let at = format!("{}:{}", self.document, block.line);
        match (&*block.language, block.note.as_deref()) {
            ("sh", Some("serves")) => self.serve(block, &at),
            ("sh" | "console", Some(note)) => self.run_elsewhere(block, note, &at),
            ("console", None) => self.compare(block, &at),
            ("sh", None) => {
                let (succeeded, output) = self.shell(&block.text);
                assert!(succeeded, "{at}: {output}");
            }
            ("toml", _) => self.check(block, &at),
            ("bash" | "shell" | "", _) => panic!("{at}: neither sh, console nor text"),
            _ => {}
        }
    }

    /// A shell in the document's folder, with the addresses of this demo.
    fn command(&self, script: &str, proxy: &str, admin: &str) -> Command {
        let script = script.replace("127.0.0.1:8080", proxy);
        let mut bash = Command::new("bash");
        let path = std::env::var("PATH").expect("a path");
        bash.args(["-euo", "pipefail", "-c", &format!("exec 2>&1\n{script}")])
            .current_dir(self.folder)
            .env("PATH", format!("{}/bin:{path}", self.folder.display()))
            .env("STUUT_CACHE__ADMIN__LISTEN", admin)
            .env("STUUT_TOKEN", stuut_simulator::demo::TOKEN)
            .stdin(Stdio::null());
        bash
    }

    /// Runs a script; returns whether it succeeded, and its output.
    fn shell(&self, script: &str) -> (bool, String) {
        let script = script.replace("127.0.0.1:9090", &self.demo.admin);
        let mut command = self.command(&script, &self.demo.proxy, &self.demo.admin);
        let output = command.output().expect("bash runs");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), stdout)
    }

    /// Each command prints what stands below it.
    fn compare(&self, block: &Block, at: &str) {
        let mut commands = block.text.split("$ ");
        let before = commands.next().expect("a first part");
        assert!(before.trim().is_empty(), "{at}: begins without a command");
        for part in format!("\n{}", block.text).split("\n$ ").skip(1) {
            // A line that ends with a backslash goes on in the next.
            let mut command = String::new();
            let mut lines = part.lines();
            for line in lines.by_ref() {
                command.push_str(line);
                command.push('\n');
                if !line.ends_with('\\') {
                    break;
                }
            }
            let expected: Vec<_> = lines.collect();
            let (_, output) = self.shell(&command);
            let printed: Vec<_> = output.lines().collect();
            assert!(
                matches(&expected, &printed),
                "{at}: $ {command}printed:\n{output}instead of:\n{}",
                expected.join("\n")
            );
        }
    }

    /// Starts a server on ports of the system's choice, and stops it once it listens.
    fn serve(&self, block: &Block, at: &str) {
        let script = block.text.replace("0.0.0.0:8080", "127.0.0.1:0");
        let script = format!("exec {}", script.replace("127.0.0.1:9090", "127.0.0.1:0"));
        let log = self.folder.join("serves.log");
        let mut server = self
            .command(&script, "127.0.0.1:0", "127.0.0.1:0")
            .stdout(File::create(&log).expect("a temporary file"))
            .spawn()
            .expect("bash runs");
        let end = Instant::now() + Duration::from_mins(1);
        let read = || fs::read_to_string(&log).unwrap_or_default();
        while !["listen", "http://127"]
            .iter()
            .any(|up| read().contains(up))
        {
            let ended = server.try_wait().expect("its status");
            assert!(ended.is_none() && Instant::now() < end, "{at}: {}", read());
            std::thread::sleep(Duration::from_millis(20));
        }
        let process = i32::try_from(server.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let process = process.expect("the id of a process");
        rustix::process::kill_process(process, rustix::process::Signal::INT).expect("it runs");
        let status = server.wait().expect("it ends");
        assert!(status.success(), "{at}: {}", read());
    }

    /// The file that a note names has the block's commands, or reads them from this document.
    fn run_elsewhere(&self, block: &Block, note: &str, at: &str) {
        if let Some(reason) = note.strip_prefix("not run: ") {
            // Past the test harness, which keeps the output of passing tests.
            let _ = writeln!(std::io::stderr(), "not run: {at}: {reason}");
            return;
        }
        let file = note
            .strip_prefix("run by ")
            .unwrap_or_else(|| panic!("{at}: {note}"));
        let runner = text(file);
        let lines = block.text.lines().map(|line| line.trim_start_matches("$ "));
        let mut lines = lines.filter(|line| !line.is_empty());
        let (has_all, reads) = (
            lines.all(|line| runner.contains(line)),
            runner.contains(self.document),
        );
        assert!(has_all || reads, "{at}: {file} does not run it");
    }

    /// A configuration, or a part of one, without a fault.
    fn check(&self, block: &Block, at: &str) {
        let first = block.text.lines().next().unwrap_or_default();
        let named = first.strip_prefix("# ").filter(|name| !name.contains(' '));
        let file = self.folder.join(named.unwrap_or("block.toml"));
        fs::write(&file, &block.text).expect("a temporary file");
        if block.note.as_deref() == Some("faulty") {
            return;
        }
        let (valid, output) = self.shell(&format!("stuut-cache check --config {}", file.display()));
        assert!(valid, "{at}: {output}");
    }
}

/// Whether a program printed what a document shows.
fn matches(expected: &[&str], printed: &[&str]) -> bool {
    match expected {
        [] => printed.is_empty(),
        ["...", rest @ ..] => (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..])),
        [line, rest @ ..] => {
            let [first, others @ ..] = printed else {
                return false;
            };
            line_matches(line, first) && matches(rest, others)
        }
    }
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let (expected, printed) = (stable(expected), stable(printed));
    let parts: Vec<_> = expected.split('…').map(regex::escape).collect();
    let pattern = Regex::new(&format!("^{}$", parts.join(".*"))).expect("an escaped pattern");
    pattern.is_match(&printed)
}

/// A line without what differs from run to run.
fn stable(line: &str) -> String {
    [
        (r"ttl=-?[0-9]+", "ttl=N"),
        (r"^[Aa]ge: [0-9]+", "age: N"),
        (r"[0-9]+(\.[0-9]+)? (ms|µs|s)(?-u:\b)", "N ms"),
        (r"127\.0\.0\.1:[0-9]+", "127.0.0.1:PORT"),
        (r"(?-u:\b)[0-9a-f]{16}(?-u:\b)", "ID"),
        (r"[ \t]+$", ""),
    ]
    .iter()
    .fold(line.to_owned(), |line, (pattern, by)| {
        let pattern = Regex::new(pattern).expect("a pattern");
        pattern.replace_all(&line, *by).into_owned()
    })
}

#[test]
fn a_shown_output_matches_only_what_it_shows() {
    let shown = [
        "HTTP/1.1 200 OK",
        "...",
        "cache-status: stuut-cache; hit; ttl=59",
        "id: …",
    ];
    let printed = |ttl, id| ["HTTP/1.1 200 OK", "via: a", ttl, id];
    let hit = "cache-status: stuut-cache; hit; ttl=3";
    assert!(matches(&shown, &printed(hit, "id: 12")));
    assert!(!matches(&shown, &printed(hit, "no: 12")));
    assert!(!matches(
        &shown,
        &printed("cache-status: stuut-cache; fwd=miss", "id: 12")
    ));
    assert!(!matches(&["HTTP/1.1 200 OK"], &["HTTP/1.1 404 Not Found"]));
    assert!(!matches(&["a"], &["a", "b"]) && !matches(&["a", "b"], &["a"]));
}
