//! Stories over real sockets: a client, the running proxy, and an origin that does as it is told.

#![expect(unreachable_pub, reason = "nothing is outside of a test binary")]

mod support;

mod forwarding;
mod hits;
mod isolation;
mod origin_faults;
mod server;
mod streaming;
mod upstream_tls;
