//! `demo --replicas`, with an engine and without one.

use std::process::Command;

use crate::tools::{run, tool};

#[track_caller]
fn assert_shows(demo: &mut Command, expected: &[&str]) {
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let output = run(demo.args(["demo", "--tour", "--replicas", "3"]).args(ports));
    for text in expected {
        assert!(output.contains(text), "no {text:?}:\n{output}");
    }
}

#[test]
fn with_an_engine_the_replicas_of_the_demo_are_one_cache() {
    if tool("redis-server").is_none() {
        return;
    }
    assert_shows(
        &mut Command::new(env!("CARGO_BIN_EXE_stuut-cache")),
        &[
            "3 replicas with a shared level on redis-server, ",
            "cache-status: stuut-cache; hit; ttl=59; detail=shared\n",
            "   1 of 3 requests reached the origin\n",
            "{\"confirmed\":3,",
            "   it is the call from after the write\n",
        ],
    );
}

#[test]
fn without_an_engine_the_demo_shows_what_does_not_hold() {
    assert_shows(
        Command::new(env!("CARGO_BIN_EXE_stuut-cache")).env("PATH", "/nowhere"),
        &[
            "neither redis-server nor valkey-server is in PATH: 3 replicas that share nothing\n",
            "   3 of 3 requests reached the origin\n",
            "   it is the call from before the write\n",
        ],
    );
}
