//! The examples of `docs/clients.md` and `docs/waiting.md`, run unchanged against the demo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stuut_simulator::demo::{CALL, TOKEN};

use crate::demo::Demo;
use crate::tools::{run, skip, tool};

const CLIENTS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/clients.md"));
const WAITING: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/waiting.md"));

/// The code block of this language.
fn example(page: &str, language: &str, demo: &Demo) -> String {
    let opening = format!("```{language}\n");
    let (_, block) = page.split_once(&opening).expect("an example");
    let (block, _) = block.split_once("```").expect("the end of the block");
    assert!(block.contains("http://127.0.0.1:8080") && block.contains(CALL));
    block.replace("127.0.0.1:8080", &demo.proxy)
}

/// A hit, because the tour of the demo has fetched the call.
#[track_caller]
fn assert_shows_a_hit(command: &mut Command) {
    let output = run(command.env("STUUT_TOKEN", TOKEN));
    assert!(output.contains("stuut-cache; hit; ttl="), "{output}");
    assert!(
        output.contains(CALL) && output.contains("completed"),
        "{output}"
    );
    assert!(!output.contains("invoices"), "only the view: {output}");
}

#[tokio::test]
async fn the_example_for_curl_works() {
    let (Some(_), Some(mut shell)) = (tool("curl"), tool("sh")) else {
        return;
    };
    let demo = Demo::start().await;
    assert_shows_a_hit(shell.args(["-ec", &example(CLIENTS, "sh", &demo)]));
}

#[tokio::test]
async fn the_example_for_python_works() {
    // Its command is installed with its library.
    let (Some(_), Some(python)) = (tool("httpx"), tool("python3")) else {
        return;
    };
    let demo = Demo::start().await;
    for page in [CLIENTS, WAITING] {
        let mut python = Command::new(python.get_program());
        assert_shows_a_hit(python.args(["-c", &example(page, "python", &demo)]));
    }
}

#[tokio::test]
async fn the_example_for_node_works() {
    let Some(node) = tool("node") else {
        return;
    };
    let demo = Demo::start().await;
    for page in [CLIENTS, WAITING] {
        let code = example(page, "javascript", &demo);
        let mut node = Command::new(node.get_program());
        assert_shows_a_hit(node.args(["--input-type=module", "-e", &code]));
    }
}

/// A folder that persists between runs, so that dependencies are built once.
fn build_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder in the target directory");
    folder
}

#[track_caller]
fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// A separate package with its own lock file, because its client has more dependencies.
#[tokio::test]
async fn the_example_for_rust_works() {
    let cargo = || tool("cargo");
    let (Some(mut fetch), Some(mut build), Some(mut run)) = (cargo(), cargo(), cargo()) else {
        return;
    };
    let (_, code) = CLIENTS.split_once("```rust\n").expect("an example");
    let (first, _) = code.split_once('\n').expect("lines");
    let dependency = first.strip_prefix("// reqwest = ").expect("the dependency");
    let (dependency, _) = dependency.split_once("},").expect("its end");

    let folder = build_folder("example-rust");
    let lock = folder.join("Cargo.lock");
    if !lock.exists() {
        // The dependencies of both are downloaded already.
        let ours = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));
        write(&lock, ours);
    }
    write(
        &folder.join("Cargo.toml"),
        &format!(
            "package = {{ name = \"example\", edition = \"2024\" }}\n\
             bin = [{{ name = \"example\", path = \"main.rs\" }}]\n\
             workspace = {{}}\nprofile.dev.debug = false\n\
             [dependencies]\nreqwest = {dependency}}}\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"rt\"] }}\n"
        ),
    );
    write(&folder.join("main.rs"), "fn main() {}\n");
    let fetched = fetch.arg("fetch").current_dir(&folder).output();
    let fetched = fetched.expect("the program runs");
    if !fetched.status.success() {
        let stderr = String::from_utf8_lossy(&fetched.stderr);
        skip(&format!(
            "the example for Rust, because reqwest cannot be fetched: {stderr}"
        ));
        return;
    }
    let arguments = ["--quiet", "--offline", "--target-dir", "target"];
    let status = build
        .arg("build")
        .args(arguments)
        .current_dir(&folder)
        .status();
    assert!(status.expect("the program runs").success());

    // After the dependencies are built: the call of the tour is a hit for `scope.recheck` only.
    let demo = Demo::start().await;
    let code = example(CLIENTS, "rust", &demo);
    write(
        &folder.join("main.rs"),
        &format!(
            "#[tokio::main(flavor = \"current_thread\")]\n\
             async fn main() -> Result<(), Box<dyn std::error::Error>> {{\n{code}\nOk(())\n}}\n"
        ),
    );
    assert_shows_a_hit(run.arg("run").args(arguments).current_dir(&folder));
}

#[tokio::test]
async fn the_example_for_go_works() {
    let folder = build_folder("example-go");
    let go = || {
        let mut go = tool("go")?;
        // No downloads, and no files outside of the folder.
        go.envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local")]);
        go.env("GOENV", "off").env("GOCACHE", folder.join("cache"));
        Some(go)
    };
    let (Some(mut build), Some(mut go)) = (go(), go()) else {
        return;
    };
    // Before the demo starts: the call of the tour is a hit for `scope.recheck` only.
    run(build.args(["build", "net/http"]));
    let demo = Demo::start().await;
    let imports = ["fmt", "io", "log", "net/http", "os"].map(|name| format!("import {name:?}\n"));
    let (imports, code) = (imports.concat(), example(CLIENTS, "go", &demo));
    let file = folder.join("main.go");
    write(
        &file,
        &format!("package main\n{imports}func main() {{\n{code}}}\n"),
    );
    assert_shows_a_hit(go.arg("run").arg(&file));
}
