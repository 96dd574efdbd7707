//! The house stands on its layers: `use crate::` goes downward only.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A room may use the rooms before it; rooms of one row are strangers.
const LAYERS: &[&[&str]] = &[
    // settings, and the names that settings and meaning share
    &["label"],
    &["config"],
    // meaning: pure
    &["json", "coding"],
    &["policy", "view"],
    &["request"],
    &["outcome"],
    // instruments
    &["clock"],
    &["telemetry"],
    // state, I/O
    &["cache", "upstream", "otlp"],
    // decisions
    &["proxy"],
    // sockets
    &["server"],
    &["admin"],
    // process
    &["process"],
    &["cli"],
];

/// The rooms without a clock, a lock or an await.
const PURE: &[&str] = &[
    "json", "coding", "policy", "view", "request", "outcome", "label",
];

fn layer(room: &str) -> usize {
    LAYERS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("{room} has no layer"))
}

/// Every source file of a room, without its tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path
                .strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
                .expect("below src");
            let room = below
                .components()
                .next()
                .expect("a name")
                .as_os_str()
                .to_string_lossy();
            let room = room.trim_end_matches(".rs").to_owned();
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            if is_rust && !["lib", "main"].contains(&room.as_str()) {
                let text = fs::read_to_string(&path).expect("a source file");
                let text = text
                    .split("#[cfg(test)]\nmod tests")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                found.push((room, path, text));
            }
        }
    }
    found
}

#[test]
fn imports_go_downward() {
    let mut upward = Vec::new();
    for (room, path, text) in sources() {
        for line in text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let is_room = LAYERS.concat().contains(&used.as_str());
                if is_room && used != room && layer(&used) >= layer(&room) {
                    upward.push(format!("{}: {room} uses {used}", path.display()));
                }
            }
        }
    }
    assert!(
        upward.is_empty(),
        "imports that go upward or sideways:\n{}",
        upward.join("\n")
    );
}

#[test]
fn every_room_has_a_layer_and_every_file_an_opening_line() {
    for (room, path, text) in sources() {
        layer(&room);
        assert!(
            text.starts_with("//!"),
            "{}: no opening //! line",
            path.display()
        );
    }
}

#[test]
fn pure_rooms_have_no_clock_no_lock_and_no_await() {
    let forbidden = [
        ".await",
        "async fn",
        "Mutex",
        "RwLock",
        "Instant::now",
        "SystemTime::now",
        "tokio::",
    ];
    for (room, path, text) in sources() {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code.filter(|_| PURE.contains(&room.as_str())) {
            let found = forbidden.iter().find(|word| line.contains(**word));
            assert!(found.is_none(), "{}: {line}", path.display());
        }
    }
}
