//! No key is dead: each can be set by file, variable and flag, and sets nothing else.

use super::{Config, Draft, all, file, good};
use crate::config::CallStatus;
use crate::config::environment::variable;
use crate::config::settings::{KEYS, Key};
use crate::label::Label as _;

/// Another value than the default for every key, in TOML.
const OTHERS: &[(&str, &str)] = &[
    ("server.listen", r#""[::1]:81""#),
    ("server.workers", "3"),
    ("server.max_connections", "77"),
    ("server.trusted_proxies", r#"["10.0.0.0/8", "::1"]"#),
    ("server.header_timeout", r#""11s""#),
    ("server.idle_timeout", r#""12s""#),
    ("server.drain_timeout", r#""0s""#),
    ("server.openapi_path", r#""/openapi.json""#),
    ("admin.listen", r#""10.0.0.1:91""#),
    ("admin.token_file", r#""/run/token""#),
    ("admin.token_for", r#""all""#),
    ("upstream.url", r#""http://localhost:8000""#),
    ("upstream.proxy", r#""http://proxy:3128""#),
    ("upstream.proxy_credentials_file", r#""/run/credentials""#),
    ("upstream.connect_timeout", r#""250ms""#),
    ("upstream.response_timeout", r#""13s""#),
    ("upstream.total_timeout", r#""14s""#),
    ("upstream.forward_timeout", r#""15s""#),
    ("server.tls.cert", r#""/etc/cert.pem""#),
    ("server.tls.key", r#""/etc/key.pem""#),
    ("server.tls.client_ca", r#""/etc/clients.pem""#),
    ("upstream.retries", "7"),
    ("upstream.breaker_failures", "8"),
    ("upstream.breaker_pause", r#""3s""#),
    ("upstream.max_connection_age", r#""90s""#),
    ("upstream.max_retry_after", r#""4m""#),
    ("upstream.ca_file", r#""/etc/ca.pem""#),
    ("upstream.forward_headers", r#"["x-tenant", "x-locale"]"#),
    (
        "cache.routes",
        r#"["/a", { path = "/b/{*rest}", ttl = "15s" }]"#,
    ),
    ("cache.mode", r#""off""#),
    ("cache.ignore_set_cookie", r#"["AWSALB", "TS*"]"#),
    ("cache.capacity", r#""1GiB""#),
    ("cache.max_entry", r#""100kB""#),
    ("freshness.default", r#""16s""#),
    ("freshness.origin", r#""override""#),
    ("freshness.private", r#""refuse""#),
    ("freshness.not_found", r#""17s""#),
    ("freshness.stale_while_revalidate", r#""18s""#),
    ("freshness.stale_if_error", r#""19s""#),
    ("freshness.hard_limit", r#""7d""#),
    ("freshness.signed_url_margin", r#""21s""#),
    ("freshness.write_settling", r#""20s""#),
    ("freshness.client_directives", r#""ignore""#),
    ("freshness.settling", r#""22s""#),
    ("freshness.settling_window", r#""23s""#),
    ("freshness.status.pending_approval", r#""24s""#),
    ("freshness.status.queued", r#""25s""#),
    ("freshness.status.registered", r#""26s""#),
    ("freshness.status.initiated", r#""27s""#),
    ("freshness.status.ringing", r#""28s""#),
    ("freshness.status.canceled", r#""29s""#),
    ("freshness.status.in_progress", r#""31s""#),
    ("freshness.status.completed", r#""32s""#),
    ("freshness.status.busy", r#""33s""#),
    ("freshness.status.no_answer", r#""34s""#),
    ("freshness.status.failed", r#""1h 30m""#),
    ("freshness.live", r#"{ "a b" = "35s", partner = "off" }"#),
    ("scope.mode", r#""named""#),
    ("scope.admission_ttl", r#""36s""#),
    ("scope.recheck", r#""off""#),
    ("scope.key_file", r#""/run/key""#),
    (
        "scope.named",
        r#"{ billing = ["0101010101010101010101010101010101010101010101010101010101010101", "0202020202020202020202020202020202020202020202020202020202020202"] }"#,
    ),
    ("scope.names", r#"{ 1a2b3c4d = "billing" }"#),
    ("shared.url", r#"["rediss://a:6380", "rediss://b"]"#),
    ("shared.sentinel", r#""main""#),
    ("shared.username", r#""stuut""#),
    ("shared.password_file", r#""/run/password""#),
    ("shared.ca_file", r#""/etc/ca.pem""#),
    ("shared.cert", r#""/etc/cert.pem""#),
    ("shared.key", r#""/etc/key.pem""#),
    ("shared.prefix", r#""team:stuut""#),
    ("shared.timeout", r#""20ms""#),
    ("shared.lease", r#""5s""#),
    ("shared.alone", r#""own""#),
    ("shared.max_entry", r#""2MiB""#),
    ("views.strip_option", r#""without""#),
    ("views.fields_option", r#""only""#),
    ("views.view_option", r#""as""#),
    ("views.wait_option", r#""until""#),
    ("views.wait_timeout_option", r#""patience""#),
    ("views.named", r#"{ tiny = { fields = "id,status" } }"#),
    ("limits.in_flight", "36"),
    ("limits.streams", "78"),
    ("limits.uploads", "79"),
    ("limits.waiting", "80"),
    ("limits.wait_timeout", r#""25s""#),
    ("limits.in_transit", r#""2GiB""#),
    ("limits.uri", r#""4KiB""#),
    ("limits.header_bytes", r#""16KiB""#),
    ("limits.headers", "37"),
    ("limits.request_body", r#""1.5MiB""#),
    ("log.format", r#""text""#),
    ("log.level", r#""debug""#),
    ("log.access", "false"),
];

#[track_caller]
fn sets_only(key: &Key, draft: &Draft) {
    // Some keys require others; the only allowed problem is that one of those is missing.
    let problems = draft.clone().finish().err().unwrap_or_default();
    let problems = problems.to_string();
    let is_missing = |reason| problems.contains(reason);
    assert!(
        problems.is_empty() || ["needs ", "go together"].into_iter().any(is_missing),
        "{problems}"
    );
    let (config, default) = (draft.config().clone(), Config::default());
    assert_ne!(config, default, "{}", key.name);
    let changed: Vec<_> = KEYS
        .iter()
        .filter(|other| (other.rendered)(&config) != (other.rendered)(&default))
        .map(|other| other.name)
        .collect();
    assert_eq!(changed, [key.name]);
}

#[test]
fn every_key_is_set_by_file_by_variable_and_by_flag() {
    for key in KEYS {
        let other = OTHERS.iter().find(|(name, _)| *name == key.name);
        let (name, value) = other.unwrap_or_else(|| panic!("{} has no row here", key.name));
        sets_only(key, &file(&format!("{name} = {value}")));

        // Strings in variables have no quotes.
        let value = value.trim_matches('"');
        let variable = variable(name);
        let variable = variable
            .strip_prefix("STUUT_CACHE__")
            .expect("every variable has the prefix");
        sets_only(key, &all("", &[(variable, value)], &[]));
        sets_only(key, &all("", &[], &[("--flag", name, value)]));
    }
    assert_eq!(OTHERS.len(), KEYS.len());
}

#[test]
fn every_status_has_its_own_key() {
    for &status in CallStatus::ALL {
        let key = format!("freshness.status.{}", status.as_str());
        let config = good(file(&format!("{key} = \"42s\"")));
        let lifetime = config.freshness.status.of(status);
        assert_eq!(lifetime.as_secs(), 42, "{key}");
    }
}
