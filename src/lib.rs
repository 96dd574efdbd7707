//! A caching reverse proxy for the Stuut API: the map of the house.
//!
//! # Layers
//!
//! A room uses only what lies below it; `tests/project/layers.rs` reads the imports and holds that.
//!
//! ```text
//! process      main  cli  process
//! sockets      server  admin
//! decisions    proxy
//! state, I/O   cache | upstream | otlp         (strangers to each other)
//! instruments  telemetry  clock
//! meaning      request  view  policy  coding  json  outcome   (pure)
//! settings     config  label
//! ```
//!
//! # The life of a request
//!
//! [`server`] accepts a connection, bounds it with one timer, and hands each request through a
//! small tower stack, which gives it an id and the time, counts it at its end, and turns a panic
//! into a 500. [`proxy`] is the hallway from there on:
//!
//! 1. [`request`] reads the head once: a [`Call`](request::Call) that may be answered from
//!    memory, a [`Bypass`](request::Bypass) with its reason, or a [`Refusal`](request::Refusal).
//! 2. A bypass goes through [`upstream`] as it is, streamed both ways.
//! 3. For a call, [`cache`] is asked under a [`CacheKey`](request::CacheKey), which cannot be
//!    made without a [`Scope`](request::Scope); [`view`] derives the part that is asked for, and
//!    [`policy`] says what it is good for now.
//! 4. What is not fresh is fetched: once for all who ask meanwhile, on a task that outlives its
//!    first client, behind a fence that a purge, a write or a refused token brings down.
//!    Admission in [`upstream`] refuses a fetch while the circuit breaker is open, after a
//!    `Retry-After`, or when all slots are taken; stale is served then where that is allowed. A hit
//!    never comes there.
//! 5. The [`Outcome`](outcome::Outcome) is defined once; the `Cache-Status` field, the metric
//!    label and the log field are its renderings.
//!
//! # What is deliberately absent
//!
//! - Nothing below [`server`] knows of sockets, and nothing below [`proxy`] of status codes that
//!   are ours: those are in one file, `proxy/error.rs`.
//! - The pure rooms have no clock, no lock and no await: `now` is a parameter, a
//!   [`Moment`](policy::Moment).
//! - [`cache`] does not fetch and [`upstream`] does not store; the hallway introduces them.
//! - There is no store without a scope, and no type that could print a token.

pub mod admin;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod coding;
pub mod config;
pub mod json;
pub mod label;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod outcome;
pub mod policy;
pub mod process;
pub mod proxy;
pub mod request;
pub mod server;
pub mod telemetry;
pub mod upstream;
pub mod view;
