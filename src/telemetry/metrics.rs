//! The instruments: every family of the table with its children resolved at start, so that
//! counting on the way of a request is an addition.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::families::{self as family, Family};
use super::fields::Fields;
use crate::coding::Coding;
use crate::label::{Label, labels};
use crate::outcome::{Fault, OutcomeLabel};
use crate::policy::NotStored;
use crate::request::{Bypass, Refusal, RouteId, Routes};

const PREFIX: &str = "stuut_cache";

/// Every instrument of the proxy.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests that have ended.
    pub requests: Requests,
    /// From request head to the end of the response body.
    pub request_duration: PerLabel<OutcomeLabel, Histogram>,
    /// Body bytes sent to clients.
    pub response_bytes: PerLabel<OutcomeLabel, IntCounter>,
    /// Requests being answered now.
    pub in_flight: IntGauge,
    /// Client connections open now.
    pub connections: IntGauge,
    /// Of those, the silent ones that hold no buffers.
    pub connections_resting: IntGauge,
    /// Client connections that we ended.
    pub connections_closed: PerLabel<ConnectionBound, IntCounter>,
    /// Configurations read again.
    pub config_reloads: PerLabel<Reload, IntCounter>,
    /// Certificates read again.
    pub tls_reloads: PerLabel<Reload, IntCounter>,
    /// When the certificate expires.
    pub tls_certificate_expiry: IntGauge,
    /// Connections that the system could not give.
    pub accept_failures: IntCounter,
    /// Requests refused at the door.
    pub refused: PerLabel<Refusal, IntCounter>,
    /// Requests to the origin, by result.
    pub upstream_requests: UpstreamRequests,
    /// Second tries.
    pub upstream_retries: PerLabel<Retry, IntCounter>,
    /// Second tries that `upstream.retries` did not allow.
    pub upstream_retries_denied: IntCounter,
    /// From asking the origin to its response head.
    pub upstream_duration: Histogram,
    /// Body bytes received from the origin.
    pub upstream_bytes: IntCounter,
    /// Requests waiting for the origin now; a response that is streamed waits for its client.
    pub upstream_in_flight: IntGauge,
    /// Requests that were not made.
    pub upstream_shed: PerLabel<Shed, IntCounter>,
    /// How the breaker stands.
    pub upstream_breaker_state: IntGauge,
    /// Stored responses.
    pub cache_entries: IntGauge,
    /// Their memory.
    pub cache_weight: IntGauge,
    /// `cache.capacity`.
    pub cache_capacity: IntGauge,
    /// Stored responses dropped by the store.
    pub evictions: PerLabel<Eviction, IntCounter>,
    /// Times that stored responses were declared void.
    pub invalidations: PerLabel<Invalidation, IntCounter>,
    /// Responses that were not stored.
    pub not_stored: PerLabel<NotStored, IntCounter>,
    /// Responses streamed because `cache.max_filling` had no room.
    pub fills_streamed: IntCounter,
    /// Requests that the store was not asked for.
    pub bypass: PerLabel<Bypass, IntCounter>,
    /// Requests answered by another one's fetch.
    pub collapsed: IntCounter,
    /// Responses discarded by the fence.
    pub fenced: IntCounter,
    /// Views served.
    pub view: PerLabel<ViewResult, IntCounter>,
    /// Body bytes that views removed.
    pub view_removed_bytes: IntCounter,
    /// Time to derive a view.
    pub prune_duration: Histogram,
    /// Responses from the store, by content coding.
    pub content_coding: PerLabel<SentCoding, IntCounter>,
    /// Body bytes that codings spared clients.
    pub coding_saved_bytes: IntCounter,
    /// Codings left to a later hit.
    pub coding_deferred: IntCounter,
    /// Time to make a coding.
    pub coding_duration: Histogram,
    /// Refusals of tokens by the origin.
    pub tokens_refused: IntCounter,
    /// Lines of the log dropped.
    pub log_dropped: IntCounter,
    /// Spans, by what became of them.
    pub spans: PerLabel<SpanResult, IntCounter>,
    /// What weighs most in the responses that come in; no metric, as names are no closed set.
    pub fields: Fields,
}

labels! {
    /// Why the store dropped a response.
    pub enum Eviction {
        /// Room was needed.
        Size => "size",
        /// It outlived `freshness.hard_limit`.
        Expired => "expired",
        /// A newer response took its place.
        Replaced => "replaced",
        /// It was invalidated.
        Invalidated => "invalidated",
    }
}

labels! {
    /// Why stored responses were declared void.
    pub enum Invalidation {
        /// A successful unsafe request (RFC 9111 §4.4), or one whose end is unknown.
        Write => "write",
        /// The origin refused a token.
        Refusal => "refusal",
        /// An operator purged a call.
        PurgeCall => "purge_call",
        /// An operator purged a scope.
        PurgeScope => "purge_scope",
        /// An operator purged everything.
        PurgeAll => "purge_all",
    }
}

labels! {
    /// How a view was served.
    pub enum ViewResult {
        /// Derived from the stored body now.
        Derived => "derived",
        /// Remembered from an earlier request.
        Memoised => "memoised",
        /// Nothing to remove: the stored body itself.
        Whole => "whole",
        /// Not JSON: served whole.
        NotJson => "skipped_not_json",
        /// Nested too deeply: served whole.
        TooDeep => "skipped_too_deep",
        /// Not declared as JSON: served whole.
        NotDeclared => "skipped_not_declared_json",
        /// Encoded, not to be transformed, or not a 200: served whole.
        NotACall => "skipped_not_a_call",
    }
}

labels! {
    /// The content coding of a response from the store.
    pub enum SentCoding {
        /// [`Coding::Zstd`].
        Zstd => "zstd",
        /// [`Coding::Brotli`].
        Brotli => "br",
        /// [`Coding::Gzip`].
        Gzip => "gzip",
        /// None.
        Identity => "identity",
    }
}

impl From<Coding> for SentCoding {
    fn from(coding: Coding) -> Self {
        match coding {
            Coding::Zstd => Self::Zstd,
            Coding::Brotli => Self::Brotli,
            Coding::Gzip => Self::Gzip,
        }
    }
}

labels! {
    /// Why something is tried once more.
    pub enum Retry {
        /// A kept connection ended before the first byte of an answer.
        Pooled => "pooled",
        /// So did a new one.
        Closed => "closed",
        /// No connection: the origin refuses them.
        Connect => "connect",
    }
}

labels! {
    /// Why the origin is not asked.
    pub enum Shed {
        /// As many requests as `limits.in_flight` wait for it.
        InFlight => "in_flight",
        /// So many requests of one token do.
        Share => "share",
        /// It does not answer.
        Breaker => "breaker",
        /// It has asked this token to wait.
        RetryAfter => "retry_after",
    }
}

labels! {
    /// What of ours ended a client connection.
    pub enum ConnectionBound {
        /// No whole request head within `server.header_timeout`.
        HeaderTimeout => "header_timeout",
        /// No request within `server.idle_timeout`.
        IdleTimeout => "idle_timeout",
        /// A response that the client did not read for `server.idle_timeout`, or a body that went
        /// on for so long behind its answer.
        Stalled => "stalled",
        /// Still busy at the end of `server.drain_timeout`.
        DrainTimeout => "drain_timeout",
        /// No TLS: not spoken, no common version, no certificate that we accept, or no end of it
        /// within `server.header_timeout`.
        TlsHandshake => "tls_handshake",
        /// What came was no request to hyper, which has answered it by itself. What is known to be
        /// none is refused before it gets there.
        Malformed => "malformed",
        /// HTTP/2 that is none, or that does nothing but cost.
        ProtocolError => "protocol_error",
        /// More came of a request that was not read to its end than is read and dropped.
        Unread => "unread",
    }
}

labels! {
    /// What came of reading settings or files again.
    pub enum Reload {
        /// They are in use.
        Applied => "applied",
        /// Something is wrong with them; the old ones stay.
        Refused => "refused",
    }
}

labels! {
    /// What became of a span.
    pub enum SpanResult {
        /// The collector has it.
        Exported => "exported",
        /// As many as there are places for waited already.
        QueueFull => "queue_full",
        /// The collector does not want it.
        Refused => "refused",
        /// The collector cannot be reached, or does not answer.
        Unreachable => "unreachable",
    }
}

labels! {
    /// The `method` label.
    enum MethodLabel {
        Get => "GET",
        Head => "HEAD",
        Post => "POST",
        Put => "PUT",
        Patch => "PATCH",
        Delete => "DELETE",
        Options => "OPTIONS",
        Other => "other",
    }
}

/// One instrument for each value of a closed enum.
#[derive(Debug)]
pub struct PerLabel<L, M> {
    children: Box<[M]>,
    labels: PhantomData<L>,
}

impl<L: Label, M> PerLabel<L, M> {
    fn new(child: impl FnMut(L) -> M) -> Self {
        Self {
            children: L::ALL.iter().copied().map(child).collect(),
            labels: PhantomData,
        }
    }

    /// The instrument of this value.
    #[must_use]
    pub fn of(&self, label: L) -> &M {
        &self.children[label.index()]
    }
}

/// The statuses that are told apart; any other is counted by its class.
const STATUSES: &[&str] = &[
    "1xx", "2xx", "3xx", "4xx", "5xx", "200", "201", "204", "206", "304", "400", "401", "403",
    "404", "405", "408", "409", "410", "413", "414", "422", "429", "431", "500", "501", "502",
    "503", "504",
];

/// The place behind [`STATUSES`] of a request that was not answered.
const NO_STATUS: usize = STATUSES.len();

fn status_index(status: StatusCode) -> usize {
    let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
    STATUSES[5..]
        .iter()
        .position(|known| *known == status.as_str())
        .map_or(class, |at| at + 5)
}

/// `requests_total`: children are made when first counted, then found by index.
#[derive(Debug)]
pub struct Requests {
    family: IntCounterVec,
    routes: Vec<String>,
    children: Box<[OnceLock<IntCounter>]>,
}

impl Requests {
    fn new(family: IntCounterVec, routes: &Routes) -> Self {
        let routes: Vec<_> = routes
            .names()
            .map(str::to_owned)
            .chain(["other".to_owned()])
            .collect();
        let count =
            routes.len() * MethodLabel::ALL.len() * (NO_STATUS + 1) * OutcomeLabel::ALL.len();
        Self {
            family,
            routes,
            children: std::iter::repeat_with(OnceLock::new).take(count).collect(),
        }
    }

    /// The pattern of a route, as the label has it.
    #[must_use]
    pub fn route(&self, route: RouteId) -> &str {
        &self.routes[route.0]
    }

    /// Counts one request; without a status, it ended before it was answered.
    pub fn count(
        &self,
        route: Option<RouteId>,
        method: &Method,
        status: Option<StatusCode>,
        outcome: OutcomeLabel,
    ) {
        let route = route.map_or(self.routes.len() - 1, |route| route.0);
        let method = method_label(method);
        let status = status.map_or(NO_STATUS, status_index);
        let index = ((route * MethodLabel::ALL.len() + method.index()) * (NO_STATUS + 1) + status)
            * OutcomeLabel::ALL.len()
            + outcome.index();
        let child = || {
            let labels = [
                &self.routes[route],
                method.as_str(),
                STATUSES.get(status).copied().unwrap_or("none"),
                outcome.as_str(),
            ];
            self.family.with_label_values(&labels)
        };
        self.children[index].get_or_init(child).inc();
    }
}

fn method_label(method: &Method) -> MethodLabel {
    match *method {
        Method::GET => MethodLabel::Get,
        Method::HEAD => MethodLabel::Head,
        Method::POST => MethodLabel::Post,
        Method::PUT => MethodLabel::Put,
        Method::PATCH => MethodLabel::Patch,
        Method::DELETE => MethodLabel::Delete,
        Method::OPTIONS => MethodLabel::Options,
        _ => MethodLabel::Other,
    }
}

/// `upstream_requests_total`: by status or by fault.
#[derive(Debug)]
pub struct UpstreamRequests {
    statuses: Box<[IntCounter]>,
    faults: PerLabel<Fault, IntCounter>,
}

impl UpstreamRequests {
    /// The origin answered.
    pub fn answered(&self, status: StatusCode) {
        self.statuses[status_index(status)].inc();
    }

    /// The origin failed.
    pub fn failed(&self, fault: Fault) {
        self.faults.of(fault).inc();
    }

    /// All that were sent.
    #[must_use]
    pub fn total(&self) -> u64 {
        let answered = self.statuses.iter().map(IntCounter::get).sum::<u64>();
        answered + self.faults(|fault| !fault.is_shed())
    }

    /// Those of them that tell of a fault of the origin, or on the way to it, and answers of the
    /// class 5xx.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let failures = self.statuses.iter().zip(STATUSES);
        let failures = failures.filter(|(_, status)| status.starts_with('5'));
        let answered = failures.map(|(count, _)| count.get()).sum::<u64>();
        answered + self.faults(|fault| !fault.is_shed() && fault != Fault::RequestBody)
    }

    /// Every result that has occurred, a status or the name of a fault, and how often.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let statuses = STATUSES.iter().copied().zip(&self.statuses);
        let faults = Fault::ALL.iter().map(|fault| fault.as_str());
        statuses
            .chain(faults.zip(&self.faults.children))
            .map(|(result, count)| (result, count.get()))
            .filter(|(_, count)| *count > 0)
    }

    fn faults(&self, which: impl Fn(Fault) -> bool) -> u64 {
        let faults = Fault::ALL.iter().filter(|fault| which(**fault));
        faults.map(|fault| self.faults.of(*fault).get()).sum()
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers every family of the table.
    ///
    /// # Panics
    ///
    /// When the table declares a family twice or with an invalid name, which a test would show.
    #[must_use]
    pub fn new(routes: &Routes) -> Self {
        let r = Registry::new();
        #[cfg(target_os = "linux")]
        register(
            &r,
            prometheus::process_collector::ProcessCollector::for_self(),
        );
        registered(
            &r,
            IntGaugeVec::new(opts(family::BUILD_INFO), family::BUILD_INFO.labels),
        )
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1);
        let upstream = counters(&r, family::UPSTREAM_REQUESTS);
        Self {
            requests: Requests::new(counters(&r, family::REQUESTS), routes),
            request_duration: {
                let family = histograms(&r, family::REQUEST_DURATION, family::SECONDS);
                PerLabel::new(|label: OutcomeLabel| family.with_label_values(&[label.as_str()]))
            },
            response_bytes: by_label(&r, family::RESPONSE_BYTES),
            in_flight: gauge(&r, family::IN_FLIGHT),
            connections: gauge(&r, family::CONNECTIONS),
            connections_resting: gauge(&r, family::CONNECTIONS_RESTING),
            connections_closed: by_label(&r, family::CONNECTIONS_CLOSED),
            config_reloads: by_label(&r, family::CONFIG_RELOADS),
            tls_reloads: by_label(&r, family::TLS_RELOADS),
            tls_certificate_expiry: gauge(&r, family::TLS_CERTIFICATE_EXPIRY),
            accept_failures: counter(&r, family::ACCEPT_FAILURES),
            refused: by_label(&r, family::REFUSED),
            upstream_requests: UpstreamRequests {
                statuses: STATUSES
                    .iter()
                    .map(|status| upstream.with_label_values(&[*status]))
                    .collect(),
                faults: PerLabel::new(|fault: Fault| upstream.with_label_values(&[fault.as_str()])),
            },
            upstream_retries: by_label(&r, family::UPSTREAM_RETRIES),
            upstream_retries_denied: counter(&r, family::UPSTREAM_RETRIES_DENIED),
            upstream_duration: histogram(&r, family::UPSTREAM_DURATION, family::SECONDS),
            upstream_bytes: counter(&r, family::UPSTREAM_BYTES),
            upstream_in_flight: gauge(&r, family::UPSTREAM_IN_FLIGHT),
            upstream_shed: by_label(&r, family::UPSTREAM_SHED),
            upstream_breaker_state: gauge(&r, family::UPSTREAM_BREAKER_STATE),
            cache_entries: gauge(&r, family::CACHE_ENTRIES),
            cache_weight: gauge(&r, family::CACHE_WEIGHT),
            cache_capacity: gauge(&r, family::CACHE_CAPACITY),
            evictions: by_label(&r, family::EVICTIONS),
            invalidations: by_label(&r, family::INVALIDATIONS),
            not_stored: by_label(&r, family::NOT_STORED),
            fills_streamed: counter(&r, family::FILLS_STREAMED),
            bypass: by_label(&r, family::BYPASS),
            collapsed: counter(&r, family::COLLAPSED),
            fenced: counter(&r, family::FENCED),
            view: by_label(&r, family::VIEW),
            view_removed_bytes: counter(&r, family::VIEW_REMOVED_BYTES),
            prune_duration: histogram(&r, family::PRUNE_DURATION, family::PRUNE_SECONDS),
            content_coding: by_label(&r, family::CONTENT_CODING),
            coding_saved_bytes: counter(&r, family::CODING_SAVED_BYTES),
            coding_deferred: counter(&r, family::CODING_DEFERRED),
            coding_duration: histogram(&r, family::CODING_DURATION, family::PRUNE_SECONDS),
            tokens_refused: counter(&r, family::TOKENS_REFUSED),
            log_dropped: counter(&r, family::LOG_DROPPED),
            spans: by_label(&r, family::SPANS),
            fields: Fields::default(),
            registry: r,
        }
    }

    /// The text format, as `/metrics` answers it.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("registered families are valid");
        text
    }
}

/// A duration in the unit of the histograms.
#[must_use]
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn opts(family: Family) -> Opts {
    Opts::new(family.name, family.help).namespace(PREFIX)
}

fn register(registry: &Registry, collector: impl prometheus::core::Collector + 'static) {
    registry
        .register(Box::new(collector))
        .expect("each family is declared once");
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("the table's names and labels are valid");
    register(registry, collector.clone());
    collector
}

fn counter(registry: &Registry, family: Family) -> IntCounter {
    registered(registry, IntCounter::with_opts(opts(family)))
}

fn counters(registry: &Registry, family: Family) -> IntCounterVec {
    registered(registry, IntCounterVec::new(opts(family), family.labels))
}

fn by_label<L: Label>(registry: &Registry, family: Family) -> PerLabel<L, IntCounter> {
    let vec = counters(registry, family);
    PerLabel::new(|label: L| vec.with_label_values(&[label.as_str()]))
}

fn gauge(registry: &Registry, family: Family) -> IntGauge {
    registered(registry, IntGauge::with_opts(opts(family)))
}

fn histogram(registry: &Registry, family: Family, bounds: &[f64]) -> Histogram {
    let opts = HistogramOpts::from(opts(family)).buckets(bounds.to_vec());
    registered(registry, Histogram::with_opts(opts))
}

fn histograms(registry: &Registry, family: Family, bounds: &[f64]) -> HistogramVec {
    let opts = HistogramOpts::from(opts(family)).buckets(bounds.to_vec());
    registered(registry, HistogramVec::new(opts, family.labels))
}
