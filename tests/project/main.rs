//! The project by itself: its layers, its documents, what its program prints, and what `deploy/`
//! holds.

#![expect(clippy::disallowed_methods, reason = "waits for real programs")]

mod clients;
mod cycles;
mod demo;
mod deploy;
mod documents;
mod layers;
mod manual;
mod mocking;
mod replicas;
mod snapshots;
mod tools;
