//! Loading: defaults, then the file, then variables, then flags.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::cross_checks;
use super::environment::{self, Flag, variable};
use super::findings::{Findings, Place, Problems, Sources};
use super::forward_proxy;
use super::raw::{self, RawEntry, RawKind};
use super::settings::{Config, KEYS, Key};
use super::values::{ScopeKey, Secret, is_b64token};
use super::wording::{bare_or_quoted, nearest};

/// A configuration file: its text, and its name for messages.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// Such as `config/stuut-cache.toml`.
    pub name: &'a str,
    /// TOML.
    pub text: &'a str,
}

/// A configuration that may still be invalid.
///
/// Other modules, such as the parser of views, add problems with [`Draft::refuse`], so that all are
/// reported together.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    config: Config,
    findings: Findings,
}

/// A valid configuration, and the place of each value.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Their places.
    pub sources: Sources,
}

/// Reads the file, and the files it names, into a draft.
pub fn draft(file: Option<&Path>, variables: &[(String, String)], flags: &[Flag<'_>]) -> Draft {
    let mut draft = Draft::default();
    let name = file.map_or_else(String::new, |path| path.display().to_string());
    let text = file.map(fs::read_to_string).transpose();
    let text = text.unwrap_or_else(|error| {
        let name = Arc::from(name.as_str());
        let message = format!("cannot be read: {error}; write the path of a TOML file");
        let place = Place::File { name, at: None };
        draft.findings.problems.add(&place, "", message);
        None
    });
    let name = name.as_str();
    let document = text.as_deref().map(|text| Document { name, text });
    draft.fill(document, variables, flags);
    draft.read_files();
    draft
}

/// Reads the sources into a draft, without opening the files that settings name.
pub fn read(
    document: Option<Document<'_>>,
    variables: &[(String, String)],
    flags: &[Flag<'_>],
) -> Draft {
    let mut draft = Draft::default();
    draft.fill(document, variables, flags);
    draft
}

impl Draft {
    /// The settings that could be read; a refused value leaves the previous one in place.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Adds a problem of `key`, at the place where its value was written.
    pub fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.findings.refuse(key, message);
    }

    /// The configuration, if it has no problem.
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn finish(self) -> Result<Loaded, Problems> {
        let Findings { sources, problems } = self.findings;
        if problems.is_empty() {
            let config = self.config;
            Ok(Loaded { config, sources })
        } else {
            Err(problems)
        }
    }

    /// Each source overrides the one before it.
    fn fill(
        &mut self,
        document: Option<Document<'_>>,
        variables: &[(String, String)],
        flags: &[Flag<'_>],
    ) {
        if let Some(Document { name, text }) = document {
            let name = Arc::from(name);
            self.findings.sources.file = Some(Arc::clone(&name));
            if let Some(entries) = raw::parse(text, &name, &mut self.findings.problems) {
                self.apply(&entries, "");
            }
        }
        let entries = environment::variables(variables, &mut self.findings.problems);
        self.apply(&entries, "");
        let entries = environment::flags(flags, &mut self.findings.problems);
        self.apply(&entries, "");
        self.apply_forward_proxy(variables);
        cross_checks::run(&self.config, &mut self.findings);
    }

    /// The environment's proxy is a value of `upstream.proxy` where that is not set.
    fn apply_forward_proxy(&mut self, variables: &[(String, String)]) {
        const KEY: &str = "upstream.proxy";
        let upstream = &mut self.config.upstream;
        if upstream.proxy.is_some() || self.findings.problems.concern(KEY) {
            return;
        }
        let found = forward_proxy::of_environment(&upstream.url, variables);
        let Some((variable, found)) = found else {
            return;
        };
        let place = Place::Variable(variable.to_owned());
        self.findings.sources.record(KEY, &place);
        if let Some((proxy, credentials)) = self.findings.problems.ok_or_add(&place, KEY, found) {
            upstream.proxy = Some(proxy);
            upstream.proxy_credentials = credentials;
        }
    }

    fn apply(&mut self, entries: &[RawEntry], section: &str) {
        for entry in entries {
            let name = join(section, &bare_or_quoted(&entry.name));
            if let Some(key) = KEYS.iter().find(|key| key.name == name) {
                (key.apply)(&mut self.config, &entry.value, &mut self.findings);
            } else if inside(&name).next().is_some() {
                let table = entry.value.table(&format!("the table [{name}]"));
                let problems = &mut self.findings.problems;
                if let Some(entries) = problems.ok_or_add(&entry.value.place, &name, table) {
                    self.apply(&entries, &name);
                }
            } else {
                // The value is not shown: it may be a misplaced secret.
                let message = unknown(section, entry);
                self.findings.problems.add(&entry.place, &name, message);
            }
        }
    }

    /// Reads the files that settings name, so that a missing one is reported before any port is
    /// bound.
    fn read_files(&mut self) {
        let Config {
            admin,
            scope,
            upstream,
            shared,
            ..
        } = &mut self.config;
        let findings = &mut self.findings;
        let token = findings.file("admin.token_file", admin.token_file.as_deref(), token_of);
        admin.token = token.map(Secret);
        let file = scope.key_file.as_deref();
        if let Some((key, second)) = findings.file("scope.key_file", file, keys_of) {
            (scope.key, scope.second_key) = (Some(key), second);
        }
        let file = upstream.proxy_credentials_file.as_deref();
        if let Some(basic) = findings.file("upstream.proxy_credentials_file", file, basic_of) {
            upstream.proxy_credentials = Some(Secret(basic));
        }
        let file = shared.password_file.as_deref();
        let password = findings.file("shared.password_file", file, password_of);
        shared.password = password.map(Secret);
        for (key, path, section) in [
            ("upstream.ca_file", &upstream.ca_file, "CERTIFICATE"),
            ("shared.ca_file", &shared.ca_file, "CERTIFICATE"),
            ("shared.cert", &shared.cert, "CERTIFICATE"),
            ("shared.key", &shared.key, "PRIVATE KEY"),
        ] {
            findings.file(key, path.as_deref(), |path| check_pem(path, section));
        }
    }
}

fn join(section: &str, name: &str) -> String {
    match section {
        "" => name.to_owned(),
        _ => format!("{section}.{name}"),
    }
}

/// The names directly in a section; the empty section is the top level.
fn inside(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(move |key| {
        let rest = match section {
            "" => key.name,
            _ => key.name.strip_prefix(section)?.strip_prefix('.')?,
        };
        rest.split('.').next()
    })
}

/// The message about an unknown key, with the nearest known one.
fn unknown(section: &str, entry: &RawEntry) -> String {
    let kind = match entry.value.kind {
        RawKind::Table(_) => "section",
        _ => "key",
    };
    let mut here: Vec<_> = inside(section).collect();
    here.dedup();
    let near = nearest(&entry.name, here.iter().copied()).map(|name| join(section, name));
    // Or the right name in the wrong section.
    let same_name = |key: &&Key| key.short().eq_ignore_ascii_case(&entry.name);
    let near = near.or_else(|| KEYS.iter().find(same_name).map(|key| key.name.to_owned()));
    match (near, &entry.place) {
        (Some(key), Place::Variable(_)) => {
            format!("unknown {kind}; did you mean {}?", variable(&key))
        }
        (Some(key), _) => format!("unknown {kind}; did you mean {key}?"),
        (None, _) => format!("unknown {kind}; known here: {}", here.join(", ")),
    }
}

// === files that settings name ===

/// The token in a file: its first line.
///
/// # Errors
///
/// The fault of the file, without its path and content.
pub fn token_of(path: &Path) -> Result<SecretString, String> {
    token(&Zeroizing::new(beginning(path)?))
}

/// `Basic` credentials (RFC 7617) of a file whose first line is `user:password`.
fn basic_of(path: &Path) -> Result<SecretString, String> {
    let text = Zeroizing::new(beginning(path)?);
    let line = text.lines().next().unwrap_or_default();
    if line.find(':').is_none_or(|at| at == 0) || line.contains(char::is_control) {
        return Err("the file's first line is not user:password".to_owned());
    }
    Ok(format!("Basic {}", BASE64_STANDARD.encode(line)).into())
}

/// The keys in a file that other users cannot read.
fn keys_of(path: &Path) -> Result<(ScopeKey, Option<ScopeKey>), String> {
    let text = Zeroizing::new(beginning(path)?);
    let file = fs::metadata(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    if is_exposed(file.mode(), file.uid()) {
        let remedy = "chmod it to 600, or to 640 if root owns it";
        return Err(format!("other users may read or write the file; {remedy}"));
    }
    ScopeKey::parse(&text)
}

/// Whether the mode of a file permits more than its owner. The group may read a file of root: so are
/// credentials mounted by Kubernetes and systemd.
fn is_exposed(mode: u32, owner: u32) -> bool {
    mode & if owner == 0 { 0o037 } else { 0o077 } != 0
}

/// Reads a file, up to a length that no such file has: a device may be endless.
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
    if !is_b64token(line.as_bytes()) {
        return Err(
            "the file's first line is not a bearer token; write letters, digits, -, ., _, ~, + or \
             /, then any ="
                .to_owned(),
        );
    }
    Ok(SecretString::from(line.to_owned()))
}

/// The password in a file: its first line.
fn password_of(path: &Path) -> Result<SecretString, String> {
    let text = Zeroizing::new(beginning(path)?);
    match text.lines().next() {
        None | Some("") => Err("the file's first line is empty; write the password there".into()),
        Some(line) => Ok(line.to_owned().into()),
    }
}

/// Checks that a file may hold certificates or a key; they are parsed where they are used.
fn check_pem(path: &Path, section: &str) -> Result<(), String> {
    let text = Zeroizing::new(beginning(path)?);
    if text.contains(&format!("{section}-----")) {
        return Ok(());
    }
    let what = section.to_lowercase();
    Err(format!(
        "the file holds no {what}; write PEM, with -----BEGIN {section}-----"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_group_of_root_may_read_a_key() {
        for (mode, of_root, of_others) in [
            (0o100_600, false, false),
            (0o100_400, false, false),
            (0o100_440, false, true),
            (0o100_640, false, true),
            (0o100_620, true, true),
            (0o100_604, true, true),
            (0o100_602, true, true),
        ] {
            assert_eq!(is_exposed(mode, 0), of_root, "{mode:o}");
            assert_eq!(is_exposed(mode, 1000), of_others, "{mode:o}");
        }
    }
}
