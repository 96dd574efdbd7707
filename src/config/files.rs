//! Files that settings name: the admin token and the certificate authorities.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;

/// The token in a file: its first line.
///
/// # Errors
///
/// The fault of the file, without its path and content.
pub fn token_of(path: &Path) -> Result<SecretString, String> {
    token(&beginning(path)?)
}

/// The file, up to a length that no such file reaches; a device has no end.
fn beginning(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(16 << 20).read_to_string(&mut text))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
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

/// Checks that a file may hold certificates; they are parsed where they are used.
pub(super) fn check_certificates(path: &Path) -> Result<(), String> {
    let text = beginning(path)?;
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(());
    }
    Err("the file holds no certificate; write PEM, with -----BEGIN CERTIFICATE-----".to_owned())
}
