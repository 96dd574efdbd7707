//! Stories over real sockets: a client, the running proxy, and an origin that does as it is told.

#![expect(unreachable_pub, reason = "nothing is outside of a test binary")]

mod support;

mod admin;
mod bounds;
mod calls;
mod client_directives;
mod codings;
mod collapse;
mod drain;
mod fence;
mod forwarding;
mod framing;
mod freshness;
mod hits;
mod hostile;
mod invalidation;
mod isolation;
mod log;
mod memory;
mod named_scopes;
mod origin_faults;
mod poisoning;
mod resurrection;
mod secrets;
mod server;
mod stale;
mod streaming;
mod upstream_tls;
mod validation;
mod vary;
mod views;
