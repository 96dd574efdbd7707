//! The examples of the README for developers, as they stand there, against the demo.

use std::process::Command;

use stuut_cache::simulator::demo::{CALL, TOKEN};

use crate::demo::Demo;
use crate::tools::{content, tool};

/// The block of this language in the section on pointing a service at the proxy.
fn example(language: &str, demo: &Demo) -> String {
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let (_, section) = readme
        .split_once("## Point a service at it")
        .expect("the section");
    let opening = format!("```{language}\n");
    let (_, block) = section.split_once(&opening).expect("an example");
    let (block, _) = block.split_once("```").expect("the end of the block");
    assert!(block.contains("http://127.0.0.1:8080") && block.contains(CALL));
    block.replace("127.0.0.1:8080", &demo.proxy)
}

/// The tour of the demo has fetched the call already.
#[track_caller]
fn assert_shows_a_hit(command: &mut Command) {
    let said = content(command.env("STUUT_TOKEN", TOKEN));
    assert!(said.contains("stuut-cache; hit; ttl="), "{said}");
    assert!(said.contains(CALL) && said.contains("completed"), "{said}");
    assert!(!said.contains("invoices"), "only what is asked for: {said}");
}

#[tokio::test]
async fn the_example_for_curl_works() {
    let (Some(_), Some(mut shell)) = (tool("curl"), tool("sh")) else {
        return;
    };
    let demo = Demo::start().await;
    assert_shows_a_hit(shell.args(["-ec", &example("sh", &demo)]));
}

#[tokio::test]
async fn the_example_for_python_works() {
    // Its command stands where its library is installed.
    let (Some(_), Some(mut python)) = (tool("httpx"), tool("python3")) else {
        return;
    };
    let demo = Demo::start().await;
    assert_shows_a_hit(python.args(["-c", &example("python", &demo)]));
}

#[tokio::test]
async fn the_example_for_node_works() {
    let Some(mut node) = tool("node") else {
        return;
    };
    let demo = Demo::start().await;
    let code = example("javascript", &demo);
    assert_shows_a_hit(node.args(["--input-type=module", "-e", &code]));
}
