//! Places for work on large bodies, which blocks a thread: few, shared fairly among tokens, with a
//! bounded wait.
//!
//! A token gets another place only if more are free than it holds; a place that becomes free goes to
//! the token that holds the fewest.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::oneshot;

use super::offload::{MAX_INLINE, cores, joined};
use crate::clock::{Clock, Deadline};
use crate::policy::FairSlots;
use crate::request::Scope;

/// Maximum requests that wait for a place, half of them of one token; further ones do not wait.
const MAX_WAITING: usize = 1024;

/// The places: one per core, and at least two, so that one token alone never holds all. Clones share
/// them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// A blocking mutex: held for operations on short lists, and never by a hit.
    state: Arc<Mutex<State<oneshot::Sender<Place>>>>,
    held: IntGauge,
}

/// A place; it ends when dropped.
#[derive(Debug)]
struct Place {
    places: Places,
    token: Scope,
}

/// The holders and the waiters `W`. Pure.
#[derive(Debug)]
struct State<W> {
    slots: FairSlots<Scope>,
    /// The first came first.
    waiting: VecDeque<(Scope, W)>,
}

impl Places {
    /// Free places; the gauge shows how many are held.
    pub(super) fn new(held: IntGauge) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(cores().max(2)))),
            held,
        }
    }

    /// Does work on a body of this size: inline, or on a blocking thread if the body is large. `None`
    /// if there is no place for that until the deadline.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        size: usize,
        token: &Scope,
        clock: &Clock,
        deadline: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if size <= MAX_INLINE {
            return Some(work());
        }
        let place = self.acquire(token, clock, deadline).await?;
        let working = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the client, which may disconnect meanwhile.
            let _place = place;
            work()
        });
        Some(joined(working).await)
    }

    /// Waits for a place until the deadline; `None` without one.
    async fn acquire(&self, token: &Scope, clock: &Clock, deadline: Deadline) -> Option<Place> {
        let granted = {
            let mut state = self.state.lock();
            if state.take(token) {
                return Some(self.place(*token));
            }
            state.waiting.retain(|(_, waiter)| !waiter.is_closed());
            let (waiter, granted) = oneshot::channel();
            if !state.wait(token, waiter) {
                return None;
            }
            granted
        };
        clock.timeout_at(deadline, granted).await?.ok()
    }

    fn place(&self, token: Scope) -> Place {
        self.held.inc();
        Place {
            places: self.clone(),
            token,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held.dec();
        let mut freed = self.places.state.lock();
        freed.slots.release(self.token);
        freed.waiting.retain(|(_, waiter)| !waiter.is_closed());
        while let Some((token, waiter)) = freed.next() {
            drop(freed);
            // If the waiter has just left, the place is dropped, and goes to the next.
            drop(waiter.send(self.places.place(token)));
            freed = self.places.state.lock();
        }
    }
}

impl<W> State<W> {
    fn new(limit: usize) -> Self {
        Self {
            slots: FairSlots::new(limit),
            waiting: VecDeque::new(),
        }
    }

    /// Takes a place, if this token may hold another.
    fn take(&mut self, token: &Scope) -> bool {
        self.slots.take(*token, 0).is_ok()
    }

    /// Adds a waiter, if this token may have another.
    fn wait(&mut self, token: &Scope, waiter: W) -> bool {
        let own = self.waiting.iter().filter(|(other, _)| other == token);
        let may_wait = own.count() < MAX_WAITING - self.waiting.len();
        if may_wait {
            self.waiting.push_back((*token, waiter));
        }
        may_wait
    }

    /// The waiter that a free place goes to, which now holds it.
    fn next(&mut self) -> Option<(Scope, W)> {
        let held = |&at: &usize| self.slots.held_by(self.waiting[at].0);
        let at = (0..self.waiting.len()).min_by_key(held)?;
        let token = self.waiting[at].0;
        self.take(&token).then(|| self.waiting.remove(at))?
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    use crate::request::ScopeKey;

    const WAIT: Duration = Duration::from_millis(250);

    fn tokens() -> [Scope; 3] {
        let key = ScopeKey::random();
        ["Bearer a", "Bearer b", "Bearer c"]
            .map(|token| key.scope(&HeaderValue::from_static(token)))
    }

    #[test]
    fn one_token_never_holds_all_places() {
        let [a, b, c] = tokens();
        let mut state = State::<()>::new(2);
        assert!(state.take(&a));
        assert!(!state.take(&a));
        assert!(state.take(&b));
        assert!(!state.take(&c), "both are held");
        state.slots.release(a);
        assert!(state.take(&c));
    }

    #[test]
    fn a_free_place_goes_to_the_token_that_holds_the_fewest() {
        let [a, b, c] = tokens();
        let mut state = State::new(4);
        assert!(state.take(&a) && state.take(&a) && state.take(&b));
        for (token, number) in [(&a, 1), (&b, 2), (&c, 3), (&c, 4)] {
            assert!(state.wait(token, number));
        }
        assert_eq!(state.next(), Some((c, 3)));
        assert_eq!(state.next(), None, "all are held");
        state.slots.release(a);
        assert_eq!(
            state.next(),
            None,
            "the last one is for a token without a place"
        );
        state.slots.release(c);
        assert_eq!(state.next(), Some((c, 4)));
        state.slots.release(c);
        state.slots.release(b);
        assert_eq!(state.next(), Some((b, 2)));
        assert_eq!(state.next(), Some((a, 1)));
    }

    #[test]
    fn one_token_never_fills_the_queue() {
        let [a, b, _] = tokens();
        let mut state = State::new(1);
        let mut fill = |token| (0..MAX_WAITING).filter(|_| state.wait(token, ())).count();
        assert_eq!((fill(&a), fill(&b)), (MAX_WAITING / 2, MAX_WAITING / 4));
    }

    #[tokio::test]
    async fn a_waiter_gets_the_place_or_the_time_is_over() {
        let clock = Clock::manual(std::time::SystemTime::UNIX_EPOCH);
        let gauge = IntGauge::new("held", "held").expect("a gauge");
        let places = Places::new(gauge.clone());
        let [a, ..] = tokens();
        let acquire = || places.acquire(&a, &clock, clock.deadline(WAIT));
        let mut held = Vec::new();
        while places.state.lock().take(&a) {
            held.push(places.place(a));
        }
        let all = i64::try_from(held.len()).expect("few places");
        let leave = async {
            tokio::task::yield_now().await;
            held.pop();
        };
        let (granted, ()) = tokio::join!(acquire(), leave);
        held.push(granted.expect("a place is free"));

        let wait = async {
            tokio::task::yield_now().await;
            clock.advance_waiters(WAIT);
        };
        let (refused, ()) = tokio::join!(acquire(), wait);
        assert!(refused.is_none());
        assert_eq!(gauge.get(), all);
        // The waiter that has left does not get a place.
        held.clear();
        assert_eq!(gauge.get(), 0);
    }
}
