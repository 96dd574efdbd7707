//! `traceparent` and `tracestate` (W3C Trace Context): parsed, propagated, generated.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a `traceparent` of version 00; later versions may append to it.
const LENGTH: usize = 55;

/// The flag of a caller that records its spans.
const SAMPLED: u8 = 0x01;
/// The flag of a random trace id; kept as received (Trace Context, level 2).
const RANDOM: u8 = 0x02;

/// A trace, and one span of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: NonZeroU128,
    span: SpanId,
    flags: u8,
}

/// Identifies a span within its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(NonZeroU64);

/// The `traceparent` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TraceParent {
    Absent,
    Valid(TraceContext),
    /// More than one, or invalid: ignored, and its `tracestate` too (§3.2).
    Invalid,
}

impl TraceParent {
    pub(super) fn read(fields: &HeaderMap) -> Self {
        let mut lines = fields.get_all(TRACEPARENT).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Self::Absent,
            (Some(line), None) => {
                TraceContext::parse(line.as_bytes()).map_or(Self::Invalid, Self::Valid)
            }
            (Some(_), Some(_)) => Self::Invalid,
        }
    }
}

impl TraceContext {
    /// The first span of a new trace.
    pub(super) fn begin(sampled: bool) -> Self {
        let (high, low) = (u128::from(random().get()), u128::from(random().get()));
        Self {
            trace: NonZeroU128::MIN | (high << 64 | low),
            span: SpanId(random()),
            flags: if sampled { SAMPLED } else { 0 },
        }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span: SpanId(random()),
            ..*self
        }
    }

    /// The trace, in 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span.
    #[must_use]
    pub fn span(&self) -> SpanId {
        self.span
    }

    /// Whether the caller records its spans: its sampling decision is honoured.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Parses `00-<trace>-<span>-<flags>`, in lower-case hex (§3.2).
    fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let known = text.get(..LENGTH)?;
        let rest = &text[LENGTH..];
        let mut parts = known.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next()?;
            let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            (part.len() == digits && part.bytes().all(plain)).then_some(part)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let ends = match version {
            "ff" => false,
            "00" => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let flags = u8::from_str_radix(flags, 16).ok()?;
        ends.then_some(Self {
            trace: NonZeroU128::new(u128::from_str_radix(trace, 16).ok()?)?,
            span: SpanId(NonZeroU64::new(u64::from_str_radix(span, 16).ok()?)?),
            flags: flags & (SAMPLED | RANDOM),
        })
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The field's value.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span}-{flags:02x}")
    }
}

/// Sets the trace fields of a request to the origin: from the trace of `request` if spans are
/// collected, else from that of the client. Returns the context of the request to the origin.
///
/// An invalid `traceparent` is replaced by a new trace, and its `tracestate` removed; without a
/// `traceparent`, no trace begins.
pub fn propagate(fields: &mut HeaderMap, request: Option<&TraceContext>) -> Option<TraceContext> {
    let received = TraceParent::read(fields);
    let context = match (request, received) {
        (Some(request), _) => request.child(),
        (None, TraceParent::Valid(parent)) => parent.child(),
        (None, TraceParent::Invalid) => TraceContext::begin(false),
        (None, TraceParent::Absent) => return None,
    };
    if !matches!(received, TraceParent::Valid(_)) {
        fields.remove(TRACESTATE);
    }
    let value = HeaderValue::try_from(context.to_string()).expect("hex digits are a field value");
    fields.insert(TRACEPARENT, value);
    Some(context)
}

/// A number unique in this process, and unlikely in any other: `SplitMix64` with a random seed.
pub(in crate::telemetry) fn random() -> NonZeroU64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut mixed = SEED.wrapping_add(count.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    NonZeroU64::new(mixed ^ (mixed >> 31)).unwrap_or(NonZeroU64::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (HeaderName::from_static(name), value)
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn a_context_is_written_as_it_was_parsed() {
        let context = TraceContext::parse(VALID.as_bytes()).expect("valid");
        assert_eq!(context.to_string(), VALID);
        assert!(context.is_sampled());
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.span(), context.span());
    }

    #[test]
    fn only_the_standard_form_is_valid() {
        let good = [
            VALID,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            // Of a later version, the known part is parsed, and sent as 00.
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-has",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        let bad = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
        ];
        for line in good {
            assert!(TraceContext::parse(line.as_bytes()).is_some(), "{line}");
        }
        for line in bad {
            assert!(TraceContext::parse(line.as_bytes()).is_none(), "{line}");
        }
    }

    #[test]
    fn a_trace_is_propagated_and_an_invalid_one_replaced() {
        let mut sent = fields(&[("traceparent", VALID), ("tracestate", "a=1")]);
        let context = propagate(&mut sent, None).expect("a context");
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(sent["traceparent"], *context.to_string());
        assert_ne!(sent["traceparent"], VALID);
        assert_eq!(sent["tracestate"], "a=1");

        let two = [
            ("traceparent", VALID),
            ("traceparent", VALID),
            ("tracestate", "a=1"),
        ];
        for lines in [
            &two[..],
            &[("traceparent", "nonsense"), ("tracestate", "a=1")],
        ] {
            let mut sent = fields(lines);
            let context = propagate(&mut sent, None).expect("a new one");
            assert_ne!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(sent.get_all("traceparent").iter().count(), 1);
            assert!(!sent.contains_key("tracestate"));
            assert!(!context.is_sampled(), "not recorded here");
        }

        let mut sent = fields(&[("accept", "*/*")]);
        assert_eq!(propagate(&mut sent, None), None);
        assert_eq!(sent.len(), 1);
    }

    #[test]
    fn numbers_do_not_repeat() {
        let numbers: std::collections::HashSet<_> = (0..10_000).map(|_| random()).collect();
        assert_eq!(numbers.len(), 10_000);
    }
}
