//! What must agree between keys.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::render::bare_or_quoted;
use super::{Config, Draft};

/// A rule between keys: what is wrong, if something is.
struct Rule {
    keys: &'static [&'static str],
    broken: fn(&Config) -> Option<String>,
}

const RULES: &[Rule] = &[
    Rule {
        keys: &["server.listen", "admin.listen"],
        broken: |config| {
            let (server, admin) = (config.server.listen, config.admin.listen);
            collide(server, admin).then(|| {
                format!(
                    "server.listen ({server}) and admin.listen ({admin}) are the same; write \
                     another port for one of them"
                )
            })
        },
    },
    Rule {
        keys: &["cache.max_entry", "cache.capacity"],
        broken: |config| {
            let (entry, capacity) = (config.cache.max_entry, config.cache.capacity);
            (entry > capacity).then(|| {
                format!(
                    "cache.max_entry ({entry}) is larger than cache.capacity ({capacity}); write \
                     a smaller entry or a larger capacity"
                )
            })
        },
    },
    Rule {
        keys: &["upstream.connect_timeout", "upstream.total_timeout"],
        broken: |config| {
            let upstream = &config.upstream;
            (upstream.connect_timeout > upstream.total_timeout).then(|| {
                "upstream.connect_timeout is longer than upstream.total_timeout, which includes \
                 it; write a shorter one or a longer total"
                    .to_owned()
            })
        },
    },
    Rule {
        keys: &["server.tls.cert", "server.tls.key"],
        broken: |config| {
            let tls = &config.server.tls;
            (tls.cert.is_some() != tls.key.is_some()).then(|| {
                "server.tls.cert and server.tls.key go together; write both, or neither".to_owned()
            })
        },
    },
    Rule {
        keys: &["server.tls.client_ca", "server.tls.cert"],
        broken: |config| {
            let tls = &config.server.tls;
            (tls.client_ca.is_some() && tls.cert.is_none()).then(|| {
                "server.tls.client_ca needs server.tls.cert: without TLS no client can show a \
                 certificate"
                    .to_owned()
            })
        },
    },
    Rule {
        keys: &["limits.uri", "limits.header_bytes"],
        broken: |config| {
            let limits = &config.limits;
            (limits.uri > limits.header_bytes).then(|| {
                "limits.uri is larger than limits.header_bytes, which includes it; write a smaller \
                 target or a larger head"
                    .to_owned()
            })
        },
    },
    Rule {
        keys: &["views.strip_option", "views.fields_option"],
        broken: |config| same_option(&config.views.strip_option, &config.views.fields_option),
    },
    Rule {
        keys: &["views.strip_option", "views.view_option"],
        broken: |config| same_option(&config.views.strip_option, &config.views.view_option),
    },
    Rule {
        keys: &["views.fields_option", "views.view_option"],
        broken: |config| same_option(&config.views.fields_option, &config.views.view_option),
    },
];

/// Adds a problem for every rule that is broken.
///
/// It stands at the key that was written last, in the order of precedence, because
/// that one turned a good configuration into a bad one.
pub(super) fn agree(draft: &mut Draft) {
    for rule in RULES {
        // A value that could not be read has been told; comparing its default with
        // another key would only add an echo.
        if rule.keys.iter().any(|key| draft.problems.concern(key)) {
            continue;
        }
        let Some(message) = (rule.broken)(&draft.config) else {
            continue;
        };
        let last = rule.keys.iter().max_by_key(|key| draft.sources.of(key));
        if let Some(key) = last {
            draft.refuse(key, message);
        }
    }
    one_scope_a_token(draft);
}

fn one_scope_a_token(draft: &mut Draft) {
    let mut seen = HashMap::new();
    let mut twice = Vec::new();
    for scope in &draft.config.scope.named {
        for token in &scope.tokens {
            if let Some(before) = seen.insert(*token, &scope.name) {
                let message = format!(
                    "one of these tokens is listed in {before:?} already; a token has one scope"
                );
                twice.push((
                    format!("scope.named.{}", bare_or_quoted(&scope.name)),
                    message,
                ));
            }
        }
    }
    for (key, message) in twice {
        draft.refuse(&key, message);
    }
}

/// Whether the second of two listeners could not be bound. Port 0 is a fresh port each time.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || any)
}

fn same_option(one: &str, other: &str) -> Option<String> {
    (one == other).then(|| format!("two query options are called {one:?}; write distinct names"))
}
