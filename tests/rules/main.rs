//! Rules as tables and models: no sockets, no clock.

mod pruning;
mod rfc9111;
