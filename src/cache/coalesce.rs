//! Request coalescing: one fetch in flight per key (RFC 9111 §4, "collapsed requests").
//!
//! The first request leads and fetches; the others wait, and all wake at once when it completes.
//! The fetch itself is left to `proxy`, where it survives its leader's client.
//! moka's `get_with` is not used: it ties the fetch to its first caller, and would store a response
//! that was invalidated during the fetch.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Generation;
use super::unshareable::Unshareable;
use crate::request::{CacheKey, Prehashed};

/// The fetches in flight, by key. `V` is their result.
#[derive(Debug)]
pub struct InFlight<V> {
    /// A blocking mutex: held for a map operation only, and never by a hit.
    state: Mutex<State<V>>,
}

#[derive(Debug)]
struct State<V> {
    fetches: HashMap<CacheKey, Fetch<V>, Prehashed>,
    unshareable: Unshareable,
}

#[derive(Debug)]
struct Fetch<V> {
    /// The generation that the fetch began under; only requests of the same generation may wait.
    generation: Generation,
    result: Arc<Waiters<V>>,
}

/// Where a fetch puts its result, if there is a waiter: most have none.
type Waiters<V> = OnceLock<watch::Sender<Progress<V>>>;

/// The state of a fetch.
#[derive(Clone, Debug)]
enum Progress<V> {
    Running,
    /// Complete, with the result for the waiters; `None` if it is not shareable.
    Complete(Option<V>),
}

/// The role of a request: lead the fetch, wait for it, or fetch alone.
#[derive(Debug)]
pub enum Role<V> {
    /// Fetch, then [complete](Leader::complete).
    Leader(Leader<V>),
    /// Wait for the fetch in flight.
    Waiter(Waiter<V>),
    /// Fetch, then complete, without waiters: the last response for this key was not shareable.
    Alone(Leader<V>),
}

/// The leader of a fetch. If it is dropped before it completes (a panic, a cancelled task), the fetch
/// ends and the waiters get no result.
#[derive(Debug)]
pub struct Leader<V> {
    in_flight: Arc<InFlight<V>>,
    key: CacheKey,
    result: Arc<Waiters<V>>,
    is_complete: bool,
}

/// A waiter for an in-flight fetch.
#[derive(Debug)]
pub struct Waiter<V>(watch::Receiver<Progress<V>>);

impl<V> Default for InFlight<V> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                fetches: HashMap::default(),
                unshareable: Unshareable::default(),
            }),
        }
    }
}

impl<V> InFlight<V> {
    /// Waits for the fetch of this key, or leads one; fetches alone if the waiters would soon all
    /// fetch on their own.
    ///
    /// A fetch that began under another generation is not joined: a client that has just written to
    /// a call must not get the result of a fetch from before the write.
    pub fn join_or_lead(
        self: &Arc<Self>,
        key: &CacheKey,
        generation: &Generation,
        now: Duration,
    ) -> Role<V> {
        let mut state = self.state.lock();
        if state.unshareable.has(key, now) {
            return Role::Alone(self.leader(key));
        }
        match state.fetch(key, generation) {
            Some(fetch) => {
                let result = fetch
                    .result
                    .get_or_init(|| watch::Sender::new(Progress::Running));
                Role::Waiter(Waiter(result.subscribe()))
            }
            None => Role::Leader(self.start(&mut state, key, generation)),
        }
    }

    /// Leads a fetch of this key, unless one is in flight.
    pub fn lead_first(
        self: &Arc<Self>,
        key: &CacheKey,
        generation: &Generation,
    ) -> Option<Leader<V>> {
        let mut state = self.state.lock();
        let is_first = state.fetch(key, generation).is_none();
        is_first.then(|| self.start(&mut state, key, generation))
    }

    /// Leads a fetch of this key, even if one is in flight: for a client that must not get a response
    /// from before its request. Later requests wait for this fetch.
    pub fn lead(self: &Arc<Self>, key: &CacheKey, generation: &Generation) -> Leader<V> {
        self.start(&mut self.state.lock(), key, generation)
    }

    /// The generations of the fetches in flight.
    pub fn generations(&self) -> Vec<Generation> {
        let state = self.state.lock();
        let fetches = state.fetches.values();
        fetches.map(|fetch| fetch.generation.clone()).collect()
    }

    fn start(
        self: &Arc<Self>,
        state: &mut State<V>,
        key: &CacheKey,
        generation: &Generation,
    ) -> Leader<V> {
        let leader = self.leader(key);
        let fetch = Fetch {
            generation: generation.clone(),
            result: Arc::clone(&leader.result),
        };
        state.fetches.insert(key.clone(), fetch);
        leader
    }

    fn leader(self: &Arc<Self>, key: &CacheKey) -> Leader<V> {
        Leader {
            in_flight: Arc::clone(self),
            key: key.clone(),
            result: Arc::default(),
            is_complete: false,
        }
    }
}

impl<V> State<V> {
    /// The fetch of this key that a request of this generation may wait for.
    fn fetch(&self, key: &CacheKey, generation: &Generation) -> Option<&Fetch<V>> {
        let fetch = self.fetches.get(key);
        fetch.filter(|fetch| fetch.generation.is_same(generation))
    }

    /// Removes a fetch, unless a later one has replaced it.
    fn remove(&mut self, leader: &Leader<V>) {
        let is_own = |fetch: &Fetch<V>| Arc::ptr_eq(&fetch.result, &leader.result);
        if self.fetches.get(&leader.key).is_some_and(is_own) {
            self.fetches.remove(&leader.key);
        }
    }
}

impl<V> Leader<V> {
    /// Completes the fetch for every waiter: with its result, or with `None` if that is not shareable
    /// and each must fetch.
    ///
    /// The response must be in the store by now: the next request does not wait for this fetch.
    pub fn complete(mut self, result: Option<V>, now: Duration) {
        let mut state = self.in_flight.state.lock();
        state.remove(&self);
        state.unshareable.record(&self.key, result.is_some(), now);
        drop(state);
        // From now on, no request begins to wait for it.
        if let Some(waiters) = self.result.get() {
            waiters.send_replace(Progress::Complete(result));
        }
        self.is_complete = true;
    }
}

impl<V> Drop for Leader<V> {
    fn drop(&mut self) {
        if !self.is_complete {
            self.in_flight.state.lock().remove(self);
        }
    }
}

impl<V: Clone> Waiter<V> {
    /// The result of the fetch; `None` if it is not shareable, or its leader was dropped.
    pub async fn result(mut self) -> Option<V> {
        let is_complete = |progress: &Progress<V>| matches!(progress, Progress::Complete(_));
        match &*self.0.wait_for(is_complete).await.ok()? {
            Progress::Complete(result) => result.clone(),
            Progress::Running => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::Invalidation;
    use super::super::generation::Generations;
    use super::*;
    use crate::config::Config;
    use crate::request::ScopeKey;

    struct Fixture {
        in_flight: Arc<InFlight<u8>>,
        generations: Generations,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                in_flight: Arc::default(),
                generations: Generations::new(&Config::default().cache.routes),
            }
        }

        fn generation(&self, key: &CacheKey) -> Generation {
            let fence = self
                .generations
                .fence(key, key.scope(), true, Duration::ZERO);
            fence.generation().clone()
        }

        fn join_or_lead(&self, key: &CacheKey) -> Role<u8> {
            let generation = self.generation(key);
            self.in_flight
                .join_or_lead(key, &generation, Duration::ZERO)
        }

        #[track_caller]
        fn lead(&self, key: &CacheKey) -> Leader<u8> {
            match self.join_or_lead(key) {
                Role::Leader(leader) => leader,
                Role::Waiter(_) | Role::Alone(_) => panic!("expected to lead"),
            }
        }

        #[track_caller]
        fn wait(&self, key: &CacheKey) -> Waiter<u8> {
            match self.join_or_lead(key) {
                Role::Waiter(waiter) => waiter,
                Role::Leader(_) | Role::Alone(_) => panic!("expected to wait"),
            }
        }

        fn len(&self) -> usize {
            self.in_flight.state.lock().fetches.len()
        }
    }

    fn key(path: &str) -> CacheKey {
        CacheKey::new(
            ScopeKey::random().scope(&HeaderValue::from_static("Bearer a")),
            path.parse().expect("a target"),
        )
    }

    #[tokio::test]
    async fn one_request_leads_and_all_waiters_get_its_result() {
        let (fixture, key) = (Fixture::new(), key("/v1/calls/c1"));
        let leader = fixture.lead(&key);
        let waiters: Vec<_> = (0..200).map(|_| fixture.wait(&key)).collect();
        leader.complete(Some(7), Duration::ZERO);
        for waiter in waiters {
            assert_eq!(waiter.result().await, Some(7));
        }
        assert_eq!(fixture.len(), 0);
    }

    #[tokio::test]
    async fn a_dropped_leader_frees_the_key_and_its_waiters() {
        let (fixture, key) = (Fixture::new(), key("/v1/calls/c1"));
        let leader = fixture.lead(&key);
        let waiter = fixture.wait(&key);
        drop(leader);
        assert_eq!(waiter.result().await, None);
        fixture.lead(&key).complete(Some(1), Duration::ZERO);
        assert_eq!(fixture.len(), 0);
    }

    #[tokio::test]
    async fn a_fetch_from_before_an_invalidation_is_not_joined() {
        let (fixture, key) = (Fixture::new(), key("/v1/calls/c1"));
        let before = fixture.lead(&key);
        let waiter = fixture.wait(&key);
        let written = Invalidation::of_paths(std::iter::once(key.path()));
        let now = Duration::ZERO;
        fixture
            .generations
            .invalidate(&written, Duration::ZERO, now);
        let after = fixture.lead(&key);
        before.complete(Some(1), Duration::ZERO);
        assert_eq!(
            waiter.result().await,
            Some(1),
            "a waiter from before the purge still gets the result"
        );
        let second = fixture.wait(&key);
        after.complete(Some(2), Duration::ZERO);
        assert_eq!(second.result().await, Some(2));
        assert_eq!(fixture.len(), 0);
    }

    #[tokio::test]
    async fn later_requests_wait_for_the_newest_leader() {
        let (fixture, key) = (Fixture::new(), key("/v1/calls/c1"));
        let before = fixture.lead(&key);
        let first = fixture.wait(&key);
        let after = fixture.in_flight.lead(&key, &fixture.generation(&key));
        let second = fixture.wait(&key);
        before.complete(Some(1), Duration::ZERO);
        assert_eq!(fixture.len(), 1, "the older leader removes only itself");
        after.complete(Some(2), Duration::ZERO);
        assert_eq!(
            (first.result().await, second.result().await),
            (Some(1), Some(2))
        );
        assert_eq!(fixture.len(), 0);
    }

    #[tokio::test]
    async fn requests_fetch_alone_after_a_response_that_is_not_shareable() {
        let (fixture, key) = (Fixture::new(), key("/v1/calls/c1"));
        let leader = fixture.lead(&key);
        let waiter = fixture.wait(&key);
        leader.complete(None, Duration::ZERO);
        assert_eq!(waiter.result().await, None);
        let alone = || match fixture.join_or_lead(&key) {
            Role::Alone(leader) => leader,
            role => panic!("expected to fetch alone: {role:?}"),
        };
        let (first, second, dropped) = (alone(), alone(), alone());
        assert_eq!(fixture.len(), 0);
        // A refresh in the background is still one for all requests.
        let generation = fixture.generation(&key);
        let refresh = fixture.in_flight.lead_first(&key, &generation);
        assert!(fixture.in_flight.lead_first(&key, &generation).is_none());
        drop((refresh, dropped));
        first.complete(None, Duration::ZERO);
        alone().complete(None, Duration::ZERO);
        second.complete(Some(1), Duration::ZERO);
        fixture.lead(&key).complete(Some(2), Duration::ZERO);
        assert_eq!(fixture.len(), 0);
    }

    #[test]
    fn other_keys_have_separate_fetches() {
        let fixture = Fixture::new();
        let _first = fixture.lead(&key("/v1/calls/c1"));
        let _second = fixture.lead(&key("/v1/calls/c2"));
        assert_eq!(fixture.len(), 2);
    }
}
