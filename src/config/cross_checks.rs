//! Rules between keys, checked after all sources are read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::engine::EngineUrl;
use super::findings::Findings;
use super::scalar::TokenFor;
use super::settings::Config;
use super::wording::bare_or_quoted;

/// A rule between two keys: their names, and the message if it is broken.
type CrossCheck = ([&'static str; 2], fn(&Config) -> Option<String>);

/// Most callers with names.
const MAX_NAMES: usize = 100;

const CROSS_CHECKS: &[CrossCheck] = &[
    (["server.listen", "admin.listen"], |config| {
        let (server, admin) = (config.server.listen, config.admin.listen);
        collide(server, admin).then(|| {
            format!(
                "server.listen ({server}) and admin.listen ({admin}) are the same; write \
                 another port for one of them"
            )
        })
    }),
    (["cache.max_entry", "cache.capacity"], |config| {
        let (entry, capacity) = (config.cache.max_entry, config.cache.capacity);
        (entry > capacity).then(|| {
            format!(
                "cache.max_entry ({entry}) is larger than cache.capacity ({capacity}); write \
                 a smaller entry or a larger capacity"
            )
        })
    }),
    (
        ["upstream.connect_timeout", "upstream.total_timeout"],
        |config| {
            let upstream = &config.upstream;
            (upstream.connect_timeout > upstream.total_timeout).then(|| {
                "upstream.connect_timeout is longer than upstream.total_timeout, which includes \
                 it; write a shorter one or a longer total"
                    .to_owned()
            })
        },
    ),
    (["server.tls.cert", "server.tls.key"], |config| {
        let tls = &config.server.tls;
        (tls.cert.is_some() != tls.key.is_some()).then(|| {
            "server.tls.cert and server.tls.key go together; write both, or neither".to_owned()
        })
    }),
    (["server.tls.client_ca", "server.tls.cert"], |config| {
        let tls = &config.server.tls;
        (tls.client_ca.is_some() && tls.cert.is_none()).then(|| {
            "server.tls.client_ca needs server.tls.cert: without TLS no client can show a \
             certificate"
                .to_owned()
        })
    }),
    (["server.openapi_path", "cache.routes"], |config| {
        let path = config.server.openapi_path.as_ref()?.as_str();
        let mut routes = config.cache.routes.iter().map(|route| route.path.as_str());
        let route = routes.find(|route| {
            let literal = route.split('{').next().unwrap_or(route);
            path.starts_with(literal.trim_end_matches('/'))
        })?;
        Some(format!(
            "server.openapi_path ({path}) would hide a path of the route {route}; write one that \
             the literal part of no route begins, e.g. \"/openapi.json\""
        ))
    }),
    (["admin.token_for", "admin.token_file"], |config| {
        let admin = &config.admin;
        (admin.token_for == TokenFor::All && admin.token_file.is_none()).then(|| {
            "admin.token_for = \"all\" needs admin.token_file; write the file of the token"
                .to_owned()
        })
    }),
    (["shared.url", "scope.key_file"], |config| {
        (is_shared(config) && config.scope.key_file.is_none()).then(|| {
            "shared.url needs scope.key_file, the same key for all replicas; \"stuut-cache key\" \
             prints one"
                .to_owned()
        })
    }),
    (["shared.sentinel", "shared.url"], |config| {
        (config.shared.sentinel.is_some() && !is_shared(config)).then(|| {
            "shared.sentinel needs the URLs of the Sentinels; write them as shared.url".to_owned()
        })
    }),
    (["shared.username", "shared.password_file"], |config| {
        let shared = &config.shared;
        (shared.username.is_some() && shared.password_file.is_none()).then(|| {
            "shared.username needs shared.password_file; write both, or neither".to_owned()
        })
    }),
    (["shared.cert", "shared.key"], |config| {
        let shared = &config.shared;
        (shared.cert.is_some() != shared.key.is_some())
            .then(|| "shared.cert and shared.key go together; write both, or neither".to_owned())
    }),
    (["shared.ca_file", "shared.url"], |config| {
        without_tls("shared.ca_file", config.shared.ca_file.as_ref(), config)
    }),
    (["shared.cert", "shared.url"], |config| {
        without_tls("shared.cert", config.shared.cert.as_ref(), config)
    }),
    (["shared.timeout", "shared.lease"], |config| {
        (config.shared.timeout > config.shared.lease / 2).then(|| {
            "shared.timeout is longer than half of shared.lease; write a shorter one or a longer \
             lease"
                .to_owned()
        })
    }),
    (["limits.uri", "limits.header_bytes"], |config| {
        let limits = &config.limits;
        (limits.uri > limits.header_bytes).then(|| {
            "limits.uri is larger than limits.header_bytes, which includes it; write a smaller \
             target or a larger head"
                .to_owned()
        })
    }),
];

/// Adds a problem for every broken rule.
///
/// Its place is that of the key written last, in the order of precedence: that one turned a
/// valid configuration into an invalid one.
pub(super) fn run(config: &Config, findings: &mut Findings) {
    for (keys, broken) in CROSS_CHECKS {
        // An unreadable value is reported already; a comparison of its default with another key
        // would only mislead.
        if keys.iter().any(|key| findings.problems.concern(key)) {
            continue;
        }
        let Some(message) = broken(config) else {
            continue;
        };
        let last = keys.iter().max_by_key(|key| findings.sources.of(key));
        if let Some(key) = last {
            findings.refuse(key, message);
        }
    }
    one_option_per_name(config, findings);
    one_scope_per_token(config, findings);
    names_of_callers(config, findings);
}

fn names_of_callers(config: &Config, findings: &mut Findings) {
    let names = &config.scope.names;
    let Some(last) = names.last() else { return };
    let key = format!("scope.names.{}", last.scope);
    if config.scope.key_file.is_none() {
        let message =
            "a name needs scope.key_file: without it, each process shows a token as another scope";
        findings.refuse(&key, message.to_owned());
    }
    if names.len() > MAX_NAMES {
        let count = names.len();
        let message = format!(
            "this is one of {count} names, each with metrics of its own; write at most {MAX_NAMES}"
        );
        findings.refuse(&key, message);
    }
}

/// Query options have distinct names.
fn one_option_per_name(config: &Config, findings: &mut Findings) {
    let views = &config.views;
    let options = [
        ("views.strip_option", &views.strip_option),
        ("views.fields_option", &views.fields_option),
        ("views.view_option", &views.view_option),
        ("views.wait_option", &views.wait_option),
        ("views.wait_timeout_option", &views.wait_timeout_option),
    ];
    for (at, (key, name)) in options.iter().enumerate() {
        let same = options[..at].iter().find(|(_, other)| other == name);
        let Some((before, _)) = same else { continue };
        if [key, before]
            .iter()
            .any(|key| findings.problems.concern(key))
        {
            continue;
        }
        let last = std::cmp::max_by_key(*before, *key, |key| findings.sources.of(key));
        let message = format!("two query options are called {name:?}; write distinct names");
        findings.refuse(last, message);
    }
}

fn one_scope_per_token(config: &Config, findings: &mut Findings) {
    let mut seen = HashMap::new();
    for scope in &config.scope.named {
        for token in &scope.tokens {
            if let Some(before) = seen.insert(*token, &scope.name) {
                let key = format!("scope.named.{}", bare_or_quoted(&scope.name));
                let message = format!(
                    "one of these tokens is listed in {before:?} already; a token has one scope"
                );
                findings.refuse(&key, message);
            }
        }
    }
}

/// Whether the second of two listeners could not be bound. Port 0 is a new port each time.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || any)
}

fn is_shared(config: &Config) -> bool {
    !config.shared.url.is_empty()
}

/// The message about a certificate for connections without TLS.
fn without_tls(key: &str, file: Option<&PathBuf>, config: &Config) -> Option<String> {
    let is_tls = config.shared.url.iter().any(EngineUrl::is_tls);
    (file.is_some() && is_shared(config) && !is_tls)
        .then(|| format!("{key} is for TLS, but shared.url has none; write rediss:// there"))
}
