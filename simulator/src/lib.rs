//! A simulated Stuut API: invented calls with a lifecycle, tokens, latency and faults.
//!
//! It answers HTTP on a socket ([`serve()`]), and the same requests without one
//! ([`Simulator::answer`]). It does not depend on the proxy.
//!
//! # Endpoints
//!
//! | request | response |
//! |---|---|
//! | `GET`, `HEAD /v1/calls/{id}` | the whole call; `ETag`, 304 |
//! | `GET`, `HEAD /v1/calls?limit=20&cursor=…` | a page of ordinary calls, abridged, by number |
//! | `PATCH /v1/calls/{id}` | changes `call_reason`, `summary`, `transferred_to`, `custom_classifications` |
//! | `POST /v1/calls/{id}/approve` | `pending_approval` → `queued`; 409 for other calls |
//!
//! 401 with `WWW-Authenticate: Bearer` without a valid token; the same 404 for calls that do not
//! exist, are not created yet or belong to another organisation; 405 with `Allow`; 400 and 413 for
//! an invalid body. Errors are `{"detail": "…"}`.
//!
//! # Calls
//!
//! `call_<organisation>_<number>`, from `0001` to [`Options::calls`]. The last digit decides the
//! lifecycle (`…1` to `…5` were completed long ago, `…6` is in progress, `…7` has just ended, `…8`
//! is not created yet, `…9` failed or was not answered, `…0` is pending approval); sizes are between
//! 4 and 400 KB, most around 40 KB. A prefix before the organisation selects a kind of call:
//!
//! | id | call |
//! |---|---|
//! | `call_small_…`, `call_large_…` | completed; around 5 KB, around 400 KB |
//! | `call_live_…` | starts with the first request for it and ends after 30 s; the transcript follows 10 s, the summary 20 s after the end |
//! | `call_pending_…` | pending approval, then like a live one |
//! | `call_busy_…`, `call_no_answer_…`, `call_failed_…`, `call_canceled_…` | ended with that status |
//! | `call_slow_…` | completed; the response is delayed by [`Options::slow`] |
//! | `call_fault_500_…`, `call_fault_429_…` | that status; 429 with `Retry-After` |
//! | `call_fault_reset_…` | a 200 whose connection is closed in the middle of the body |
//!
//! [`Fixtures`] are responses from files, for any id.
//!
//! # Deterministic
//!
//! A call depends only on its id, on the simulator's start time and on the current time: the same
//! three give the same bytes. Pre-signed URLs are renewed every third of [`Options::signed_for`];
//! bytes (and the `ETag`) do not change in between.
//!
//! ```
//! use http::{HeaderMap, HeaderValue, Method, Uri, header::AUTHORIZATION};
//! use std::time::SystemTime;
//! use stuut_simulator::{Options, Simulator, demo};
//!
//! let simulator = Simulator::new(Options::default(), SystemTime::now);
//! let target: Uri = format!("/v1/calls/{}", demo::CALL).parse()?;
//! let mut headers = HeaderMap::new();
//! headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer demo-acme-1"));
//!
//! let answer = simulator.answer(&Method::GET, &target, &headers, b"");
//! assert_eq!(answer.response.status(), 200);
//! assert_eq!(simulator.requests().to(target.path()), 1);
//! # Ok::<(), http::uri::InvalidUri>(())
//! ```

mod answer;
mod api;
mod call;
mod call_context;
mod call_id;
mod classification;
pub mod demo;
mod directory;
mod edit;
mod email;
mod fault;
mod fixtures;
mod integration;
mod invoice;
mod json_object;
mod lifecycle;
mod lookup;
mod options;
mod page;
mod partner;
mod payment;
mod requests;
#[cfg(test)]
mod schema;
mod seeded_rng;
mod serve;
mod state;
mod time;
mod transcript;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http::Method;
use jiff::Timestamp;

pub use answer::Answer;
pub use fixtures::Fixtures;
pub use options::{Error, Options, Organisation};
pub use requests::{Outcome, Requests};
pub use serve::serve;

use call_id::CallId;
use state::State;

/// The simulated origin. Cheap to clone; clones share calls, edits and counts.
#[derive(Clone)]
pub struct Simulator(Arc<Inner>);

struct Inner {
    options: Options,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
    /// Start time of the simulator, in whole seconds; the dates of all calls are relative to it.
    started: Timestamp,
    /// Requests so far; the number of a request decides its injected fault and its jitter.
    received: AtomicU64,
    // Std mutexes: held for a map access, never across an await.
    requests: Mutex<Requests>,
    state: Mutex<State>,
    /// Digests of revoked tokens, so that there is no second copy of a token.
    revoked: Mutex<HashSet<blake3::Hash>>,
}

// === impl Simulator ===

impl Simulator {
    /// A simulator that starts now, by `clock`; its calls advance with the clock.
    #[must_use]
    pub fn new(options: Options, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            options,
            started: time::whole_second(time::moment(clock())),
            clock: Box::new(clock),
            received: AtomicU64::new(0),
            requests: Mutex::default(),
            state: Mutex::default(),
            revoked: Mutex::default(),
        }))
    }

    /// The requests so far, with their outcomes.
    #[must_use]
    pub fn requests(&self) -> Requests {
        locked(&self.0.requests).clone()
    }

    /// The ids of an organisation's ordinary calls, created yet or not, by number.
    pub fn call_ids(&self, organisation: &str) -> impl Iterator<Item = String> {
        (1..=self.0.options.calls)
            .map(move |number| CallId::plain(organisation, number).to_string())
    }

    /// Revokes a token: from now on it gets 401.
    pub fn revoke(&self, token: &str) {
        locked(&self.0.revoked).insert(blake3::hash(token.as_bytes()));
    }

    /// Undoes [`Simulator::revoke`].
    pub fn restore(&self, token: &str) {
        locked(&self.0.revoked).remove(&blake3::hash(token.as_bytes()));
    }

    fn is_revoked(&self, token: &str) -> bool {
        locked(&self.0.revoked).contains(&blake3::hash(token.as_bytes()))
    }

    fn next_request(&self) -> u64 {
        self.0.received.fetch_add(1, Ordering::Relaxed)
    }

    fn count(&self, method: &Method, path: &str, outcome: Outcome) {
        locked(&self.0.requests).count(method, path, outcome);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0.state)
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").finish_non_exhaustive()
    }
}

/// The value of a mutex, poisoned or not: a panic leaves counts and maps valid.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
