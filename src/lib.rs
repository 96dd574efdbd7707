//! A caching reverse proxy for the Stuut API: the map of the crate.
//!
//! # Layers
//!
//! A module uses only the modules below it, and files do not depend on each other in a cycle;
//! `tests/project/layers.rs` checks both.
//!
//! ```text
//! process      main  cli  process
//! sockets      server  admin
//! decisions    proxy
//! state, I/O   cache | upstream | otlp         (they do not use each other)
//! instruments  in_transit  telemetry  clock
//! meaning      request  view  policy  coding  json  outcome   (pure)
//! settings     config  label
//! ```
//!
//! # The life of a request
//!
//! [`server`] accepts a connection, reads plain requests for stored responses itself and has hyper
//! read all others, with one timer for all timeouts; gives each request an id and an arrival time,
//! counts it when it ends, and turns a panic into a 500.
//! [`proxy`] does the rest:
//!
//! 1. [`request`] parses the head once: into a [`Call`](request::Call) that the store may answer,
//!    a [`Bypass`](request::Bypass) with its reason, or a [`Refusal`](request::Refusal).
//! 2. A bypass is forwarded by [`upstream`] unchanged, streamed both ways.
//! 3. A call is looked up in [`cache`] under a [`CacheKey`](request::CacheKey), which cannot be
//!    built without a [`Scope`](request::Scope); [`view`] derives the part that the client wants,
//!    and [`policy`] decides how a stored response may be used.
//! 4. If none may be used, the response is fetched once for all clients that wait for it, even if
//!    the client that started the fetch leaves. A purge, a write or a refused token starts a new
//!    generation; a response fetched under an older one is not stored. Admission in [`upstream`]
//!    refuses a fetch while the circuit breaker is open, during a `Retry-After`, or when all slots
//!    are taken; then a stale response is served if that is allowed. A hit skips all of this.
//! 5. The [`Outcome`](outcome::Outcome) is defined once; the `Cache-Status` field, the metric
//!    label and the log field are its renderings.
//!
//! Commands such as `demo` serve the simulated API, a package of its own (`simulator/`), which
//! does not depend on the proxy.
//!
//! # What is deliberately absent
//!
//! - Only [`server`] and [`admin`] accept connections, and nothing below [`proxy`] chooses a status
//!   code: all of ours are in one file, `proxy/error.rs`.
//! - The pure modules have no clock, no lock and no await: `now` is a parameter, a
//!   [`Moment`](policy::Moment).
//! - [`cache`] does not fetch and [`upstream`] does not store; [`proxy`] joins them.
//! - Nothing is stored without a scope, and no type can print a token.

pub mod admin;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod coding;
pub mod config;
pub mod in_transit;
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
mod units;
pub mod upstream;
mod version;
pub mod view;
