//! Stories over real sockets: a client, the running proxy, and an origin that does as it is told.

#![expect(
    unreachable_pub,
    reason = "the stories are one binary; what the support module offers them is public to them"
)]

mod support;

mod client_directives;
mod collapse;
mod fence;
mod freshness;
mod hits;
mod invalidation;
mod isolation;
mod resurrection;
mod secrets;
mod stale;
mod validation;
mod vary;
mod views;
