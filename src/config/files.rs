//! The files that settings name: the admin token and the certificate authorities.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use secrecy::SecretString;

use super::Draft;

/// Reads the files a draft names, so that a missing one is told before any port is bound.
pub(super) fn named(mut draft: Draft) -> Draft {
    if let Some(path) = draft.config.admin.token_file.clone() {
        match token_of(&path) {
            Ok(token) => draft.config.admin.token = Some(token),
            // Neither the token nor the path is shown: somebody may have written
            // the token itself where its file belongs.
            Err(message) => draft.refuse("admin.token_file", message),
        }
    }
    if let Some(path) = draft.config.upstream.ca_file.clone() {
        let text = beginning(&path).map_err(unreadable);
        if let Err(message) = text.and_then(|text| certificates(&text)) {
            draft.refuse("upstream.ca_file", message);
        }
    }
    draft
}

/// The token in a file: its first line.
///
/// # Errors
///
/// What is wrong with the file; neither its path nor what is in it.
pub fn token_of(path: &Path) -> Result<SecretString, String> {
    beginning(path)
        .map_err(unreadable)
        .and_then(|text| token(&text))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err has it")]
fn unreadable(error: io::Error) -> String {
    format!("the file cannot be read: {error}")
}

/// The file, up to a length that no such file reaches; a device has no end.
fn beginning(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(16 << 20).read_to_string(&mut text)?;
    Ok(text)
}

/// The first line, in the form a client can present as a bearer token (RFC 6750 §2.1).
fn token(text: &str) -> Result<SecretString, String> {
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err("the file's first line is empty; write the token there".to_owned());
    }
    let body = line.trim_end_matches('=');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    if body.is_empty() || !body.chars().all(plain) {
        return Err(
            "the file's first line is not a bearer token; write letters, digits, -, ., _, ~, + or \
             /, then any ="
                .to_owned(),
        );
    }
    Ok(SecretString::from(line.to_owned()))
}

/// A look, not a verdict: the certificates are parsed where they are used.
fn certificates(text: &str) -> Result<(), String> {
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(());
    }
    Err("the file holds no certificate; write PEM, with -----BEGIN CERTIFICATE-----".to_owned())
}
