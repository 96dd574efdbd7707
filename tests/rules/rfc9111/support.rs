//! Helpers: heads from lines of text, moments from seconds, an exchange to assess.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use stuut_cache::config;
use stuut_cache::policy::{
    self, Exchange, Facts, Freshness, Moment, NotStored, RequestDirectives, RouteRule, Sharing,
};

/// The arrival of every response here: Sun, 06 Nov 1994 08:49:37 GMT.
const ARRIVAL: u64 = 784_111_777;

/// Parses `name: value` lines to a head.
pub(crate) fn head(lines: &[&str]) -> HeaderMap {
    let mut head = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').expect("a line has a colon");
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        let value = HeaderValue::from_bytes(value.trim().as_bytes()).expect("a field value");
        head.append(name, value);
    }
    head
}

/// The moment n seconds after the arrival.
pub(crate) fn after(seconds: u64) -> Moment {
    Moment {
        mono: Duration::from_secs(1_000 + seconds),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(ARRIVAL + seconds),
    }
}

/// A response of the origin, and its request.
#[derive(Clone, Copy)]
pub(crate) struct Fetched<'a> {
    pub(crate) request: &'a [&'a str],
    pub(crate) status: u16,
    pub(crate) response: &'a [&'a str],
    pub(crate) sharing: Sharing,
}

impl Default for Fetched<'_> {
    fn default() -> Self {
        Self {
            request: &[],
            status: 200,
            response: &[],
            sharing: Sharing::OneToken,
        }
    }
}

impl Fetched<'_> {
    /// Assesses the response under `settings`, without facts of the body.
    pub(crate) fn assess(
        &self,
        settings: &config::Freshness,
    ) -> (Freshness, Result<(), NotStored>) {
        let (request, response) = (head(self.request), head(self.response));
        let status = StatusCode::from_u16(self.status).expect("a status");
        let exchange = Exchange::new(status, &response, after(0), after(0));
        let freshness =
            policy::assess(&exchange, &Facts::default(), settings, RouteRule::default());
        let directives = RequestDirectives::read(&request, settings.client_directives);
        let stored = policy::may_store(
            &exchange,
            &directives,
            &freshness,
            self.sharing,
            settings.private,
        );
        (freshness, stored)
    }
}
