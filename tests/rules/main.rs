//! Rules as tables and models: no socket, no time that passes.

mod pruning;
mod rfc9111;
