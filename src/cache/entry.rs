//! A stored response: the origin's whole body, and the memoised views of it.
//!
//! Store the whole, show the part: one stored response serves every view of it. `proxy` derives the
//! views; they are kept with their entry.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{AGE, DATE, HeaderName};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::admission::Admitted;
use super::counters::micros;
use super::{Acceptance, Admission, Fence, Generation, Representation};
use crate::config::{self, CookieName};
use crate::policy::{Freshness, Selecting};
use crate::request::Scope;
use crate::view::View;

/// Maximum memoised views per entry; a further one replaces the oldest.
const MAX_VIEWS: usize = 8;

/// How long after a failure of the origin an entry is served stale without waiting for a fetch.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// Bytes of an entry in addition to its content: its fields, moka's bookkeeping, allocator overhead,
/// and the counters that it keeps alive.
const ENTRY_OVERHEAD: usize = 560 + size_of::<Entry>();

/// Fields that differ between two messages with the same response.
const PER_MESSAGE: [HeaderName; 5] = [
    AGE,
    DATE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("traceparent"),
];

/// A stored response.
#[derive(Debug)]
pub struct Entry {
    /// The whole response.
    pub whole: Arc<Representation>,
    /// Its freshness lifetime and age.
    pub freshness: Freshness,
    /// The request fields that it was selected by (RFC 9111 §4.1).
    pub vary: Selecting,
    /// Its scope, compared with that of the request at every read.
    pub scope: Scope,
    /// The generation that its fetch began under.
    pub generation: Generation,
    /// Whether it had an `Age` field: another cache answered, not the origin itself.
    pub came_with_age: bool,
    /// The last acceptance of its token; `None` in a named scope, where each token has an admission
    /// of its own.
    acceptance: Option<Arc<Acceptance>>,
    /// The settings that its freshness was assessed by.
    pub rules: Option<Arc<config::Freshness>>,
    /// If the response set cookies: `cache.ignore_set_cookie` at that time.
    pub ignored_cookies: Option<Arc<Vec<CookieName>>>,
    /// A blocking mutex: held for an operation on a short list.
    views: Mutex<Vec<(View, Arc<ViewSlot>)>>,
    /// The tokens of a named scope to which it may be served.
    admitted: Admitted,
    failures: Failures,
}

/// Backoff after the origin has failed to renew an entry. Times are monotonic, in microseconds.
#[derive(Debug, Default)]
struct Failures {
    /// Until this time, no client waits for a fetch.
    until: AtomicU64,
    /// Whether the one retry during that time has begun.
    is_retried: AtomicBool,
    /// The deadline of that retry; zero once it has ended.
    retry_until: AtomicU64,
}

/// The slot of a view: derived by one request at a time.
#[derive(Debug, Default)]
pub struct ViewSlot {
    derived: OnceLock<Arc<Representation>>,
    /// A tokio mutex: held while the view is derived, by a thread that outlives the client.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl ViewSlot {
    /// The view, if it is memoised.
    pub fn get(&self) -> Option<&Arc<Representation>> {
        self.derived.get()
    }

    /// Waits while another request derives the view. Until the turn is dropped, it is the caller's to
    /// derive, unless it is memoised by now.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }
}

impl Entry {
    /// An entry without memoised views.
    pub fn new(
        whole: Representation,
        freshness: Freshness,
        vary: Selecting,
        scope: Scope,
        fence: &Fence,
        came_with_age: bool,
    ) -> Self {
        Self {
            whole: Arc::new(whole),
            freshness,
            vary,
            scope,
            generation: fence.generation().clone(),
            came_with_age,
            acceptance: None,
            rules: None,
            ignored_cookies: None,
            admitted: Admitted::default(),
            failures: Failures::default(),
            views: Mutex::default(),
        }
    }

    /// The same entry, with the acceptance of its token.
    #[must_use]
    pub fn with_acceptance(self, acceptance: Arc<Acceptance>) -> Self {
        Self {
            acceptance: Some(acceptance),
            ..self
        }
    }

    /// Whether its freshness was assessed by these settings, and not before a reload.
    pub fn is_assessed_by(&self, rules: &Arc<config::Freshness>) -> bool {
        self.rules
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, rules))
    }

    /// The same response with a new assessment, without views and admissions.
    #[must_use]
    pub fn reassessed(&self, whole: Representation, freshness: Freshness) -> Self {
        Self {
            whole: Arc::new(whole),
            freshness,
            vary: self.vary.clone(),
            scope: self.scope,
            generation: self.generation.clone(),
            came_with_age: self.came_with_age,
            acceptance: self.acceptance.clone(),
            rules: None,
            ignored_cookies: self.ignored_cookies.clone(),
            views: Mutex::default(),
            admitted: Admitted::default(),
            failures: Failures::default(),
        }
    }

    /// The last acceptance of its token, unless its scope is a named one.
    pub fn acceptance(&self) -> Option<&Arc<Acceptance>> {
        self.acceptance.as_ref()
    }

    /// Whether it may be served to this token: the scope is the token's own, or the origin has
    /// recently shown the token this same response.
    pub fn admits(&self, token: &Scope, now: Duration) -> bool {
        *token == self.scope || self.admitted.admits(token, now)
    }

    /// Whether a fetch that began later than this fence has admitted its token.
    pub(super) fn was_admitted_later(&self, fence: &Fence) -> bool {
        let sequence = fence.generation.sequence;
        self.admitted.admits_later(fence.token(), sequence)
    }

    /// Admits a token, to which the origin has shown it.
    pub fn admit(&self, admission: Admission) {
        self.admitted.add(admission);
    }

    /// Revokes a token's admission; returns whether other tokens are left.
    pub(super) fn revoke(&self, token: &Scope) -> bool {
        self.admitted.remove(token)
    }

    pub(super) fn inherit_admissions(&self, older: &Self) {
        self.admitted.inherit(&older.admitted);
    }

    /// Whether the origin has sent the same response twice: the same status, body and fields, except
    /// those that differ in each message.
    pub fn is_same_response(&self, other: &Self) -> bool {
        let (one, other) = (&self.whole, &other.whole);
        let is_content = |name: &HeaderName| !PER_MESSAGE.contains(name);
        let names = || one.headers.keys().chain(other.headers.keys());
        one.status == other.status
            && *one.body == *other.body
            && names().filter(|name| is_content(name)).all(|name| {
                one.headers
                    .get_all(name)
                    .iter()
                    .eq(other.headers.get_all(name))
            })
    }

    /// Records the end of a fetch that tried to renew the entry. After a failure of the origin, clients
    /// are served stale for five seconds without waiting, if that is allowed, while one retry runs.
    pub fn fetch_ended(&self, failed: bool, now: Duration) {
        let failures = &self.failures;
        if failed {
            let was_retried = self.has_failed_recently(now);
            failures.is_retried.store(was_retried, Ordering::Relaxed);
            let pause = micros(now.saturating_add(FAILURE_PAUSE));
            failures.until.store(pause, Ordering::Relaxed);
        }
        failures.retry_until.store(0, Ordering::Relaxed);
    }

    /// Whether the origin has recently failed to renew it, or a retry is still running.
    pub fn has_failed_recently(&self, now: Duration) -> bool {
        [&self.failures.until, &self.failures.retry_until]
            .iter()
            .any(|end| micros(now) < end.load(Ordering::Relaxed))
    }

    /// Whether the caller may retry: true once after a failure.
    pub fn claim_retry(&self) -> bool {
        !self.failures.is_retried.swap(true, Ordering::Relaxed)
    }

    /// Records that the retry has begun; it ends by `until`.
    pub fn retry_began(&self, until: Duration) {
        let retry_until = &self.failures.retry_until;
        retry_until.store(micros(until), Ordering::Relaxed);
    }

    /// The view, if it is memoised.
    pub fn view(&self, view: &View) -> Option<Arc<Representation>> {
        let views = self.views.lock();
        let (_, slot) = views.iter().find(|(other, _)| other == view)?;
        slot.get().map(Arc::clone)
    }

    /// Every memoised view.
    pub fn views(&self) -> Vec<(View, Arc<Representation>)> {
        let views = self.views.lock();
        let derived =
            |(view, slot): &(View, Arc<ViewSlot>)| Some((view.clone(), slot.get()?.clone()));
        views.iter().filter_map(derived).collect()
    }

    /// The slot of a view, found or created. The caller that fills it weighs the entry again.
    pub fn slot(&self, view: &View) -> Arc<ViewSlot> {
        let mut views = self.views.lock();
        if let Some((_, slot)) = views.iter().find(|(other, _)| other == view) {
            return Arc::clone(slot);
        }
        // Those that no request has derived, or waits for.
        views.retain(|(_, slot)| slot.get().is_some() || Arc::strong_count(slot) > 1);
        let slot = Arc::<ViewSlot>::default();
        views.push((view.clone(), Arc::clone(&slot)));
        slot
    }

    /// Memoises a view; the caller has the turn of its slot. Evicts the oldest of too many.
    pub fn memoise(&self, slot: &ViewSlot, derived: Arc<Representation>) {
        // Only the holder of the turn derives, so the slot is empty.
        let _ = slot.derived.set(derived);
        let mut views = self.views.lock();
        let is_derived = |(_, slot): &(View, Arc<ViewSlot>)| slot.get().is_some();
        if views.iter().filter(|view| is_derived(view)).count() > MAX_VIEWS
            && let Some(oldest) = views.iter().position(is_derived)
        {
            views.remove(oldest);
        }
    }

    /// Bytes of memory that this entry uses.
    pub fn weight(&self) -> usize {
        let of_view = |(view, slot): &(View, Arc<ViewSlot>)| {
            let Some(derived) = slot.get() else { return 0 };
            if Arc::ptr_eq(derived, &self.whole) {
                return view.as_str().len();
            }
            // A view that removes nothing shares the body of the whole.
            let shared = derived.body.as_ptr() == self.whole.body.as_ptr();
            derived.weight() - if shared { derived.body.len() } else { 0 } + view.as_str().len()
        };
        ENTRY_OVERHEAD
            + self.generation.weight()
            + self.admitted.weight()
            + self.vary.heap_bytes()
            + self.whole.weight()
            + self.views.lock().iter().map(of_view).sum::<usize>()
    }
}
