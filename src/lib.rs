//! A caching reverse proxy for the Stuut API: the map of the crate.
//!
//! # Layers
//!
//! A module uses only the modules below it, and no files use each other in a circle;
//! `tests/project/layers.rs` checks both.
//!
//! ```text
//! process      main  cli  process
//! sockets      server  admin
//! decisions    proxy
//! state, I/O   cache | upstream | otlp         (they do not use each other)
//! instruments  telemetry  clock
//! meaning      request  view  policy  coding  json  outcome   (pure)
//! settings     config  label
//! ```
//!
//! # The life of a request
//!
//! [`server`] accepts a connection, runs hyper on it under one timer, gives each request an id and
//! a time, counts it at its end, and turns a panic into a 500. [`proxy`] decides from there on:
//!
//! 1. [`request`] reads the head once: a [`Call`](request::Call) that may be answered from
//!    memory, a [`Bypass`](request::Bypass) with its reason, or a [`Refusal`](request::Refusal).
//! 2. A bypass is forwarded by [`upstream`] unchanged, streamed both ways.
//! 3. A call is looked up in [`cache`] under a [`CacheKey`](request::CacheKey), which cannot be
//!    built without a [`Scope`](request::Scope); [`view`] derives the part that the client wants,
//!    and [`policy`] decides how a stored response may be used.
//! 4. Otherwise the response is fetched: once for all clients that want it meanwhile, on a task
//!    that outlives the first of them. A purge, a write or a refused token starts a new generation,
//!    and what was fetched before it is not stored. Admission in [`upstream`] refuses a fetch while
//!    the circuit breaker is open, after a `Retry-After`, or when all slots are taken; a stale
//!    response is served then where that is allowed. A hit passes none of this.
//! 5. The [`Outcome`](outcome::Outcome) is defined once; the `Cache-Status` field, the metric
//!    label and the log field are its renderings.
//!
//! Commands such as `demo` serve the simulated API, a package of its own (`simulator/`), which
//! does not depend on the proxy.
//!
//! # What is deliberately absent
//!
//! - Only [`server`] and [`admin`] accept connections, and nothing below [`proxy`] has our own
//!   status codes: those are in one file, `proxy/error.rs`.
//! - The pure modules have no clock, no lock and no await: `now` is a parameter, a
//!   [`Moment`](policy::Moment).
//! - [`cache`] does not fetch and [`upstream`] does not store; [`proxy`] joins them.
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
