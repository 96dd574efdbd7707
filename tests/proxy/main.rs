//! Stories over real sockets: a client, the running proxy, and an origin that does as it is told.

mod support;

mod hits;
mod isolation;
