//! The table of metrics: each declared once, with the help that tells an operator what to do.

/// A metric family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name after the prefix `stuut_cache_`.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// What it counts, and what to do about it.
    pub help: &'static str,
}

/// What a family measures with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets, in seconds.
    Histogram,
}

impl Kind {
    /// As the text format names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        kind: Kind::Histogram,
        labels,
        help,
    }
}

/// Bounds of the duration histograms: a hit takes some 50 µs, an origin up to its deadline.
pub(super) const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Bounds of the pruning histogram: 40 KB take some 30 µs.
pub(super) const PRUNE_SECONDS: &[f64] = &[0.000_01, 0.000_05, 0.000_25, 0.001, 0.005, 0.025, 0.1];

macro_rules! families {
    ($( $constant:ident = $family:expr; )+) => {
        $( pub(super) const $constant: Family = $family; )+

        /// Every family, in the order of the README.
        pub const ALL: &[Family] = &[$( $constant, )+];
    };
}

families! {
    REQUESTS = counter("requests_total", &["route", "method", "status", "outcome"],
        "Requests, by how they were answered. Hit ratio: hit and stale over these and miss, expired and collapsed. outcome=\"aborted\", status=\"none\": ended before there was an answer.");
    REQUEST_DURATION = histogram("request_duration_seconds", &["outcome"],
        "From request head to the end of the response body. A hit ends when its bytes are handed to the connection: slow hits mean a starved CPU.");
    RESPONSE_BYTES = counter("response_bytes_total", &["outcome"],
        "Body bytes sent to clients. outcome=\"hit\" and \"stale\" came from memory.");
    IN_FLIGHT = gauge("in_flight", &[],
        "Requests being answered now.");
    CONNECTIONS = gauge("connections", &[],
        "Client connections open now. At server.max_connections new ones wait in the backlog.");
    CONNECTIONS_RESTING = gauge("connections_resting", &[],
        "Of the connections, those that are silent and hold no buffers.");
    CONNECTIONS_CLOSED = counter("connections_closed_total", &["reason"],
        "Client connections ended by a bound of the proxy, or of HTTP/1.1 (malformed) or HTTP/2 (protocol_error) broken. unread: of a refused request more came than is read and dropped. tls_handshake: no TLS came about, e.g. for want of a client certificate; log.level debug says why. Many header_timeout mean slow or hostile clients.");
    ACCEPT_FAILURES = counter("accept_failures_total", &[],
        "Times that the system had no connection to give, mostly for want of file descriptors: raise their limit, or lower server.max_connections.");
    REFUSED = counter("refused_total", &["reason"],
        "Requests refused at the door, by the type of their problem document. Framing reasons from a client of yours: it is broken; from others: somebody is trying.");
    CONFIG_RELOADS = counter("config_reloads_total", &["result"],
        "Configurations read again on SIGHUP. Refused: the log says what is wrong; the old one stays.");
    TLS_RELOADS = counter("tls_reloads_total", &["result"],
        "Times the files of [server.tls] were read again. Refused: the old ones stay until they expire.");
    TLS_CERTIFICATE_EXPIRY = gauge("tls_certificate_expiry_timestamp_seconds", &[],
        "When the certificate that new connections get expires, in seconds since 1970. 0: no TLS with clients. Near: did the renewal fail, or tls_reloads_total refuse it?");
    UPSTREAM_REQUESTS = counter("upstream_requests_total", &["result"],
        "Requests to the origin, by status or by the RFC 9209 error; one whose body breaks off has both. Errors: is the origin up and reachable? But connection_limit_reached, destination_unavailable and http_request_denied were not sent (upstream_shed_total), and http_request_error is a client that broke off its upload.");
    UPSTREAM_RETRIES = counter("upstream_retries_total", &["reason"],
        "Second tries. pooled: the origin closed a kept connection as it was used; closed: it closed a new one without an answer; connect: it refused connections. Many: it restarts often, or is overloaded.");
    UPSTREAM_RETRIES_DENIED = counter("upstream_retries_denied_total", &[],
        "Requests that failed because upstream.retries was used up. Any: connections to the origin die in numbers.");
    UPSTREAM_DURATION = histogram("upstream_duration_seconds", &[],
        "From asking the origin to its response head.");
    UPSTREAM_BYTES = counter("upstream_bytes_total", &[],
        "Body bytes received from the origin.");
    UPSTREAM_IN_FLIGHT = gauge("upstream_in_flight", &[],
        "Requests waiting for the origin now: for a head, a body to be stored, or the end of an upload. At limits.in_flight further ones are shed.");
    UPSTREAM_SHED = counter("upstream_shed_total", &["reason"],
        "Requests that were not made. in_flight: limits.in_flight wait already; share: one token has its share of them; breaker: the origin does not answer; retry_after: it has asked this token to wait. Served stale where that is allowed, else 503 or 429.");
    UPSTREAM_BREAKER_STATE = gauge("upstream_breaker_state", &[],
        "0: requests go to the origin; 1: it does not answer, and is left alone for upstream.breaker_pause; 2: one request tries it. Not 0: is the origin up and reachable?");
    CACHE_ENTRIES = gauge("cache_entries", &[],
        "Stored responses.");
    CACHE_WEIGHT = gauge("cache_weight_bytes", &[],
        "Memory of stored responses, keys, heads and views included.");
    CACHE_CAPACITY = gauge("cache_capacity_bytes", &[],
        "cache.capacity.");
    EVICTIONS = counter("evictions_total", &["cause"],
        "Stored responses dropped by the store. Steady cause=\"size\" with a falling hit ratio: raise cache.capacity.");
    INVALIDATIONS = counter("invalidations_total", &["cause"],
        "Times that stored responses were declared void.");
    NOT_STORED = counter("not_stored_total", &["reason"],
        "Responses to cacheable requests that were not stored.");
    FILLS_STREAMED = counter("fills_streamed_total", &[],
        "Responses streamed rather than stored because cache.max_filling had no room; not_stored_total has them as too-large. Many: raise it.");
    BYPASS = counter("bypass_total", &["reason"],
        "Requests forwarded without asking the store.");
    COLLAPSED = counter("collapsed_total", &[],
        "Requests that waited for another one's fetch instead of asking the origin.");
    FENCED = counter("fenced_total", &[],
        "Fetched responses not stored because a purge, a write or a refusal came in between.");
    VIEW = counter("view_total", &["result"],
        "Views served: derived now, from memory (memoised), the whole because nothing goes, or skipped with a reason; once for each stored response, then memoised.");
    VIEW_REMOVED_BYTES = counter("view_removed_bytes_total", &[],
        "Body bytes that views spared clients.");
    PRUNE_DURATION = histogram("prune_duration_seconds", &[],
        "Time to derive a view from a stored body.");
    CONTENT_CODING = counter("content_coding_total", &["coding"],
        "Responses from the store, by content coding. identity: the client accepts none, the body is not worth one, or it is not made yet.");
    CODING_SAVED_BYTES = counter("coding_saved_bytes_total", &[],
        "Body bytes that content codings spared clients.");
    CODING_DEFERRED = counter("coding_deferred_total", &[],
        "Content codings not made, because as many as there are places for were being made. Many: the processor is short, or bodies change often.");
    CODING_DURATION = histogram("coding_duration_seconds", &[],
        "Time to make a content coding, on a thread of its own.");
    TOKENS_REFUSED = counter("tokens_refused_total", &[],
        "401 and 403 answers of the origin. A burst: revoked or mistyped tokens.");
    LOG_DROPPED = counter("log_dropped_total", &[],
        "Lines of the log lost because standard output does not keep up, or takes none.");
    SPANS = counter("spans_total", &["result"],
        "Spans for the collector of traces (trace.otlp_url). Anything but exported is lost: it does not keep up, refuses or cannot be reached.");
    BUILD_INFO = gauge("build_info", &["version"],
        "1, with the version of the running binary.");
}
