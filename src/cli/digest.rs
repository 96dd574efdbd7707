//! `digest`: the digest of a token, for `[scope.named]`.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use super::print;
use crate::config::{TokenDigest, is_b64token};

/// Maximum input, longer than any token.
const MAX_INPUT: u64 = 64 << 10;

/// Reads the token from standard input: arguments are visible to every user of the machine.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let mut input = Vec::new();
    std::io::stdin()
        .take(MAX_INPUT)
        .read_to_end(&mut input)
        .context("cannot read standard input")?;
    let token = input.trim_ascii();
    ensure!(
        is_b64token(token),
        "this is not a bearer token; write it to standard input, without \"Bearer\""
    );
    print(format!("{}\n", TokenDigest::of(token)))?;
    Ok(ExitCode::SUCCESS)
}
