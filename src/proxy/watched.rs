//! The calls that clients wait for: the waiting requests, and one poller for each call and token.
//!
//! `wait` waits and polls; here is which request is served by which poller, and their bounds.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::cache::Entry;
use crate::outcome::WaitEnd;
use crate::policy::{self, FairSlots};
use crate::request::{CacheKey, Prehashed, Refusal, Scope, ScopeId};
use crate::telemetry::Metrics;

/// The watched calls.
#[derive(Debug)]
pub(super) struct Watched {
    /// A blocking mutex: held for operations on short lists, and never by a hit.
    state: Mutex<State>,
    seed: RandomState,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    /// `limits.waiting`, by token.
    slots: FairSlots<Scope>,
    calls: HashMap<CacheKey, Vec<Call>, Prehashed>,
    is_draining: bool,
}

/// A watched call.
#[derive(Debug)]
struct Call {
    audience: Audience,
    news: watch::Sender<News>,
    stored: Arc<Notify>,
}

/// The requests for a call that one poller can serve: they have the same token, the same fields to the
/// origin, and the same rules of freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Audience {
    token: Scope,
    fields: u64,
    rules: usize,
}

/// The news of a poller to the requests that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    /// The response, if it may not be stored because a write is pending; else it is in the store.
    pub(super) unstored: Option<Arc<Entry>>,
    /// Why no request waits any longer.
    pub(super) end: Option<WaitEnd>,
}

/// A request that waits, until dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    watched: Arc<Watched>,
    token: Scope,
    pub(super) news: watch::Receiver<News>,
    pub(super) end: Option<WaitEnd>,
}

/// The right to poll a call, until dropped.
#[derive(Debug)]
pub(super) struct Polling {
    watched: Arc<Watched>,
    key: CacheKey,
    news: watch::Sender<News>,
    /// Notified when a response for the call is stored.
    pub(super) stored: Arc<Notify>,
    /// The last response, and the digest of its body.
    last: (Weak<Entry>, Option<blake3::Hash>),
}

/// The requests that wait, for operators.
#[derive(Debug)]
pub struct WaitingRequests(pub(super) Arc<Watched>);

/// Why a request does not wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoWait {
    /// At the bound.
    Refused,
    /// The proxy is shutting down.
    Draining,
}

impl WaitingRequests {
    /// Their numbers by scope.
    pub fn by_scope(&self) -> HashMap<ScopeId, usize> {
        let mut waiting = HashMap::new();
        self.0.visit(|key, requests| {
            *waiting.entry(key.scope().id()).or_default() += requests;
        });
        waiting
    }

    /// Their number for this path, in all scopes or in one.
    pub fn of_path(&self, path: &str, scope: Option<ScopeId>) -> usize {
        let path = policy::canonical_path(path);
        let mut waiting = 0;
        self.0.visit(|key, requests| {
            let is_meant = scope.is_none_or(|scope| key.scope().id() == scope);
            if is_meant && policy::canonical_path(key.path()) == path {
                waiting += requests;
            }
        });
        waiting
    }
}

impl Watched {
    pub(super) fn new(limit: usize, metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                slots: FairSlots::new(limit),
                calls: HashMap::default(),
                is_draining: false,
            }),
            seed: RandomState::new(),
            metrics: Arc::clone(metrics),
        })
    }

    pub(super) fn audience<R>(&self, token: Scope, fields: &HeaderMap, rules: &Arc<R>) -> Audience {
        let fields: Vec<_> = fields.iter().collect();
        Audience {
            token,
            fields: self.seed.hash_one(fields),
            rules: Arc::as_ptr(rules).addr(),
        }
    }

    /// Begins to wait; with the right to poll, if there is no poller. The request has news at once: the
    /// response may have changed since it was looked up.
    pub(super) fn wait(
        self: &Arc<Self>,
        key: &CacheKey,
        audience: Audience,
    ) -> Result<(Waiting, Option<Polling>), NoWait> {
        let mut state = self.state.lock();
        if state.is_draining {
            return Err(NoWait::Draining);
        }
        let State { slots, calls, .. } = &mut *state;
        let token = audience.token;
        if slots.take(token, 0).is_err() {
            self.metrics.refused.of(Refusal::Waiting).inc();
            return Err(NoWait::Refused);
        }
        let calls = calls.entry(key.clone()).or_default();
        let known = calls.iter().position(|call| call.audience == audience);
        let at = known.unwrap_or_else(|| {
            calls.push(Call {
                audience,
                news: watch::Sender::default(),
                stored: Arc::default(),
            });
            calls.len() - 1
        });
        let Call { news, stored, .. } = &calls[at];
        let polling = known.is_none().then(|| Polling {
            watched: Arc::clone(self),
            key: key.clone(),
            news: news.clone(),
            stored: Arc::clone(stored),
            last: (Weak::new(), None),
        });
        let mut news = news.subscribe();
        news.mark_changed();
        self.metrics.waiting.inc();
        let waiting = Waiting {
            watched: Arc::clone(self),
            token,
            news,
            end: None,
        };
        Ok((waiting, polling))
    }

    /// Notifies the pollers of a call that a response was stored.
    pub(super) fn stored(&self, key: &CacheKey) {
        let state = self.state.lock();
        for call in state.calls.get(key).into_iter().flatten() {
            call.stored.notify_one();
        }
    }

    /// Visits each watched call, with the number of requests that wait.
    fn visit(&self, mut visit: impl FnMut(&CacheKey, usize)) {
        for (key, calls) in &self.state.lock().calls {
            let requests = calls.iter().map(|call| call.news.receiver_count());
            visit(key, requests.sum());
        }
    }

    /// Ends all waits; from now on no request waits.
    pub(super) fn drain(&self) {
        let mut state = self.state.lock();
        state.is_draining = true;
        for call in state.calls.values().flatten() {
            call.news
                .send_modify(|news| news.end = Some(WaitEnd::Drained));
        }
    }
}

// === impl Polling ===

impl Polling {
    /// Whether it is another response than the last one.
    pub(super) fn is_new(&self, entry: &Arc<Entry>) -> bool {
        self.last.0.as_ptr() != Arc::as_ptr(entry)
    }

    /// Publishes a response, if its body is another than the last one.
    pub(super) fn publish(&mut self, entry: &Arc<Entry>, is_stored: bool) {
        if !self.is_new(entry) {
            return;
        }
        let (last, digest) = &mut self.last;
        *last = Arc::downgrade(entry);
        let new = Some(blake3::hash(&entry.whole.body));
        let has_changed = std::mem::replace(digest, new) != new;
        self.news.send_if_modified(|news| {
            news.unstored = (!is_stored).then(|| Arc::clone(entry));
            has_changed
        });
    }

    /// Ends the waits, and the right: the response is not one that can be waited for.
    pub(super) fn skip(&self) {
        let mut state = self.watched.state.lock();
        let skipped = |news: &mut News| news.end = Some(WaitEnd::Skipped);
        self.news.send_modify(skipped);
        state.remove(self);
    }

    /// Waits until no request waits.
    pub(super) async fn abandoned(&self) {
        self.news.closed().await;
    }

    /// Ends the right if no request waits.
    pub(super) fn is_over(&self) -> bool {
        let mut state = self.watched.state.lock();
        let is_over = self.news.receiver_count() == 0;
        if is_over {
            state.remove(self);
        }
        is_over
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.watched.state.lock().remove(self);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.watched.state.lock().slots.release(self.token);
        self.watched.metrics.waiting.dec();
        if self.end.is_none() {
            self.watched.metrics.waits_left.inc();
        }
    }
}

impl State {
    /// Removes a call, unless another poller has it by now.
    fn remove(&mut self, polling: &Polling) {
        let Some(calls) = self.calls.get_mut(&polling.key) else {
            return;
        };
        calls.retain(|call| !call.news.same_channel(&polling.news));
        if calls.is_empty() {
            self.calls.remove(&polling.key);
        }
    }
}
