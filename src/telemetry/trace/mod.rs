//! Distributed tracing: the spans of requests and fetches, built with the feature `otlp`.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod span;

#[cfg(not(feature = "otlp"))]
pub use absent::{Span, Tracer};
#[cfg(feature = "otlp")]
pub use span::{Span, Tracer};

/// A name and its value: a string or an integer.
pub type Attribute = (&'static str, serde_json::Value);
