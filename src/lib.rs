//! A caching reverse proxy for the Stuut API.

pub mod clock;
pub mod config;
pub mod json;
pub mod outcome;
pub mod policy;
pub mod simulator;
pub mod view;
