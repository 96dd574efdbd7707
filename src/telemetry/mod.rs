//! The instruments: metrics, log, access log and traces. Tokens do not reach this module.

mod access;
mod field_weights;
mod log;
mod metrics;
mod output;
mod request_id;
pub mod trace;

pub use access::{AccessLog, Record, logged_path};
pub use field_weights::{FieldWeights, Heaviest};
pub use log::{init as init_log, log_panics};
pub use metrics::{
    ConnectionBound, Eviction, FAMILIES, Family, Invalidation, Metrics, PerLabel, Reload, Retry,
    SentCoding, Shed, Snapshot, SpanResult, ViewResult, rounded_seconds, seconds,
};
pub use output::Output;
pub use request_id::RequestId;
