//! Stories over real sockets: a client, the running proxy, and an origin that does as it is told.

#![expect(unreachable_pub, reason = "nothing is outside of a test binary")]

mod support;

mod caching {
    mod calls;
    mod client_directives;
    mod coalescing;
    mod fence;
    mod freshness;
    mod hits;
    mod invalidation;
    mod resurrection;
    mod stale;
    mod validation;
    mod vary;
}

mod connections {
    mod bounds;
    mod client_tls;
    mod drain;
    mod framing;
    mod hostile;
    mod server;
}

mod forwarding {
    mod requests;
    mod streaming;
}

mod isolation {
    pub mod named_scopes;
    mod poisoning;
    mod secrets;
    mod tokens;
}

mod operations {
    mod admin;
    mod commands;
    mod dashboard;
    mod doctor;
    mod lifecycle;
    mod log;
    mod memory;
    mod openapi;
    #[cfg(feature = "otlp")]
    mod otlp;
    mod reload;
    mod traces;
}

mod origin {
    mod breaker;
    mod failures;
    mod faults;
    mod late;
    mod overload;
    mod retries;
    mod retry_after;
    mod upstream_tls;
}

mod representations {
    mod codings;
    mod views;
}
