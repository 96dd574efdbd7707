//! A simulated Stuut API: invented calls with a lifecycle, tokens, latency and faults.
//!
//! It answers real HTTP on a real socket ([`serve()`]) and the same requests without one
//! ([`Simulator::answer`]). It does not depend on the proxy in front of it.
//!
//! # Endpoints
//!
//! | request | answer |
//! |---|---|
//! | `GET`, `HEAD /v1/calls/{id}` | the whole call; `ETag`, 304 |
//! | `GET`, `HEAD /v1/calls?limit=20&cursor=…` | ordinary calls, short, by number |
//! | `PATCH /v1/calls/{id}` | changes `call_reason`, `summary`, `transferred_to`, `custom_classifications` |
//! | `POST /v1/calls/{id}/approve` | `pending_approval` → `queued`; 409 for other calls |
//!
//! 401 with `WWW-Authenticate: Bearer` without a good token; the same 404 for calls that
//! do not exist, are not created yet or are another organisation's; 405 with `Allow`; 400 and
//! 413 for an invalid body. Errors are `{"detail": "…"}`.
//!
//! # Calls
//!
//! `call_<organisation>_<number>`, from `0001` to [`Options::calls`]. The last digit decides
//! the lifecycle (`…1` to `…5` were completed long ago, `…6` is going on, `…7` has just ended,
//! `…8` is not created yet, `…9` was never answered, `…0` waits for an approval); sizes lie
//! between 4 and 400 KB, most around 40 KB. A word before the organisation pins what matters:
//!
//! | id | call |
//! |---|---|
//! | `call_small_…`, `call_large_…` | completed; around 5 KB, around 400 KB |
//! | `call_live_…` | begins with the first request for it: 30 s to its end, then its transcript after 10 s and its summary after 20 s |
//! | `call_pending_…` | waits for its approval, then lives like a live one |
//! | `call_busy_…`, `call_no_answer_…`, `call_failed_…`, `call_canceled_…` | ended like that |
//! | `call_slow_…` | completed, answered after [`Options::slow`] |
//! | `call_fault_500_…`, `call_fault_429_…` | answered with that status; 429 with `Retry-After` |
//! | `call_fault_reset_…` | a 200 whose connection breaks in the middle of the body |
//!
//! # Repeatable
//!
//! A call depends on its id, on the moment the simulator began and on the present one, and on
//! nothing else: the same three give the same bytes. Pre-signed addresses are signed anew every
//! third of [`Options::signed_for`], so that bytes (and the `ETag`) stand still in between.
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
pub use options::{Error, Options, Organisation};
pub use requests::{Outcome, Requests};
pub use serve::serve;

use call_id::CallId;
use state::State;

/// The origin. Cheap to clone; clones share calls, edits and counts.
#[derive(Clone)]
pub struct Simulator(Arc<Inner>);

struct Inner {
    options: Options,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
    /// When this simulator began, in whole seconds: every call is dated from here.
    started: Timestamp,
    /// Requests so far; the number of a request decides its fault and its jitter.
    received: AtomicU64,
    // Std mutexes: held for a map access, never across an await.
    requests: Mutex<Requests>,
    state: Mutex<State>,
    /// Digests of revoked tokens; tokens themselves are not kept twice.
    revoked: Mutex<HashSet<blake3::Hash>>,
}

// === impl Simulator ===

impl Simulator {
    /// A simulator that begins now, by `clock`; the calls move on with it.
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

    /// Takes a token's access away: from now on it is answered with 401.
    pub fn revoke(&self, token: &str) {
        locked(&self.0.revoked).insert(blake3::hash(token.as_bytes()));
    }

    /// Gives back what [`Simulator::revoke`] took.
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

/// The value of a mutex. A panic elsewhere leaves counts and maps as good as they were.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
