//! `digest`: what stands for a token in `[scope.named]`.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use super::print;
use crate::config::TokenDigest;
use crate::request::is_b64token;

/// More than any token is long.
const MOST: u64 = 64 << 10;

/// The token comes on standard input: an argument would be seen by everybody on the machine.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let mut written = Vec::new();
    std::io::stdin()
        .take(MOST)
        .read_to_end(&mut written)
        .context("cannot read standard input")?;
    let token = written.trim_ascii();
    ensure!(
        is_b64token(token),
        "this is not a bearer token; write it to standard input, without \"Bearer\""
    );
    print(format!("{}\n", TokenDigest::of(token)))?;
    Ok(ExitCode::SUCCESS)
}
