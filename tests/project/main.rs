//! The project by itself: its layers, its documents, what its program prints, and what `deploy/`
//! holds.

mod cycles;
mod deploy;
mod layers;
mod manual;
mod readme;
mod snapshots;
