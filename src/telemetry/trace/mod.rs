//! Distributed traces: the context of a request (W3C Trace Context), and its span for a collector.
//!
//! A trace is propagated with and without a collector: its parent at the origin is the proxy's
//! own request. A hit pays for tracing only with a collector.

pub(super) mod context;
mod span;

pub use context::{Context, SpanId, propagate};
pub use span::{Attribute, Kind, QUEUE, Span, Trace, Tracer};
