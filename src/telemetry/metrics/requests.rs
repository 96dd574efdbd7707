//! The two counters whose labels are not a single enum: requests, and requests to the origin.

use std::sync::OnceLock;

use http::{Method, StatusCode};
use prometheus::{IntCounter, IntCounterVec};

use super::instrument::{Family, Instrument, Setup};
use crate::label::Label as _;
use crate::outcome::{Fault, OutcomeLabel};
use crate::request::RouteId;

/// Statuses with a label of their own, after the classes that count all others.
const STATUSES: &[&str] = &[
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

/// `requests_total`. Children are created when first counted, then found by index.
#[derive(Debug)]
pub struct Requests {
    family: IntCounterVec,
    routes: Vec<String>,
    children: Box<[OnceLock<IntCounter>]>,
}

/// `upstream_requests_total`: by status or by fault.
#[derive(Debug)]
pub struct UpstreamRequests {
    /// In the order of [`STATUSES`], then of [`Fault::ALL`].
    results: Box<[(&'static str, IntCounter)]>,
}

// === impl Requests ===

impl Instrument for Requests {
    const KIND: &'static str = IntCounter::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        let routes = setup.routes.names().map(str::to_owned);
        let routes: Vec<_> = routes.chain(["other".to_owned()]).collect();
        let count = routes.len() * METHODS.len() * (NO_STATUS + 1) * OutcomeLabel::ALL.len();
        Self {
            family: setup.counters(family),
            routes,
            children: std::iter::repeat_with(OnceLock::new).take(count).collect(),
        }
    }
}

impl Requests {
    /// The pattern of a route, as in the label.
    #[must_use]
    pub fn route(&self, route: RouteId) -> &str {
        &self.routes[route.0]
    }

    /// Counts one request; without a status, it ended before a response.
    pub fn count(
        &self,
        route: Option<RouteId>,
        method: &Method,
        status: Option<StatusCode>,
        outcome: OutcomeLabel,
    ) {
        let route = route.map_or(self.routes.len() - 1, |route| route.0);
        let method = method_index(method);
        let status = status.map_or(NO_STATUS, status_index);
        let index = ((route * METHODS.len() + method) * (NO_STATUS + 1) + status)
            * OutcomeLabel::ALL.len()
            + outcome.index();
        let child = || {
            let labels = [
                &self.routes[route],
                METHODS[method],
                STATUSES.get(status).copied().unwrap_or("none"),
                outcome.as_str(),
            ];
            self.family.with_label_values(&labels)
        };
        self.children[index].get_or_init(child).inc();
    }
}

// === impl UpstreamRequests ===

impl Instrument for UpstreamRequests {
    const KIND: &'static str = IntCounter::KIND;

    fn register(family: &Family, setup: &Setup<'_>) -> Self {
        let family = setup.counters(family);
        let faults = Fault::ALL.iter().map(|fault| fault.as_str());
        let results = STATUSES.iter().copied().chain(faults);
        let child = |result| (result, family.with_label_values(&[result]));
        Self {
            results: results.map(child).collect(),
        }
    }
}

impl UpstreamRequests {
    /// Counts a response of the origin.
    pub fn responded(&self, status: StatusCode) {
        self.results[status_index(status)].1.inc();
    }

    /// Counts a failed request to the origin.
    pub fn failed(&self, fault: Fault) {
        self.results[STATUSES.len() + fault.index()].1.inc();
    }

    /// All requests that were sent.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sum(|_| true, |fault| !fault.is_shed())
    }

    /// Requests that failed at the origin or on the connection to it, and 5xx responses.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.sum(
            |status| status.starts_with('5'),
            |fault| !fault.is_shed() && fault != Fault::RequestBody,
        )
    }

    /// Every result that has occurred (a status or a fault) and its count.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self
            .results
            .iter()
            .map(|(result, count)| (*result, count.get()));
        counts.filter(|(_, count)| *count > 0)
    }

    fn sum(&self, statuses: fn(&str) -> bool, faults: fn(Fault) -> bool) -> u64 {
        let statuses = STATUSES.iter().map(|status| statuses(status));
        let counted = statuses.chain(Fault::ALL.iter().map(|fault| faults(*fault)));
        let results = self.results.iter().zip(counted);
        results
            .filter(|(_, counted)| *counted)
            .map(|((_, count), _)| count.get())
            .sum()
    }
}
