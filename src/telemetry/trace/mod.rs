//! Distributed traces: which one a request belongs to (W3C Trace Context), and what is remembered
//! of it where somebody collects spans.
//!
//! The way upstream is the same with and without a collector: a trace goes on, its parent is the
//! proxy's own request to the origin. What costs something on the way of a hit is there only
//! where spans are collected.

mod context;
mod span;

pub use context::{Context, SpanId, carry_on};
pub use span::{Attribute, Kind, QUEUE, Span, Trace, Tracer, Value};
