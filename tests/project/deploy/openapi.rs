//! The document that the admin listener has for developers.

use std::fs;

use super::demo::Demo;
use super::tools::{content, tool};

#[tokio::test]
async fn the_openapi_document_is_one() {
    let Some(mut validator) = tool("openapi-spec-validator") else {
        return;
    };
    let demo = Demo::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("openapi.json");
    fs::write(&file, demo.admin("/openapi.json").await).expect("a temporary file");
    content(validator.args(["--schema", "3.1"]).arg(file));
}
