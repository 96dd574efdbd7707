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
            "ok    group     3 of 3 replicas, in step, with one key\n",
            "ok    shared    a hit at every replica, only for the token it was fetched for\n",
            "ok    together  one fetch for 12 concurrent requests of a token at all replicas\n",
            "ok    purges    a purge at one replica is one at every replica\n",
            "ok    writes    a write through one replica is seen at every replica\n",
        ],
    );
}

#[test]
fn without_an_engine_the_demo_shows_what_does_not_hold() {
    assert_shows(
        Command::new(env!("CARGO_BIN_EXE_stuut-cache")).env("PATH", "/nowhere"),
        &[
            "neither redis-server nor valkey-server is in PATH: 3 replicas that share nothing\n",
            "FAIL  group ",
            "FAIL  shared ",
            "FAIL  together  12 concurrent requests of a token at all replicas made 3 fetches",
            "FAIL  purges ",
            "FAIL  writes ",
        ],
    );
}
