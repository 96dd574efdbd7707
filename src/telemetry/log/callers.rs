//! The callers that have names (`scope.names`): their metrics, and when each was last seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use prometheus::{IntCounter, IntCounterVec};

use super::busiest::REFUSALS;
use super::line::AccessRecord;
use crate::config::CallerName;
use crate::label::Label as _;
use crate::request::ScopeId;
use crate::telemetry::Metrics;

/// The named callers, by scope.
#[derive(Debug, Default)]
pub struct Callers(ArcSwap<HashMap<ScopeId, Arc<Caller>>>);

/// A named caller.
#[derive(Debug)]
pub struct Caller {
    /// Its name.
    pub name: String,
    requests: IntCounterVec,
    origin_requests: IntCounter,
    bytes: IntCounter,
    refused: [IntCounter; REFUSALS.len()],
    /// When its last request arrived, in seconds since 1970; zero: it has sent none.
    last: AtomicU64,
}

impl Callers {
    /// Gives names from now on. A caller whose name stays keeps its state.
    pub fn set(&self, names: &[CallerName], metrics: &Metrics) {
        let before = self.0.load();
        let callers = names.iter().filter_map(|CallerName { scope, name }| {
            let scope = ScopeId::parse(scope)?;
            let known = before.get(&scope).filter(|caller| caller.name == *name);
            let caller = known.map_or_else(|| Arc::new(Caller::new(name, metrics)), Arc::clone);
            Some((scope, caller))
        });
        self.0.store(Arc::new(callers.collect()));
    }

    /// The caller with this scope, if it has a name.
    pub fn of(&self, scope: ScopeId) -> Option<Arc<Caller>> {
        self.0.load().get(&scope).cloned()
    }

    /// Every named caller.
    pub fn all(&self) -> Arc<HashMap<ScopeId, Arc<Caller>>> {
        self.0.load_full()
    }
}

impl Caller {
    fn new(name: &str, metrics: &Metrics) -> Self {
        let of = |family: &IntCounterVec| family.with_label_values(&[name]);
        let refused = |status: http::StatusCode| {
            let labels = [name, status.as_str()];
            metrics.caller_refused.with_label_values(&labels)
        };
        Self {
            name: name.to_owned(),
            requests: metrics.caller_requests.clone(),
            origin_requests: of(&metrics.caller_origin_requests),
            bytes: of(&metrics.caller_response_bytes),
            refused: REFUSALS.map(refused),
            last: AtomicU64::default(),
        }
    }

    /// Counts a request that has ended.
    pub(super) fn record(&self, record: &AccessRecord) {
        let labels = [&*self.name, record.outcome.label().as_str()];
        self.requests.with_label_values(&labels).inc();
        self.origin_requests
            .inc_by(record.upstream.is_some().into());
        self.bytes.inc_by(record.bytes);
        for (counter, status) in self.refused.iter().zip(REFUSALS) {
            counter.inc_by((record.status == Some(status)).into());
        }
        let at = record.at.duration_since(SystemTime::UNIX_EPOCH);
        self.last
            .store(at.unwrap_or_default().as_secs(), Ordering::Relaxed);
    }

    /// When its last request arrived, to the second; `None` if it has sent none since it has its name.
    pub fn last(&self) -> Option<SystemTime> {
        let seconds = self.last.load(Ordering::Relaxed);
        (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}
