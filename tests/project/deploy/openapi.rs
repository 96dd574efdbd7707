//! The admin listener's description of the API (`/openapi.json`).

use std::fs;

use crate::demo::Demo;
use crate::tools::{run, tool};

#[tokio::test]
async fn the_openapi_document_is_valid() {
    let Some(mut validator) = tool("openapi-spec-validator") else {
        return;
    };
    let demo = Demo::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("openapi.json");
    fs::write(&file, demo.admin("/openapi.json").await).expect("a temporary file");
    run(validator.args(["--schema", "3.1"]).arg(file));
}
