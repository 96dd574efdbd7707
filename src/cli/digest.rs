//! `digest`: the digest of a token, for `[scope.named]`.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use super::print;
use crate::config::{TokenDigest, is_b64token};

/// More than the length of any token.
const MOST: u64 = 64 << 10;

/// Reads the token from standard input: every user of the machine can see arguments.
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
