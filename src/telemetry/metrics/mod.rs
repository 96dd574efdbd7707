//! The table of metrics: each declared once. The values of all labels are closed sets, so that a
//! client cannot invent one.

mod instrument;
mod labels;
mod requests;
mod snapshot;

use prometheus::{Encoder as _, Histogram, IntCounter, IntGauge, Registry, TextEncoder};
use serde::Serialize;

use self::instrument::{BuildInfo, Instrument, SECONDS, Setup, WORK_SECONDS, metrics};
use self::requests::{Requests, UpstreamRequests};
use self::snapshot::{Count as _, Durations, HITS, MISSES, Outcomes};
use super::field_weights::FieldWeights;
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;
use crate::policy::NotStored;
use crate::request::{Bypass, Refusal, Routes};

pub use self::instrument::{Family, PerLabel};
pub use self::labels::{
    ConnectionBound, Eviction, Invalidation, Reload, Retry, SentCoding, Shed, SpanResult,
    ViewResult,
};
pub use self::snapshot::rounded_seconds;

type Counters<L> = PerLabel<L, IntCounter>;
type Histograms<L> = PerLabel<L, Histogram>;

metrics! {
    requests: Requests = "requests_total" ["route", "method", "status", "outcome"], "Requests, by outcome. Hit ratio: hit and stale over these and miss, expired and collapsed. outcome=\"aborted\", status=\"none\": ended before there was a response.";
    request_duration: Histograms<OutcomeLabel> = "request_duration_seconds" ["outcome"] in SECONDS, "From request head to the end of the response body. A hit ends when its bytes are handed to the connection: slow hits mean a starved CPU."
        => requests: Outcomes = Outcomes::read, hit_seconds: Durations = |all| Durations::read(all, HITS), miss_seconds: Durations = |all| Durations::read(all, MISSES);
    response_bytes: Counters<OutcomeLabel> = "response_bytes_total" ["outcome"], "Body bytes sent to clients. outcome=\"hit\" and \"stale\" came from memory."
        => sent_bytes: u64 = |all| all.sum(OutcomeLabel::ALL), memory_bytes: u64 = |all| all.sum(HITS);
    in_flight: IntGauge = "in_flight", "Requests being answered now.";
    connections: IntGauge = "connections", "Client connections open now. At server.max_connections new ones wait in the backlog.";
    connections_idle: IntGauge = "connections_idle", "Of the connections, those that are idle and hold no buffers.";
    connections_closed: Counters<ConnectionBound> = "connections_closed_total" ["reason"], "Client connections closed by a bound of the proxy, or for invalid HTTP/1.1 (malformed) or HTTP/2 (protocol_error). unread: more of a refused request arrived than is drained. tls_handshake: the handshake failed, e.g. without a client certificate; log.level debug says why. Many header_timeout mean slow or hostile clients.";
    accept_failures: IntCounter = "accept_failures_total", "Times that accepting a connection failed, mostly without free file descriptors: raise their limit, or lower server.max_connections.";
    refused: Counters<Refusal> = "refused_total" ["reason"], "Requests refused before the cache, by the type of their problem document. Framing reasons from a client of yours: it is broken; from others: request smuggling was tried.";
    config_reloads: Counters<Reload> = "config_reloads_total" ["result"], "Configurations reloaded on SIGHUP. Refused: the log says what is wrong; the old one stays.";
    tls_reloads: Counters<Reload> = "tls_reloads_total" ["result"], "Reloads of the files of server.tls. Refused: the old ones stay until they expire.";
    tls_certificate_expiry: IntGauge = "tls_certificate_expiry_timestamp_seconds", "When the certificate that new connections get expires, in seconds since 1970. 0: no TLS with clients. Near: did the renewal fail, or tls_reloads_total refuse it?";
    upstream_requests: UpstreamRequests = "upstream_requests_total" ["result"], "Requests to the origin, by status or by the RFC 9209 error; one whose body breaks off has both. Errors: is the origin up and reachable? But connection_limit_reached, destination_unavailable and http_request_denied were not sent (upstream_shed_total), and http_request_error is a client that broke off its upload."
        => origin_requests: u64 = UpstreamRequests::total, origin_errors: u64 = UpstreamRequests::errors;
    upstream_retries: Counters<Retry> = "upstream_retries_total" ["reason"], "Retries. pooled: the origin closed a reused connection as it was used; closed: it closed a new one without a response; connect: it refused connections. Many: it restarts often, or is overloaded.";
    upstream_retries_denied: IntCounter = "upstream_retries_denied_total", "Requests that failed because the retry budget, upstream.retries, was used up. Non-zero: many origin connections are failing.";
    upstream_duration: Histogram = "upstream_duration_seconds" in SECONDS, "From sending a request to the origin to its response head.";
    upstream_bytes: IntCounter = "upstream_bytes_total", "Body bytes received from the origin."
        => origin_bytes: u64 = IntCounter::get;
    upstream_in_flight: IntGauge = "upstream_in_flight", "Requests waiting for the origin now: for a head, a body to be stored, or the end of an upload. At limits.in_flight further ones are shed.";
    upstream_shed: Counters<Shed> = "upstream_shed_total" ["reason"], "Requests that were not sent. in_flight: limits.in_flight wait already; share: one token has its share of them; breaker: the circuit breaker is open; retry_after: the origin sent this token or call Retry-After. Served stale where that is allowed, else 503 or 429.";
    upstream_breaker_state: IntGauge = "upstream_breaker_state", "0: closed, requests are sent to the origin; 1: open for upstream.breaker_pause; 2: half-open, one request probes the origin. Not 0: is the origin up and reachable?";
    entries: IntGauge = "entries", "Stored responses.";
    weight: IntGauge = "weight_bytes", "Memory of stored responses, keys, heads and views included.";
    capacity: IntGauge = "capacity_bytes", "cache.capacity.";
    evictions: Counters<Eviction> = "evictions_total" ["cause"], "Stored responses dropped by the store. Steady cause=\"size\" with a falling hit ratio: raise cache.capacity.";
    invalidations: Counters<Invalidation> = "invalidations_total" ["cause"], "Times that stored responses were invalidated.";
    not_stored: Counters<NotStored> = "not_stored_total" ["reason"], "Responses to cacheable requests that were not stored.";
    fills_streamed: IntCounter = "fills_streamed_total", "Responses streamed rather than stored because cache.max_filling had no space; not_stored_total has them as too-large. Many: raise it.";
    bypass: Counters<Bypass> = "bypass_total" ["reason"], "Requests forwarded without a look-up in the store.";
    collapsed: IntCounter = "collapsed_total", "Requests that waited for another one's fetch instead of being sent to the origin (request coalescing).";
    fenced: IntCounter = "fenced_total", "Fetched responses not stored because a purge, a write or a refusal came in between.";
    view: Counters<ViewResult> = "view_total" ["result"], "Views served: derived now, from memory (memoised), the whole because there is nothing to remove, or skipped with a reason; once for each stored response, then memoised.";
    view_removed_bytes: IntCounter = "view_removed_bytes_total", "Body bytes that views saved clients."
        => view_bytes: u64 = IntCounter::get;
    prune_duration: Histogram = "prune_duration_seconds" in WORK_SECONDS, "Time to derive a view from a stored body.";
    content_coding: Counters<SentCoding> = "content_coding_total" ["coding"], "Responses from the store, by content coding. identity: the client accepts no other, the body is not worth one, or it is not made yet.";
    coding_saved_bytes: IntCounter = "coding_saved_bytes_total", "Body bytes that compression (content codings) saved clients."
        => coding_bytes: u64 = IntCounter::get;
    coding_deferred: IntCounter = "coding_deferred_total", "Content codings deferred to a later hit, because too many were being made. Many: the processor is short, or bodies change often.";
    coding_duration: Histogram = "coding_duration_seconds" in WORK_SECONDS, "Time to make a content coding, on a thread of its own.";
    tokens_refused: IntCounter = "tokens_refused_total", "401 and 403 responses of the origin. A burst: revoked or mistyped tokens.";
    log_dropped: IntCounter = "log_dropped_total", "Log lines lost because standard output does not keep up, or is closed.";
    spans: Counters<SpanResult> = "spans_total" ["result"], "Spans for the collector of traces (trace.otlp_url). All but exported are lost: it does not keep up, refuses or cannot be reached.";
    build_info: BuildInfo = "build_info" ["version"], "1, with the version of the running binary.";
}

impl Metrics {
    /// The body of `/metrics`, in the text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("registered families are valid");
        text
    }
}

impl MetricsSnapshot {
    /// The counts since an earlier snapshot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    /// The counts of two spans of time together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::outcome::Fault;

    #[test]
    fn a_snapshot_has_the_counts_since_an_earlier_one() {
        let metrics = Metrics::new(&Routes::new(&Config::default().cache.routes));
        for outcome in [OutcomeLabel::Hit, OutcomeLabel::Hit, OutcomeLabel::Stale] {
            metrics.request_duration.of(outcome).observe(0.000_05);
            metrics.response_bytes.of(outcome).inc_by(100);
        }
        let earlier = metrics.snapshot();
        metrics.request_duration.of(OutcomeLabel::Miss).observe(0.2);
        metrics.response_bytes.of(OutcomeLabel::Miss).inc_by(1_000);
        metrics.upstream_requests.answered(http::StatusCode::OK);
        metrics
            .upstream_requests
            .answered(http::StatusCode::BAD_GATEWAY);
        metrics.upstream_requests.failed(Fault::Refused);
        // A request, and the client is at fault; the others were not sent.
        for fault in [
            Fault::RequestBody,
            Fault::Held,
            Fault::Overload,
            Fault::Unavailable,
        ] {
            metrics.upstream_requests.failed(fault);
        }
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.requests.of(OutcomeLabel::Hit), 2);
        assert_eq!((snapshot.sent_bytes, snapshot.memory_bytes), (1_300, 300));
        assert_eq!((snapshot.origin_requests, snapshot.origin_errors), (4, 2));
        assert_eq!(snapshot.requests.hit_ratio(), Some(0.75));
        let since = snapshot.since(&earlier);
        assert_eq!(since.requests.of(OutcomeLabel::Hit), 0);
        assert_eq!(since.requests.hit_ratio(), Some(0.0));
        assert_eq!(since.hit_seconds.quantile(0.5), None);
        assert_eq!(since.and(&earlier), snapshot);
        assert_eq!(MetricsSnapshot::default().requests.hit_ratio(), None);
    }
}
