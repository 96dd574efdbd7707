//! Integration tests over real sockets: a client, the running proxy, and a scripted origin.

#![expect(
    clippy::disallowed_methods,
    reason = "real programs and certificates use the real time"
)]
#![expect(unreachable_pub, reason = "a test binary has no external users")]

mod support;

mod caching {
    mod calls;
    mod client_directives;
    mod coalescing;
    mod conditions;
    mod cookies;
    mod fence;
    mod freshness;
    mod hits;
    mod invalidation;
    mod purging;
    mod resurrection;
    mod signed_urls;
    mod stale;
    mod stale_if_error;
    mod suspended;
    pub mod unknown;
    mod validation;
    mod vary;
    mod writes;
}

mod connections {
    mod bounds;
    mod client_tls;
    mod direct;
    mod drain;
    mod framing;
    mod hostile;
    mod server;
    mod timeouts;
}

mod forwarding {
    mod fields;
    mod requests;
    mod streaming;
}

mod isolation {
    mod acceptance;
    pub mod named_scopes;
    mod poisoning;
    mod recheck;
    mod secrets;
    mod tokens;
}

mod operations {
    mod admin;
    mod callers;
    mod commands;
    mod dashboard;
    mod doctor;
    mod lifecycle;
    mod log;
    mod memory;
    mod notes;
    mod openapi;
    #[cfg(feature = "otlp")]
    mod otlp;
    mod reload;
    mod replicas;
    mod traces;
}

mod origin {
    mod bodies;
    mod breaker;
    mod failures;
    mod faults;
    mod forward_proxy;
    mod overload;
    mod retries;
    mod retry_after;
    mod reuse;
    mod slow;
    mod upstream_tls;
}

mod representations {
    mod compression;
    mod decoding;
    mod flood;
    mod memoised;
    mod views;
}

mod waiting;

#[cfg(feature = "shared")]
mod shared {
    mod coalescing;
    mod doctor;
    mod engine;
    mod entries;
    mod failures;
    mod fence;
    mod invalidation;
    mod memory;
    mod named_scopes;
    mod operators;
    mod waiting;
}
