//! The instruments whose labels are not a single enum: requests, their durations, and requests to the
//! origin.

use std::collections::HashMap;
use std::sync::OnceLock;

use http::{Method, StatusCode};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::instrument::{Family, Instrument, PerRoute, Setup};
use super::openmetrics::{Ended, Exemplars};
use crate::label::Label as _;
use crate::outcome::{Fault, OutcomeLabel};
use crate::request::RouteId;

/// Statuses with a label of their own, after the classes that count all others.
pub(super) const STATUSES: &[&str] = &[
    "1xx", "2xx", "3xx", "4xx", "5xx", "200", "201", "204", "206", "304", "400", "401", "403",
    "404", "405", "408", "409", "410", "413", "414", "422", "429", "431", "500", "501", "502",
    "503", "504",
];

/// The index, after [`STATUSES`], of a request without a response.
const NO_STATUS: usize = STATUSES.len();

/// Methods with a label of their own; the last counts all others.
const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
];

/// The results of requests to the origin: a status, or a fault.
pub(super) fn results() -> impl Iterator<Item = &'static str> {
    let faults = Fault::ALL.iter().map(|fault| fault.as_str());
    STATUSES.iter().copied().chain(faults)
}

fn status_index(status: StatusCode) -> usize {
    let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
    STATUSES[5..]
        .iter()
        .position(|known| *known == status.as_str())
        .map_or(class, |at| at + 5)
}

fn method_index(method: &Method) -> usize {
    let known = METHODS.iter().position(|known| *known == *method);
    known.unwrap_or(METHODS.len() - 1)
}

/// Served from memory.
pub(in crate::telemetry) const HITS: &[OutcomeLabel] = &[OutcomeLabel::Hit, OutcomeLabel::Stale];

/// Cacheable requests served by the origin.
pub(in crate::telemetry) const MISSES: &[OutcomeLabel] = &[
    OutcomeLabel::Miss,
    OutcomeLabel::Expired,
    OutcomeLabel::Collapsed,
];

/// The children of each route that exist from the start, so that `rate` sees the first request: all of GET.
const INITIAL: &[(OutcomeLabel, &str)] = &[
    (OutcomeLabel::Hit, "200"),
    (OutcomeLabel::Stale, "200"),
    (OutcomeLabel::Miss, "200"),
    (OutcomeLabel::Expired, "200"),
    (OutcomeLabel::Collapsed, "200"),
    (OutcomeLabel::Bypass, "200"),
    (OutcomeLabel::Refused, "400"),
    (OutcomeLabel::Failed, "429"),
    (OutcomeLabel::Failed, "502"),
    (OutcomeLabel::Failed, "503"),
    (OutcomeLabel::Failed, "504"),
    (OutcomeLabel::Aborted, NONE),
];

/// The label of a request without a response.
const NONE: &str = "none";

const OUTCOMES: usize = OutcomeLabel::ALL.len();

/// `requests_total`. Children are created when first counted, then found by index.
#[derive(Debug)]
pub struct Requests {
    family: IntCounterVec,
    routes: PerRoute<String>,
    /// By method, then by status, then by outcome.
    children: PerRoute<Box<[OnceLock<IntCounter>]>>,
}

/// `request_duration_seconds`. Children are created when first observed: each has 68 series, and most
/// outcomes are rare.
#[derive(Debug)]
pub struct RequestDurations {
    family: HistogramVec,
    routes: PerRoute<String>,
    children: PerRoute<[OnceLock<Child>; OUTCOMES]>,
}

#[derive(Debug)]
struct Child {
    histogram: Histogram,
    exemplars: Exemplars,
}

/// `upstream_requests_total`: by status or by fault.
#[derive(Debug)]
pub struct UpstreamRequests {
    /// In the order of [`STATUSES`], then of [`Fault::ALL`].
    results: Box<[IntCounter]>,
}

// === impl Requests ===

impl Instrument for Requests {
    const KIND: &'static str = IntCounter::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        let count = METHODS.len() * (NO_STATUS + 1) * OUTCOMES;
        let children = |_: &str| std::iter::repeat_with(OnceLock::new).take(count).collect();
        let requests = Self {
            family: setup.counters(family),
            routes: PerRoute::new(setup.routes().map(str::to_owned)),
            children: PerRoute::new(setup.routes().map(children)),
        };
        for route in requests.routes.ids() {
            let is_possible =
                |outcome| route.is_some() || !HITS.contains(outcome) && !MISSES.contains(outcome);
            for (outcome, name) in INITIAL.iter().filter(|(outcome, _)| is_possible(outcome)) {
                let status = STATUSES.iter().position(|status| status == name);
                let status = status.unwrap_or(NO_STATUS);
                requests.child(route, method_index(&Method::GET), status, *outcome);
            }
        }
        requests
    }
}

impl Requests {
    /// The pattern of a route, as in the label.
    pub fn route(&self, route: RouteId) -> &str {
        self.routes.of(Some(route))
    }

    /// Counts one request; without a status, it ended before a response.
    pub fn count(
        &self,
        route: Option<RouteId>,
        method: &Method,
        status: Option<StatusCode>,
        outcome: OutcomeLabel,
    ) {
        let status = status.map_or(NO_STATUS, status_index);
        let child = self.child(route, method_index(method), status, outcome);
        child.inc();
    }

    fn child(
        &self,
        route: Option<RouteId>,
        method: usize,
        status: usize,
        outcome: OutcomeLabel,
    ) -> &IntCounter {
        let index = (method * (NO_STATUS + 1) + status) * OUTCOMES + outcome.index();
        let child = || {
            let labels = [
                self.routes.of(route),
                METHODS[method],
                STATUSES.get(status).copied().unwrap_or(NONE),
                outcome.as_str(),
            ];
            self.family.with_label_values(&labels)
        };
        self.children.of(route)[index].get_or_init(child)
    }

    /// The counts, summed by status.
    pub(super) fn by_status(&self) -> [u64; STATUSES.len()] {
        let mut sums = [0; STATUSES.len()];
        for (index, child) in self.children.iter().flat_map(|all| all.iter().enumerate()) {
            let sum = sums.get_mut(index / OUTCOMES % (NO_STATUS + 1));
            if let (Some(sum), Some(child)) = (sum, child.get()) {
                *sum += child.get();
            }
        }
        sums
    }
}

// === impl RequestDurations ===

impl Instrument for RequestDurations {
    const KIND: &'static str = Histogram::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        let children = |_: &str| std::array::from_fn(|_| OnceLock::new());
        Self {
            family: setup.histograms(family),
            routes: PerRoute::new(setup.routes().map(str::to_owned)),
            children: PerRoute::new(setup.routes().map(children)),
        }
    }
}

impl RequestDurations {
    /// Records the duration of one request.
    pub fn observe(&self, route: Option<RouteId>, outcome: OutcomeLabel, ended: Ended<'_>) {
        let create = || {
            let labels = [self.routes.of(route), outcome.as_str()];
            Child {
                histogram: self.family.with_label_values(&labels),
                exemplars: Exemplars::default(),
            }
        };
        let child = self.children.of(route)[outcome.index()].get_or_init(create);
        child.histogram.observe(ended.took.as_secs_f64());
        child.exemplars.note(ended);
    }

    /// The exemplars, by the time series of their buckets.
    pub(super) fn exemplars(&self) -> HashMap<String, String> {
        let mut all = HashMap::new();
        for (route, children) in self.routes.iter().zip(self.children.iter()) {
            for (outcome, child) in OutcomeLabel::ALL.iter().zip(children) {
                let rendered = child.get().map(|child| child.exemplars.rendered());
                all.extend(
                    rendered
                        .unwrap_or_default()
                        .into_iter()
                        .map(|(bound, text)| {
                            let outcome = outcome.as_str();
                            let labels =
                                format!("outcome=\"{outcome}\",route=\"{route}\",le=\"{bound}\"");
                            let name = "stuut_cache_request_duration_seconds_bucket";
                            (format!("{name}{{{labels}}}"), text)
                        }),
                );
            }
        }
        all
    }

    /// The histograms of an outcome, of all routes.
    pub(super) fn of(&self, outcome: OutcomeLabel) -> impl Iterator<Item = &Histogram> {
        let children = self.children.iter();
        let children = children.filter_map(move |all| all[outcome.index()].get());
        children.map(|child| &child.histogram)
    }
}

// === impl UpstreamRequests ===

impl Instrument for UpstreamRequests {
    const KIND: &'static str = IntCounter::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        let family = setup.counters(family);
        let child = |result| family.with_label_values(&[result]);
        Self {
            results: results().map(child).collect(),
        }
    }
}

impl UpstreamRequests {
    pub(super) fn responded(&self, status: StatusCode) {
        self.results[status_index(status)].inc();
    }

    pub(super) fn failed(&self, fault: Fault) {
        self.results[STATUSES.len() + fault.index()].inc();
    }

    /// The counts, in the order of the results.
    pub(super) fn counts(&self) -> impl Iterator<Item = u64> {
        self.results.iter().map(IntCounter::get)
    }
}
