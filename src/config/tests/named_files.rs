//! The files that a configuration names, and the configuration file itself.

use std::path::Path;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::config::{Flag, Loaded, Problems, draft, render};

/// Loads with `key` set to a file of this content.
fn with_file(key: &str, content: &[u8]) -> Result<Loaded, Problems> {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("named");
    std::fs::write(&path, content).expect("a file in it");
    let flag = Flag::new("--file", key, path.to_string_lossy());
    draft(None, &[], &[flag]).finish()
}

fn problems_of(result: Result<Loaded, Problems>) -> String {
    match result {
        Ok(_) => panic!("should be refused"),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn the_token_is_the_first_line_and_is_never_printed() {
    let loaded = with_file("admin.token_file", b"  s3cr3t-T0ken==\r\n# a remark\n")
        .unwrap_or_else(|problems| panic!("{problems}"));
    let token = loaded.config.admin.token.as_ref().expect("a token");
    assert_eq!(token.0.expose_secret(), "s3cr3t-T0ken==");
    let effective = render::effective(&loaded.config, &loaded.sources);
    for printed in [format!("{loaded:?}"), effective] {
        assert!(!printed.contains("s3cr3t"), "{printed}");
        assert!(printed.contains("named"), "{printed}");
    }
}

#[test]
fn a_file_without_a_token_is_refused_without_showing_it() {
    for (content, expected) in [
        (&b""[..], "first line is empty"),
        (b"\ntoken", "first line is empty"),
        (b"Bearer s3cr3t", "not a bearer token"),
        (b"s3cr=3t", "not a bearer token"),
        (b"====", "not a bearer token"),
        (b"s3cr3t\xff", "cannot be read"),
    ] {
        let problems = problems_of(with_file("admin.token_file", content));
        assert!(
            problems.starts_with("--file: admin.token_file: "),
            "{problems}"
        );
        assert!(problems.contains(expected), "{problems}");
        assert!(!problems.contains("s3cr"), "{problems}");
    }
}

#[test]
fn a_ca_file_must_have_a_certificate() {
    let pem = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    assert!(with_file("upstream.ca_file", pem).is_ok());
    let problems = problems_of(with_file("upstream.ca_file", b"hello"));
    assert!(problems.contains("holds no certificate"), "{problems}");
}

#[test]
fn missing_files_are_reported_together() {
    let path = Path::new("/nowhere/proxy.toml");
    let flags = [
        Flag::new("--a", "admin.token_file", "/nowhere/token"),
        Flag::new("--b", "upstream.ca_file", "/nowhere/ca"),
    ];
    // The entry does not fit the default capacity, but the unreadable file may set another.
    let variables = [(
        "STUUT_CACHE__CACHE__MAX_ENTRY".to_owned(),
        "1GiB".to_owned(),
    )];
    assert_eq!(
        problems_of(draft(Some(path), &variables, &flags).finish()),
        "/nowhere/proxy.toml: cannot be read: No such file or directory (os error 2); write the \
         path of a TOML file\n\
         --a: admin.token_file: the file cannot be read: No such file or directory (os error 2)\n\
         --b: upstream.ca_file: the file cannot be read: No such file or directory (os error 2)"
    );
}
