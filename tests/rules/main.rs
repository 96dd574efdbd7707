//! Rules as tables and models: no socket, no time that passes.

mod prune_model;
mod rfc9111;
