//! Stories over real sockets: a client, the running proxy, and an origin that does as it is told.

#![expect(unreachable_pub, reason = "nothing is outside of a test binary")]

mod support;

mod admin;
mod bounds;
mod breaker;
mod calls;
mod client_directives;
mod client_tls;
mod codings;
mod collapse;
mod commands;
mod dashboard;
mod doctor;
mod drain;
mod faults;
mod fence;
mod forwarding;
mod framing;
mod freshness;
mod hits;
mod hostile;
mod invalidation;
mod isolation;
mod late;
mod lifecycle;
mod log;
mod memory;
mod named_scopes;
mod openapi;
mod origin_faults;
#[cfg(feature = "otlp")]
mod otlp;
mod overload;
mod poisoning;
mod reload;
mod resurrection;
mod retries;
mod retry_after;
mod secrets;
mod server;
mod stale;
mod streaming;
mod traces;
mod upstream_tls;
mod validation;
mod vary;
mod views;
