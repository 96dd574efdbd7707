//! The table of metrics: each is declared once. The values of all labels are closed sets, so that
//! clients cannot create new ones.

mod instrument;
mod labels;
mod openmetrics;
mod requests;
mod snapshot;

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};
use serde::Serialize;

use self::instrument::{BuildInfo, Instrument, SECONDS, Setup, WORK_SECONDS, metrics};
use self::requests::{RequestDurations, Requests, UpstreamRequests};
use self::snapshot::{Count as _, Durations, OriginResults, Outcomes, Statuses};
use super::field_weights::FieldWeights;
use super::left_out::LeftOut;
use super::reasons::Reasons;
use crate::label::Label as _;
use crate::outcome::{Fault, OutcomeLabel, ServedStale, WaitEnd};
use crate::policy::NotStored;
use crate::request::{Bypass, Refusal, Routes};

pub use self::instrument::{Family, PerLabel, PerRoute};
pub use self::labels::{
    CloseReason, Concern, Connect, EngineFault, Eviction, Holder, InvalidationCause,
    OriginConnection, OriginResult, Pool, Reload, Reset, Retry, SentCoding, SharedLookup,
    SharedStore, Shed, SpanResult, Unsealed, ViewResult,
};
pub use self::openmetrics::Ended;
pub(super) use self::requests::{HITS, MISSES};
pub use self::snapshot::{Counts, hit_ratio, rounded_seconds};

/// The numbers of reasons: those of [`Shed`], and of [`ServedStale`].
const SHED: usize = Shed::ALL.len();
const STALE: usize = ServedStale::ALL.len();

type Counters<L> = PerLabel<L, IntCounter>;
type Gauges<L> = PerLabel<L, IntGauge>;

metrics! {
    requests: Requests = "requests_total" ["route", "method", "status", "outcome"], "Client requests by outcome. Hit ratio: (hit + stale) / (hit + stale + miss + expired + collapsed). status=\"none\": ended before a response, with outcome=\"aborted\"."
        => statuses: Statuses = Statuses::read;
    request_duration: RequestDurations = "request_duration_seconds" ["route", "outcome"] in SECONDS, "Time from the request head to the end of the response body. A hit ends when its bytes are handed to the connection: slow hits mean CPU starvation."
        => requests: Outcomes = Outcomes::ended, hit_seconds: Durations = |all| Durations::of(all, HITS), fetch_seconds: Durations = |all| Durations::of(all, MISSES);
    response_bytes: Counters<OutcomeLabel> = "response_bytes_total" ["outcome"], "Body bytes sent to clients. outcome=\"hit\" and \"stale\": served from memory."
        => sent_bytes: u64 = |all| all.sum(OutcomeLabel::ALL), memory_bytes: u64 = |all| all.sum(HITS);
    in_flight: IntGauge = "in_flight", "Client requests in progress.";
    connections: IntGauge = "connections", "Open client connections. At server.max_connections, new ones wait in the listen backlog.";
    connections_idle: IntGauge = "connections_idle", "Open client connections that are idle (keep-alive) and hold no buffers.";
    connections_closed: Counters<CloseReason> = "connections_closed_total" ["reason"], "Client connections closed by a timeout or limit of the proxy, or for invalid HTTP/1.1 (malformed) or HTTP/2 (protocol_error). memory: it held many bytes for long while in_transit_bytes was at its limit. control_frames: a flood of HTTP/2 control frames such as SETTINGS or PING. unread: the rest of a refused request was too long to drain. tls_handshake: the handshake failed, e.g. no client certificate; log.level=\"debug\" logs why. half_closed: the client closed its sending side, and 2 s later its request still waited. Many header_timeout: slow or hostile clients.";
    accept_failures: IntCounter = "accept_failures_total", "Failed attempts to accept a connection, mostly for lack of file descriptors: raise the limit on open files, or lower server.max_connections.";
    admin_displaced: IntCounter = "admin_displaced_total", "Connections of the admin listener closed for newer ones: it has 64, 16 of them for health checks. Non-zero: slow clients, or too many.";
    refused: Counters<Refusal> = "refused_total" ["reason"], "Requests refused before the cache lookup, by the type of their problem document. Framing reasons: from your own client, it is broken; from others, an attempt at request smuggling.";
    config_reloads: Counters<Reload> = "config_reloads_total" ["result"], "Configuration reloads on SIGHUP. refused: the new configuration is invalid and the old one stays in use; the log has the errors.";
    tls_reloads: Counters<Reload> = "tls_reloads_total" ["result"], "Reloads of the server.tls files. refused: the new files are invalid and the old ones stay in use; the log has the error. Fix it before the certificate expires.";
    tls_certificate_expiry: IntGauge = "tls_certificate_expiry_timestamp_seconds", "Expiry of the certificate for new connections, as a Unix time; 0: no server.tls. Soon: did the renewal fail, or was it refused (tls_reloads_total)?";
    upstream_requests: UpstreamRequests = "upstream_requests_total" ["result"], "Requests to the origin, by status or RFC 9209 error; a response whose body breaks off counts as both. Errors: is the origin up and reachable? connection_limit_reached, destination_unavailable and http_request_denied were not sent (upstream_shed_total); http_request_error is a client that aborted its upload."
        => origin_requests: u64 = |all| OriginResults::read(all).sent(), origin_errors: u64 = |all| OriginResults::read(all).failures().map(|(_, count)| count).sum(), origin_results: OriginResults = OriginResults::read;
    upstream_last: Gauges<OriginResult> = "upstream_last_result_timestamp_seconds" ["result"], "Time of the origin's last response with a status below 500 (good), and of its last failure (failed), as Unix times; 0: none yet. good long ago: no requests, or the origin is down.";
    upstream_proxy_failures: IntCounter = "upstream_proxy_failures_total", "Requests without a connection to the proxy (upstream.proxy), or through it, among the errors of upstream_requests_total. Non-zero: is the proxy up, does it permit the origin, and are its credentials right? The log has the status of its response.";
    upstream_retries: Counters<Retry> = "upstream_retries_total" ["reason"], "Retried requests to the origin. pooled: the origin closed a reused connection during the request; closed: it closed a new one without a response; connect: it refused the connection. Many: it restarts often, or is overloaded.";
    upstream_retries_denied: IntCounter = "upstream_retries_denied_total", "Requests that failed because the retry budget, upstream.retries, was used up. Non-zero: many origin connections are failing.";
    upstream_duration: PerRoute<Histogram> = "upstream_duration_seconds" ["route"] in SECONDS, "Time from sending a request to the origin to its response head. High: the origin or the network is slow."
        => origin_seconds: Durations = Durations::all;
    upstream_bytes: IntCounter = "upstream_bytes_total", "Body bytes received from the origin."
        => origin_bytes: u64 = IntCounter::get;
    upstream_in_flight: IntGauge = "upstream_in_flight", "Requests in progress at the origin: the sum of upstream_slots.";
    upstream_slots: Gauges<Pool> = "upstream_slots" ["pool"], "Requests in progress at the origin, each on a connection of its own. fetches: for the cache, until the body is complete (limits.in_flight); streams: forwarded, or too large to store, until the client has the body (limits.streams); uploads: forwarded with a request body, until both bodies have ended (limits.uploads). At its limit, further ones are shed.";
    upstream_connections: Gauges<OriginConnection> = "upstream_connections" ["state"], "Open connections to the origin. in_use: a request is on it, or its response is being read; idle: kept for the next request, for at most 50 s. Many idle after a peak is normal.";
    upstream_connects: Counters<Connect> = "upstream_connects_total" ["result"], "Connections opened to the origin, TLS included. failed: upstream_requests_total has the error. Almost as many connected as requests to the origin: it closes each connection, so that each miss pays for a new one.";
    uploads_cut: IntCounter = "uploads_cut_total", "Uploads cut off because they went on for 5 s, or 4 MiB, after the origin's final response. Many: clients with invalid tokens, or an attack.";
    upstream_shed: Counters<Shed> = "upstream_shed_total" ["reason"], "Requests not sent to the origin (load shedding). in_flight, streams, uploads: limits.in_flight, limits.streams or limits.uploads is reached; share: one token has used its share of it; breaker: the circuit breaker is open; retry_after: the origin sent Retry-After for this token or call. Stale is served where allowed, else 503 or 429."
        => shed: Counts<Shed, SHED> = Counts::read;
    upstream_breaker_state: IntGauge = "upstream_breaker_state", "Circuit breaker. 0: closed, requests are sent to the origin; 1: open for upstream.breaker_pause; 2: half-open, one request probes the origin. Not 0: is the origin up and reachable?";
    origin_clock_skew: IntGauge = "origin_clock_skew_seconds", "How far the origin's clock is ahead of ours, by the Date of its last cacheable response without Age and Via; negative: behind. Not near 0: one of the clocks is wrong, so lifetimes by Expires and of pre-signed URLs are too.";
    enabled: IntGauge = "enabled", "1: cache.mode is \"on\"; 0: it is \"off\", and every request is forwarded (bypass_total, off). 0 without an incident: set it back, and send SIGHUP.";
    entries: IntGauge = "entries", "Stored responses.";
    weight: IntGauge = "weight_bytes", "Memory of stored responses, including keys, headers and views.";
    capacity: IntGauge = "capacity_bytes", "Limit of weight_bytes: cache.capacity.";
    in_transit: Gauges<Holder> = "in_transit_bytes" ["holder"], "Memory held on behalf of clients and not owned by the store: unfinished request heads, requests that wait, bodies being fetched, exchanges with the origin, entries of the shared level on their way, and evicted bodies that clients still read. other: without a token that the origin has lately accepted, and responses being shared; at most half of the limit.";
    in_transit_limit: IntGauge = "in_transit_limit_bytes", "Limit of in_transit_bytes: limits.in_transit. At it, fetched bodies are streamed (fills_streamed_total), and the connections that have held the most for the longest are closed (connections_closed_total, memory).";
    evictions: Counters<Eviction> = "evictions_total" ["cause"], "Responses removed from the store. Steady cause=\"size\" with a falling hit ratio: raise cache.capacity.";
    invalidations: Counters<InvalidationCause> = "invalidations_total" ["cause"], "Invalidations, by cause; one can cover many stored responses. refusal: the origin refused a token that had stored responses.";
    not_stored: Counters<NotStored> = "not_stored_total" ["reason"], "Responses to cacheable requests that were not stored. Many, with a low hit ratio: the reason says whether the origin forbids it or a limit is too low (too-large: cache.max_entry, limits.in_transit; set-cookie: is it a balancer's or a CDN's, cache.ignore_set_cookie?).";
    fills_streamed: IntCounter = "fills_streamed_total", "Responses streamed instead of stored because limits.in_transit was used up; not_stored_total counts them as too-large. Many: raise it.";
    fields_left_out: IntCounter = "fields_left_out_total", "Request fields that were not forwarded with a fetch, because they are not on the list and so not part of the cache key. /explain names them. Does the origin's response depend on one? Add it to upstream.forward_headers.";
    bypass: Counters<Bypass> = "bypass_total" ["reason"], "Requests forwarded without a cache lookup. Many: route means that no item of cache.routes matches, credential that there is no single bearer token.";
    collapsed: IntCounter = "collapsed_total", "Requests that waited for another request's fetch instead of being sent to the origin (request coalescing).";
    fenced: IntCounter = "fenced_total", "Fetched responses not stored because a purge, a write or a refused token invalidated them during the fetch.";
    view: Counters<ViewResult> = "view_total" ["result"], "Responses with a view. memoised: derived by an earlier request; derived: by this one; whole: nothing to remove; skipped: sent whole, for the reason named. All but memoised and skipped_busy count once for each stored response. Many skipped_busy: a token requests more views of large calls than the processor derives.";
    views_deriving: IntGauge = "views_deriving", "Views of calls above 256 KiB being derived: at most one per core, or two. A token may hold no more of these places than are free; further requests wait at most 250 ms, then view_total counts skipped_busy.";
    bodies_parsing: IntGauge = "bodies_parsing", "Fetched bodies above 256 KiB being parsed: at most one per core, or two. A token may hold no more of these places than are free; further ones wait.";
    bodies_unparsed: IntCounter = "bodies_unparsed_total", "Fetched bodies above 256 KiB that found no place to be parsed, because 1,024 waited, 512 with one token, or for upstream.total_timeout. They count as unreadable: stored for the shortest lifetime. Non-zero: a token fetches more large calls than the processor parses.";
    view_removed_bytes: IntCounter = "view_removed_bytes_total", "Body bytes that views removed from responses to clients."
        => view_bytes: u64 = IntCounter::get;
    prune_duration: Histogram = "prune_duration_seconds" in WORK_SECONDS, "Time to derive a view from a stored body. High: large bodies, or CPU starvation.";
    content_coding: Counters<SentCoding> = "content_coding_total" ["coding"], "Responses from the store, by compression (content coding). identity: uncompressed, because the client accepts none, the body is too small or not text, or the compressed body is not ready.";
    coding_saved_bytes: IntCounter = "coding_saved_bytes_total", "Body bytes that compression (content coding) saved clients."
        => coding_bytes: u64 = IntCounter::get;
    coding_deferred: IntCounter = "coding_deferred_total", "Compressions deferred to a later hit, because too many were running. Many: too little CPU, or bodies change often.";
    coding_duration: Histogram = "coding_duration_seconds" in WORK_SECONDS, "Time to compress a stored body, on a thread of its own.";
    tokens_refused: IntCounter = "tokens_refused_total", "401 and 403 responses from the origin. A burst: revoked or mistyped tokens."
        => tokens_refused: u64 = IntCounter::get;
    accepted_scopes: IntGauge = "accepted_scopes", "Tokens that the origin has lately accepted under a path of cache.routes; at most 16,384.";
    accepted_scopes_evicted: IntCounter = "accepted_scopes_evicted_total", "Accepted tokens dropped for newer ones, the least recently used first. Steady: more than 16,384 tokens are in use, and some count as not accepted until their next request.";
    rechecks: IntCounter = "rechecks_total", "Background revalidations because the last acceptance of a token is older than 0.8 of scope.recheck.";
    waiting: IntGauge = "waiting", "Requests that wait for a status or a change of a call; at most limits.waiting. Further ones are refused (refused_total, waiting).";
    waits: Counters<WaitEnd> = "waits_total" ["end"], "Answers to requests that wait for a status or a change, those that did not have to wait included. reached: the call has one of the statuses; changed: its body has changed; timeout: neither until the time-out; drained: the proxy is shutting down; skipped: the response is an error, or may not be stored (its Cache-Status has the reason). Many timeout: the statuses do not occur, or the time-outs are short.";
    waits_left: IntCounter = "waits_left_total", "Waiting requests whose client has disconnected. Many: a client's own time-out is shorter than its wait_timeout.";
    wait_polls: IntCounter = "wait_polls_total", "Requests to the origin, or lookups in the shared level, for calls that clients wait for: one at a time for each call and token, at the pace of freshness.status.";
    stale: Counters<ServedStale> = "stale_total" ["reason"], "Responses with outcome=\"stale\". stale-while-revalidate: refreshed in the background, as planned; max-stale: the client accepts it; stale-if-error: the origin failed; recheck-failed: fresh, but the origin failed when the token was due for a recheck, at most freshness.stale_if_error after its last acceptance. Non-zero of the last two: is the origin up and reachable?"
        => stale: Counts<ServedStale, STALE> = Counts::read;
    writes_untracked: IntCounter = "writes_untracked_total", "Writes that were not tracked, because one token has 4,096 paths, or all together 65,536, with writes of unknown result or within freshness.write_settling: they invalidated, but a response fetched before the origin applied them may be stored. Non-zero: why do these writes fail, or does one token write thousands of calls a second?";
    shared_lookups: Counters<SharedLookup> = "shared_lookups_total" ["result"], "Lookups in the shared level, before a fetch. entry: found; miss: this replica fetches; wait: another one does; unshareable: the last response could not be shared; outdated: an entry was invalidated after its fetch began; unsealed: an entry could not be opened (shared_unsealed_total); failed: the engine returned an error, or no answer within shared.timeout; skipped: no lookup, because this replica is not in step, limits.in_transit is used up, or for 1 s after 5 failures in a row. Many failed or skipped: is the engine up, and fast enough?";
    shared_lookup_duration: Histogram = "shared_lookup_duration_seconds" in WORK_SECONDS, "Time of a lookup in the shared level, for which every miss waits, at most shared.timeout. High: the engine or the network is slow.";
    shared_stores: Counters<SharedStore> = "shared_stores_total" ["result"], "Responses offered to the shared level. older: the engine has a newer one; too_large: above shared.max_entry; busy: limits.in_transit is used up; failed: the engine did not answer in time, or is full. Many too_large: raise shared.max_entry. Many failed: check its memory and load.";
    shared_unsealed: Counters<Unsealed> = "shared_unsealed_total" ["reason"], "Entries of the shared level that could not be opened or used. tag: do all replicas have the same scope.key_file, and does nothing else write to the engine? format: replicas of another version. in-transit: limits.in_transit is used up. expired: past its lifetime. size: above cache.max_entry. codec: report a bug.";
    shared_state: IntGauge = "shared_state", "Shared level. 0: in step with the other replicas, or shared.url is not set; 1: catching up with the log; 2: alone, the engine does not answer. Not 0: responses stored before are not used; is the engine up and reachable?";
    shared_lease_left: IntGauge = "shared_lease_left_milliseconds", "Time until the replica is alone, unless the engine answers a beat; up to shared.lease.";
    shared_replicas: IntGauge = "shared_replicas", "Replicas of the group, this one included. A replica that has crashed counts for 30 s.";
    shared_announced: Counters<Concern> = "shared_announced_total" ["concern"], "Invalidations that this replica has announced to the others, or queued for that.";
    shared_applied: Counters<Concern> = "shared_applied_total" ["concern"], "Invalidations read from the log and applied, including this replica's own. Many with concern=\"all\" and no purges: the replicas have different keys (scope.key_file).";
    shared_confirmation: Histogram = "shared_confirmation_seconds" in SECONDS, "Time until every other replica has confirmed an invalidation, or its lease has ended. Near shared.lease: a replica or the engine does not answer.";
    shared_unconfirmed: IntCounter = "shared_unconfirmed_total", "Purges, writes and refusals answered before every replica had confirmed the invalidation, because its lease had ended. Non-zero: has a replica crashed, or lost its connection to the engine?";
    shared_unannounced: IntCounter = "shared_unannounced_total", "Refusals and redirected writes that were not announced to the other replicas, because more than one a second had tokens that no replica is known to have seen accepted. Non-zero: a client tries invented tokens; the access log has their scopes.";
    shared_queued: IntGauge = "shared_queued", "Invalidations that are not yet in the log, because the engine does not answer; above 1,000 they become one of everything. Not 0: is the engine up and reachable?";
    shared_resets: Counters<Reset> = "shared_resets_total" ["cause"], "Times that everything stored was invalidated, because invalidations may have been lost. start: the replica started; begun: it found no group in the engine, or another primary, and began a new era; era: another replica did so; gap: items of the log that this replica had not applied are gone. More than one for each failover or restart of the engine: does it evict keys without expiry?";
    shared_beats_failed: Counters<EngineFault> = "shared_beats_failed_total" ["reason"], "Beats that the engine did not answer. Non-zero: is it up, reachable and a primary? The log has the error.";
    caller_requests: IntCounterVec = "caller_requests_total" ["caller", "outcome"], "Requests of each caller of scope.names, by outcome as in requests_total. A name that a reload removed keeps its series until the process ends.";
    caller_origin_requests: IntCounterVec = "caller_origin_requests_total" ["caller"], "Requests of each named caller that the origin has responded to. Many, with few hits: does it poll, or request calls that change?";
    caller_response_bytes: IntCounterVec = "caller_response_bytes_total" ["caller"], "Body bytes sent to each named caller.";
    caller_refused: IntCounterVec = "caller_refused_total" ["caller", "status"], "Responses 401, 403 and 429 to each named caller. 401: has its token expired? 429: it sends more than the origin, or its share here, permits.";
    log_dropped: IntCounter = "log_dropped_total", "Log lines lost because standard output is too slow, or closed."
        => log_dropped: u64 = IntCounter::get;
    tail_dropped: IntCounter = "tail_dropped_total", "Lines that a reader of /tail was too slow for.";
    spans: Counters<SpanResult> = "spans_total" ["result"], "Trace spans for the collector of OTEL_EXPORTER_OTLP_ENDPOINT. queue_full: lost, it is too slow; failed: lost, it refuses them or is unreachable; log.level=\"debug\" logs why.";
    build_info: BuildInfo = "build_info" ["version", "commit", "features"], "Always 1; the labels are those of the running binary. commit is unknown outside a release build.";
}

impl Metrics {
    /// The body of `/metrics`, in the text format of Prometheus or in `OpenMetrics`.
    pub fn render(&self, is_open: bool) -> String {
        let mut text = String::with_capacity(64 << 10);
        TextEncoder::new()
            .encode_utf8(&self.gather(), &mut text)
            .expect("registered families are valid");
        if is_open {
            text = openmetrics::convert(&text, &self.request_duration.exemplars());
        }
        text
    }

    /// Counts a response of the origin.
    pub fn origin_responded(&self, status: StatusCode, at: SystemTime) {
        self.upstream_requests.responded(status);
        self.set_last(status.as_u16() < 500, at);
    }

    /// Counts a request to the origin that failed, or was not sent.
    pub fn origin_failed(&self, fault: Fault, at: SystemTime) {
        self.upstream_requests.failed(fault);
        if fault.is_of_origin() {
            self.set_last(false, at);
        }
    }

    fn set_last(&self, is_good: bool, at: SystemTime) {
        let result = if is_good {
            OriginResult::Good
        } else {
            OriginResult::Failed
        };
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        self.upstream_last.of(result).set(seconds);
    }

    /// The current values.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

impl MetricsSnapshot {
    /// The counts since an earlier snapshot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    /// The sum of the counts of two spans of time.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::config::Config;
    use crate::request::RouteId;
    use crate::telemetry::RequestId;

    fn ended(took: Duration) -> Ended<'static> {
        Ended {
            began: SystemTime::UNIX_EPOCH,
            took,
            trace: None,
            id: &RequestId::Made(1),
        }
    }

    #[test]
    fn exemplars_are_the_last_slow_or_traced_requests_of_their_buckets() {
        let metrics = Metrics::new(&Routes::new(&Config::default().cache.routes));
        let long: RequestId = RequestId::Given("x".repeat(128).into());
        let observe = |micros, trace, id| {
            let took = Duration::from_micros(micros);
            let request = Ended {
                trace,
                id,
                ..ended(took)
            };
            let (route, outcome) = (Some(RouteId(0)), OutcomeLabel::Miss);
            metrics.request_duration.observe(route, outcome, request);
        };
        for (micros, trace, id) in [
            (50, None, &RequestId::Made(1)), // too short
            (60, Some(0xab), &RequestId::Made(2)),
            (114_000, None, &RequestId::Made(3)), // replaced by the next
            (115_000, None, &RequestId::Made(4)),
            (200_000, None, &long), // 138 characters
            (99_000_000, None, &RequestId::Given("given".into())),
        ] {
            observe(micros, trace, id);
        }
        let text = metrics.render(true);
        let exemplars = text.lines().filter_map(|line| line.split_once(" # "));
        let exemplars = exemplars.map(|(series, exemplar)| {
            let le = series.split_once("le=").expect("a bucket").1;
            format!("{le} # {exemplar}")
        });
        assert_eq!(
            exemplars.collect::<Vec<_>>(),
            [
                "\"0.000063\"} 2 # {trace_id=\"000000000000000000000000000000ab\"} 0.00006 0.000",
                "\"0.125\"} 4 # {request_id=\"0000000000000004\"} 0.115 0.115",
                "\"+Inf\"} 6 # {request_id=\"given\"} 99 99.000",
            ]
        );
        assert!(!metrics.render(false).contains(" # {"));
    }

    #[test]
    fn a_snapshot_has_the_counts_since_an_earlier_one() {
        let metrics = Metrics::new(&Routes::new(&Config::default().cache.routes));
        for outcome in [OutcomeLabel::Hit, OutcomeLabel::Hit, OutcomeLabel::Stale] {
            let hit = ended(Duration::from_micros(50));
            metrics.request_duration.observe(None, outcome, hit);
            metrics.response_bytes.of(outcome).inc_by(100);
        }
        let earlier = metrics.snapshot();
        let miss = ended(Duration::from_millis(200));
        metrics
            .request_duration
            .observe(None, OutcomeLabel::Miss, miss);
        metrics.response_bytes.of(OutcomeLabel::Miss).inc_by(1_000);
        metrics.upstream_requests.responded(http::StatusCode::OK);
        metrics
            .upstream_requests
            .responded(http::StatusCode::BAD_GATEWAY);
        metrics.upstream_requests.failed(Fault::Refused);
        // The first was sent, and the client is at fault; the others were not sent.
        for fault in [
            Fault::RequestBody,
            Fault::RetryAfter,
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
