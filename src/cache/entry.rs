//! A stored response: the origin's whole body, and the views of it that were requested.
//!
//! Store the whole, show the part: one stored response serves every view of it. A view is
//! derived once, and kept with its entry.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{AGE, DATE, HeaderName};
use tokio::sync::OnceCell;

use super::admission::Admitted;
use super::counters::micros;
use super::{Admission, Fence, Generation, Representation};
use crate::policy::{Freshness, Selecting};
use crate::request::Scope;
use crate::view::View;

/// Views that are kept with one entry; a further one replaces the oldest.
const MAX_VIEWS: usize = 8;

/// After a failure of the origin, the time for which an entry is served stale at once.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// What an entry weighs besides its bytes: its own fields, moka's bookkeeping, the allocations,
/// the counters it keeps alive.
const ENTRY_OVERHEAD: usize = 560 + size_of::<Entry>();

/// Fields that differ from one message to the next, also where the response is the same.
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
    /// Status, fields and body as the origin sent them.
    pub whole: Arc<Representation>,
    /// How long it is fresh.
    pub freshness: Freshness,
    /// Which requests it answers, of those with its key.
    pub vary: Selecting,
    /// Whose it is. Compared with the scope of the request at every read.
    pub scope: Scope,
    /// What its fetch began under.
    pub generation: Generation,
    /// Whether a cache before us answered, not the origin itself.
    pub came_with_age: bool,
    /// A plain mutex: held for a look at a short list.
    views: Mutex<Vec<(View, ViewSlot)>>,
    /// Which of the tokens that share its scope may see it.
    admitted: Admitted,
    failures: Failures,
}

/// What is known of an origin that has failed to renew an entry.
#[derive(Debug, Default)]
struct Failures {
    /// Microseconds on the clock of ages: until when the origin is not waited for again.
    until: AtomicU64,
    /// Whether the one retry of that time has begun.
    is_retried: AtomicBool,
    /// Until when that retry may run; zero once it has ended.
    retry_until: AtomicU64,
}

/// Where a view of a response is kept once it is derived. Other requests for it wait for that.
pub type ViewSlot = Arc<OnceCell<Arc<Representation>>>;

impl Entry {
    /// A response, none of whose views was requested yet.
    #[must_use]
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
            admitted: Admitted::default(),
            failures: Failures::default(),
            views: Mutex::default(),
        }
    }

    /// Whether this token may see it: its own scope's token, or one that the origin has lately
    /// shown this very response.
    #[must_use]
    pub fn admits(&self, token: &Scope, now: Duration) -> bool {
        *token == self.scope || self.admitted.admits(token, now)
    }

    /// Whether the origin has shown it to the token of this fence in answer to a later fetch.
    pub(super) fn was_shown_later(&self, fence: &Fence) -> bool {
        let sequence = fence.generation.sequence();
        self.admitted.admits_later(fence.token(), sequence)
    }

    /// The origin has shown it to a token.
    pub fn admit(&self, admission: Admission) {
        self.admitted.add(admission);
    }

    /// The origin has shown a token something else instead. Answers whether other tokens are left.
    pub(super) fn withdraw(&self, token: &Scope) -> bool {
        self.admitted.remove(token)
    }

    pub(super) fn inherit_admissions(&self, older: &Self) {
        self.admitted.inherit(&older.admitted);
    }

    /// Whether the origin has sent the same response twice: the same status, bytes and fields,
    /// those apart that belong to a message.
    #[must_use]
    pub fn is_same_response(&self, other: &Self) -> bool {
        let (one, other) = (&self.whole, &other.whole);
        let is_content = |name: &HeaderName| !PER_MESSAGE.contains(name);
        let names = || one.headers.keys().chain(other.headers.keys());
        one.status == other.status
            && one.body == other.body
            && names().filter(|name| is_content(name)).all(|name| {
                one.headers
                    .get_all(name)
                    .iter()
                    .eq(other.headers.get_all(name))
            })
    }

    /// A fetch that was to renew it has ended. After a failure of the origin it is served stale at
    /// once for five seconds, where that is allowed, while one retry runs.
    pub fn fetch_ended(&self, failed: bool, now: Duration) {
        let failures = &self.failures;
        if failed {
            let was_retried = self.has_failed_lately(now);
            failures.is_retried.store(was_retried, Ordering::Relaxed);
            let pause = micros(now.saturating_add(FAILURE_PAUSE));
            failures.until.store(pause, Ordering::Relaxed);
        }
        failures.retry_until.store(0, Ordering::Relaxed);
    }

    /// Whether the origin has failed to renew it lately, or a retry after that still runs.
    #[must_use]
    pub fn has_failed_lately(&self, now: Duration) -> bool {
        [&self.failures.until, &self.failures.retry_until]
            .iter()
            .any(|end| micros(now) < end.load(Ordering::Relaxed))
    }

    /// Whether the caller may retry: the first one after a failure.
    #[must_use]
    pub fn claim_retry(&self) -> bool {
        !self.failures.is_retried.swap(true, Ordering::Relaxed)
    }

    /// The retry runs, until then at most.
    pub fn retry_began(&self, until: Duration) {
        let retry_until = &self.failures.retry_until;
        retry_until.store(micros(until), Ordering::Relaxed);
    }

    /// The memoised view of this response, if it was requested before.
    #[must_use]
    pub fn view(&self, view: &View) -> Option<Arc<Representation>> {
        let views = self.lock();
        let (_, slot) = views.iter().find(|(known, _)| known == view)?;
        slot.get().map(Arc::clone)
    }

    /// Every memoised view.
    #[must_use]
    pub fn views(&self) -> Vec<(View, Arc<Representation>)> {
        let views = self.lock();
        let derived = |(view, slot): &(View, ViewSlot)| Some((view.clone(), slot.get()?.clone()));
        views.iter().filter_map(derived).collect()
    }

    /// The slot of a view, found or made. The caller that fills it weighs the entry again.
    #[must_use]
    pub fn slot(&self, view: &View) -> ViewSlot {
        let mut views = self.lock();
        if let Some((_, slot)) = views.iter().find(|(known, _)| known == view) {
            return Arc::clone(slot);
        }
        if views.len() == MAX_VIEWS {
            views.remove(0);
        }
        let slot = ViewSlot::default();
        views.push((view.clone(), Arc::clone(&slot)));
        slot
    }

    /// Bytes of memory that are freed with this entry.
    #[must_use]
    pub fn weight(&self) -> usize {
        let of_view = |(view, slot): &(View, ViewSlot)| {
            let Some(part) = slot.get() else { return 0 };
            if Arc::ptr_eq(part, &self.whole) {
                return view.as_str().len();
            }
            // A view with nothing removed shares the bytes of the whole.
            let shared = part.body.as_ptr() == self.whole.body.as_ptr();
            part.weight() - if shared { part.body.len() } else { 0 } + view.as_str().len()
        };
        ENTRY_OVERHEAD
            + self.admitted.weight()
            + self.vary.heap_bytes()
            + self.whole.weight()
            + self.lock().iter().map(of_view).sum::<usize>()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(View, ViewSlot)>> {
        // An operation on a short list does not panic half-way.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
