//! Clients in other languages get a hit, a view and a clear error, with what they send by default.
//!
//! Each program requests `$CALL` with `$TOKEN` twice, and prints the `Cache-Status` of the second
//! response; then a view, and the error for a malformed one.

use std::fs;
use std::path::Path;
use std::process::Command;

use stuut_simulator::demo::{CALL, TOKEN};

use crate::demo::Demo;
use crate::tools::{TOOLS, run, tool};

/// Asserts what a program prints.
#[track_caller]
fn assert_served(command: &mut Command, demo: &Demo) {
    let call = format!("http://{}/v1/calls/{CALL}", demo.proxy);
    let printed = run(command.env("CALL", call).env("TOKEN", TOKEN));
    let lines: Vec<_> = printed.lines().collect();
    let [status, view, error @ ..] = &lines[..] else {
        panic!("{printed}");
    };
    assert!(status.starts_with("stuut-cache; hit; ttl="), "{printed}");
    assert!(
        view.contains(CALL) && view.contains("completed") && !view.contains("invoices"),
        "{printed}"
    );
    let error = error.concat();
    assert!(
        error.contains("urn:stuut-cache:view") && error.ends_with("400"),
        "{printed}"
    );
}

#[tokio::test]
async fn curl_is_served() {
    let (Some(_), Some(mut shell)) = (tool("curl"), tool("sh")) else {
        return;
    };
    let demo = Demo::start().await;
    assert_served(shell.args(["-ec", include_str!("with_curl.sh")]), &demo);
}

#[tokio::test]
async fn clients_in_python_are_served() {
    // The command is installed with the libraries.
    let (Some(mut generator), Some(_)) = (tool("openapi-python-client"), tool("python3")) else {
        return;
    };
    let demo = Demo::start().await;
    let python = || tool("python3").expect("it was found");
    for code in [
        include_str!("with_httpx.py"),
        include_str!("with_requests.py"),
        include_str!("with_aiohttp.py"),
    ] {
        assert_served(python().args(["-c", code]), &demo);
    }

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    let document = demo.admin("/openapi.json").await;
    fs::write(file("openapi.json"), document).expect("a temporary file");
    // It would format the code.
    fs::write(file("config.yaml"), "post_hooks: []\n").expect("a temporary file");
    let arguments = "generate --meta none --fail-on-warning --path openapi.json \
                     --config config.yaml --output-path stuut";
    run(generator
        .args(arguments.split_whitespace())
        .current_dir(&folder));
    let code = include_str!("with_generated.py");
    let mut python = python();
    assert_served(python.args(["-c", code]).current_dir(&folder), &demo);
}

#[tokio::test]
async fn clients_in_javascript_are_served() {
    let Some(mut node) = tool("node") else {
        return;
    };
    let demo = Demo::start().await;
    let module = "--input-type=module";
    let fetch = include_str!("with_fetch.mjs");
    assert_served(node.args([module, "-e", fetch]), &demo);
    let packages = Path::new(TOOLS).with_file_name("node");
    if !packages.join("node_modules/axios").exists() {
        return crate::tools::skip("axios is not installed; .ci/setup installs it");
    }
    let mut node = tool("node").expect("it was found");
    let axios = include_str!("with_axios.mjs");
    // Imports are resolved from the working directory.
    assert_served(
        node.args([module, "-e", axios]).current_dir(packages),
        &demo,
    );
}

#[tokio::test]
async fn the_client_of_go_is_served() {
    let Some(mut go) = tool("go") else {
        return;
    };
    let demo = Demo::start().await;
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example-go/cache");
    go.args(["run", "tests/project/clients/with_go.go"]);
    go.envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local")]);
    assert_served(go.env("GOENV", "off").env("GOCACHE", cache), &demo);
}

#[tokio::test]
async fn the_client_of_the_jdk_is_served() {
    let (Some(_), Some(mut java)) = (tool("javac"), tool("java")) else {
        return;
    };
    let demo = Demo::start().await;
    assert_served(java.arg("tests/project/clients/WithJdk.java"), &demo);
}
