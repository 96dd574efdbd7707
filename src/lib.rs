//! A caching reverse proxy for the Stuut API.

pub mod admin;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod json;
pub mod label;
pub mod outcome;
pub mod policy;
pub mod process;
pub mod proxy;
pub mod request;
pub mod server;
pub mod simulator;
pub mod telemetry;
pub mod upstream;
pub mod view;
