//! The files that a configuration names, and the configuration file itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::config::{Loaded, Problems, ScopeKey, draft, render};

/// Loads with `key` set to a file of this content.
fn with_file(key: &str, content: &[u8]) -> Result<Loaded, Problems> {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("named");
    std::fs::write(&path, content).expect("a file in it");
    let path = path.to_string_lossy();
    let flag = ("--file", key, &*path);
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
fn a_pem_file_must_have_what_it_is_for() {
    let certificate = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let key = b"-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";
    for (name, fits, fits_not, what) in [
        (
            "upstream.ca_file",
            &certificate[..],
            &b"hello"[..],
            "certificate",
        ),
        ("shared.ca_file", certificate, key, "certificate"),
        ("shared.cert", certificate, key, "certificate"),
        ("shared.key", key, certificate, "private key"),
    ] {
        let expected = format!("{name}: the file holds no {what}");
        let of = |content| {
            with_file(name, content)
                .err()
                .map(|problems| problems.to_string())
        };
        let problems = of(fits_not).unwrap_or_default();
        assert!(problems.contains(&expected), "{problems}");
        // The certificate and its key go together; that is another rule.
        assert!(!of(fits).unwrap_or_default().contains(&expected));
    }
}

#[test]
fn the_password_of_the_engine_is_the_first_line_and_is_never_printed() {
    let loaded = with_file("shared.password_file", b" s3cret word\nmore\n")
        .unwrap_or_else(|problems| panic!("{problems}"));
    let password = loaded.config.shared.password.as_ref().expect("a password");
    assert_eq!(password.0.expose_secret(), " s3cret word");
    let effective = render::effective(&loaded.config, &loaded.sources);
    for printed in [format!("{loaded:?}"), effective] {
        assert!(!printed.contains("s3cret"), "{printed}");
    }
    let problems = problems_of(with_file("shared.password_file", b"\ns3cret"));
    assert!(problems.contains("first line is empty"), "{problems}");
}

#[test]
fn missing_files_are_reported_together() {
    let path = Path::new("/nowhere/proxy.toml");
    let flags = [
        ("--a", "admin.token_file", "/nowhere/token"),
        ("--b", "upstream.ca_file", "/nowhere/ca"),
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

#[test]
fn credentials_of_a_proxy_are_read_from_a_file_and_never_printed() {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("named");
    let named = path.to_string_lossy();
    let flag = ("--file", "upstream.proxy_credentials_file", &*named);
    let variables = [(
        "HTTPS_PROXY".to_owned(),
        "http://env:s3cret@proxy:3128".to_owned(),
    )];
    std::fs::write(&path, "svc:pa:ss é\nmore\n").expect("a file in it");
    for (flags, secret) in [
        (&[][..], "Basic ZW52OnMzY3JldA=="),
        (&[flag][..], "Basic c3ZjOnBhOnNzIMOp"),
    ] {
        let loaded = draft(None, &variables, flags).finish();
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let credentials = loaded.config.upstream.proxy_credentials.as_ref();
        assert_eq!(credentials.expect("credentials").0.expose_secret(), secret);
        let effective = render::effective(&loaded.config, &loaded.sources);
        assert!(
            effective.contains("proxy = \"http://proxy:3128\"  # HTTPS_PROXY\n"),
            "{effective}"
        );
        for printed in [format!("{loaded:?}"), effective] {
            for secret in ["s3cret", "pa:ss", &secret["Basic ".len()..]] {
                assert!(!printed.contains(secret), "{printed}");
            }
        }
    }
    for content in ["", "s3cret", ":s3cret", "s3\tcret:x"] {
        let problems = problems_of(with_file(
            "upstream.proxy_credentials_file",
            content.as_bytes(),
        ));
        let expected =
            "--file: upstream.proxy_credentials_file: the file's first line is not user:password";
        assert_eq!(problems, expected);
    }
}

#[test]
fn a_password_in_the_url_of_a_proxy_is_refused_without_showing_it() {
    let flag = ("--proxy", "upstream.proxy", "http://u:s3cret@proxy:3128");
    // The environment is no substitute for a refused value.
    let variables = [("HTTPS_PROXY".to_owned(), "http://proxy:3128".to_owned())];
    assert_eq!(
        problems_of(draft(None, &variables, &[flag]).finish()),
        "--proxy: upstream.proxy: a password does not belong here; write user:password in a file, \
         and its path as upstream.proxy_credentials_file"
    );
}

#[test]
fn the_scope_key_is_read_from_a_private_file_and_never_printed() {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("named");
    let load = |content: &str, mode| {
        std::fs::write(&path, content).expect("a file in it");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let path = path.to_string_lossy();
        let flag = ("--file", "scope.key_file", &*path);
        draft(None, &[], &[flag]).finish()
    };
    let (key, digits) = (ScopeKey::random(), ScopeKey::random().hex());
    let loaded = load(&format!("{}\n", *key.hex()), 0o600);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.config.scope.key.as_ref() == Some(&key));
    for printed in [
        format!("{loaded:?}"),
        render::effective(&loaded.config, &loaded.sources),
    ] {
        assert!(!printed.contains(key.hex().as_str()), "{printed}");
        assert!(printed.contains("named"), "{printed}");
    }

    let two = format!("{}\r\n{}\n\n", *key.hex(), *digits);
    let loaded = load(&two, 0o600).unwrap_or_else(|problems| panic!("{problems}"));
    let second = loaded
        .config
        .scope
        .second_key
        .clone()
        .expect("a second key");
    assert!(loaded.config.scope.key.as_ref() == Some(&key) && second.hex() == digits);
    assert!(!format!("{loaded:?}").contains(digits.as_str()));

    let longer = format!("{}0", *digits);
    let twice = format!("{0}\n{0}\n", *digits);
    let three = format!("{two}{}", *ScopeKey::random().hex());
    for (content, mode, expected) in [
        ("", 0o600, "not one key"),
        (&digits[1..], 0o600, "not one key"),
        (&longer, 0o600, "not one key"),
        (&twice, 0o600, "not one key, or two different ones"),
        (&format!("{two}x"), 0o600, "not one key"),
        (&format!("x\n{two}"), 0o600, "not one key"),
        (&three, 0o600, "not one key"),
        (digits.as_str(), 0o604, "other users may read or write"),
        (&digits, 0o620, "other users may read or write"),
    ] {
        let problems = problems_of(load(content, mode));
        assert!(
            problems.starts_with("--file: scope.key_file: "),
            "{problems}"
        );
        assert!(problems.contains(expected), "{problems}");
        assert!(!problems.contains(&digits[1..]), "{problems}");
    }
}
