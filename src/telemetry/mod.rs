//! Telemetry: metrics, log, access log and traces. Tokens never reach this module.

mod field_sizes;
mod field_weights;
mod left_out;
mod log;
mod metrics;
mod reasons;
mod request_id;
pub mod trace;

pub use field_weights::{FieldWeights, Heaviest};
pub use left_out::LeftOut;
pub use log::{
    AccessLog, AccessRecord, AccessTexts, Busiest, BusiestCounts, Callers, LogSettings, LogWriter,
    MAX_SUBSCRIBERS, REFUSALS, Style as LogStyle, Tail, TailFilter, Traffic, init as init_log,
    log_panics, logged_path,
};
pub use metrics::{
    CloseReason, Concern, Connect, Counts, Ended, EngineFault, Eviction, FAMILIES, Family, Holder,
    InvalidationCause, Metrics, MetricsSnapshot, OriginConnection, OriginResult, PerLabel,
    PerRoute, Pool, Reload, Reset, Retry, SentCoding, SharedLookup, SharedStore, Shed, SpanResult,
    Unsealed, ViewResult, hit_ratio, rounded_seconds,
};
pub use reasons::{LastReasons, NotHit, Reasons, Unserved};
pub use request_id::RequestId;
