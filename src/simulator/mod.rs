//! A simulated Stuut API.

mod call;
mod call_id;
mod classification;
mod dice;
mod email;
mod integration;
mod invoice;
mod life;
mod object;
mod options;
mod partner;
mod payment;
mod people;
mod scene;
#[cfg(test)]
mod schema;
mod time;
mod transcript;

pub use options::{Error, Options, Organisation};
