//! Distributed tracing: the context of a request (W3C Trace Context), and its span for a collector.
//!
//! A trace is propagated with or without a collector: its parent at the origin is the proxy's
//! request. Without a collector, tracing costs a hit nothing.

pub(super) mod context;
mod span;

pub use context::{SpanId, TraceContext, propagate};
pub use span::{Attribute, MAX_QUEUED, Span, SpanKind, Trace, Tracer};
