//! The instruments: metrics, log and access log. A token never comes this far.

mod access;
mod families;
mod fields;
mod log;
mod metrics;
mod output;
mod reading;
mod request_id;
pub mod trace;

pub use access::{AccessLog, Record, logged_path};
pub use families::{ALL as FAMILIES, Family, Kind};
pub use fields::{Fields, Heaviest};
pub use log::{init as init_log, log_panics};
pub use metrics::{
    ConnectionBound, Eviction, Invalidation, Metrics, PerLabel, Reload, Retry, SentCoding, Shed,
    SpanResult, ViewResult, seconds,
};
pub use output::Output;
pub use reading::{Durations, HITS, MISSES, Reading};
pub use request_id::RequestId;
