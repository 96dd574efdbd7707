//! Request coalescing: one fetch in flight per key (RFC 9111 §4, "collapsed requests").
//!
//! The first request leads and fetches; the others wait, and all wake at once when it completes.
//! The fetch itself is left to `proxy`, on its own task, so that it survives its leader's client.
//! moka's `get_with` is not used: it ties the fetch to its first caller, and would store a response
//! that was invalidated during the fetch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Generation;
use crate::request::{CacheKey, Prehashed};

/// The fetches in flight, by key. `V` is their result.
#[derive(Debug)]
pub struct InFlight<V> {
    /// A std mutex: held for a map operation only, and never by a hit.
    fetches: Mutex<Fetches<V>>,
}

type Fetches<V> = HashMap<CacheKey, Fetch<V>, Prehashed>;

#[derive(Debug)]
struct Fetch<V> {
    /// The generation that the fetch began under; only requests of the same generation may wait.
    generation: Generation,
    result: watch::Receiver<Option<V>>,
}

/// The role of a request: lead the fetch, or wait for it.
#[derive(Debug)]
pub enum Role<V> {
    /// Fetch, then [complete](Leader::complete).
    Leader(Leader<V>),
    /// Wait for the fetch in flight.
    Waiter(Waiter<V>),
}

/// The leader of a fetch. If it is dropped before it completes (a panic, a cancelled task), the fetch
/// ends and the waiters get no result.
#[derive(Debug)]
pub struct Leader<V> {
    in_flight: Arc<InFlight<V>>,
    key: CacheKey,
    result: watch::Sender<Option<V>>,
}

/// A waiter for an in-flight fetch.
#[derive(Debug)]
pub struct Waiter<V>(watch::Receiver<Option<V>>);

impl<V> Default for InFlight<V> {
    fn default() -> Self {
        Self {
            fetches: Mutex::default(),
        }
    }
}

impl<V: Clone> InFlight<V> {
    /// Waits for the fetch of this key, or leads one.
    ///
    /// A fetch that began under another generation is not joined: a client that has just written to
    /// a call must not get the result of a fetch from before the write.
    pub fn join_or_lead(self: &Arc<Self>, key: &CacheKey, generation: &Generation) -> Role<V> {
        let mut fetches = self.lock();
        let joined = fetches
            .get(key)
            .filter(|fetch| fetch.generation.is_same(generation));
        match joined {
            Some(fetch) => Role::Waiter(Waiter(fetch.result.clone())),
            None => Role::Leader(self.start(&mut fetches, key, generation)),
        }
    }

    /// Leads a fetch of this key, even if one is in flight: for a client that must not get a response
    /// from before its request. Later requests wait for this fetch.
    pub fn lead(self: &Arc<Self>, key: &CacheKey, generation: &Generation) -> Leader<V> {
        self.start(&mut self.lock(), key, generation)
    }

    fn start(
        self: &Arc<Self>,
        fetches: &mut Fetches<V>,
        key: &CacheKey,
        generation: &Generation,
    ) -> Leader<V> {
        let (sender, result) = watch::channel(None);
        let generation = generation.clone();
        fetches.insert(key.clone(), Fetch { generation, result });
        Leader {
            in_flight: Arc::clone(self),
            key: key.clone(),
            result: sender,
        }
    }
}

impl<V> InFlight<V> {
    fn lock(&self) -> MutexGuard<'_, Fetches<V>> {
        // Map operations do not panic midway.
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a fetch, unless a later one has replaced it.
    fn remove(&self, key: &CacheKey, result: &watch::Sender<Option<V>>) {
        let mut fetches = self.lock();
        let is_same = |fetch: &Fetch<V>| fetch.result.same_channel(&result.subscribe());
        if fetches.get(key).is_some_and(is_same) {
            fetches.remove(key);
        }
    }
}

impl<V> Leader<V> {
    /// Completes the fetch with `value` for every waiter.
    ///
    /// The response must be in the store by now: the next request does not wait for this fetch.
    pub fn complete(self, value: V) {
        self.in_flight.remove(&self.key, &self.result);
        self.result.send_replace(Some(value));
    }
}

impl<V> Drop for Leader<V> {
    fn drop(&mut self) {
        if self.result.borrow().is_none() {
            self.in_flight.remove(&self.key, &self.result);
        }
    }
}

impl<V: Clone> Waiter<V> {
    /// The result of the fetch; `None` if its leader was dropped.
    pub async fn result(mut self) -> Option<V> {
        let result = self.0.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::super::Reach;
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
            let fence = self.generations.fence(key, key.scope(), Duration::ZERO);
            fence.generation().clone()
        }

        fn join_or_lead(&self, key: &CacheKey) -> Role<u8> {
            self.in_flight.join_or_lead(key, &self.generation(key))
        }

        #[track_caller]
        fn lead(&self, key: &CacheKey) -> Leader<u8> {
            match self.join_or_lead(key) {
                Role::Leader(leader) => leader,
                Role::Waiter(_) => panic!("expected to lead"),
            }
        }

        #[track_caller]
        fn wait(&self, key: &CacheKey) -> Waiter<u8> {
            match self.join_or_lead(key) {
                Role::Waiter(waiter) => waiter,
                Role::Leader(_) => panic!("expected to wait"),
            }
        }

        fn len(&self) -> usize {
            self.in_flight.lock().len()
        }
    }

    fn key(path: &str) -> CacheKey {
        CacheKey::new(
            ScopeKey::random().scope(&HeaderValue::from_static("Bearer a")),
            path,
            None,
        )
    }

    #[tokio::test]
    async fn one_request_leads_and_all_waiters_get_its_result() {
        let (fixture, key) = (Fixture::new(), key("/v1/calls/c1"));
        let leader = fixture.lead(&key);
        let waiters: Vec<_> = (0..200).map(|_| fixture.wait(&key)).collect();
        leader.complete(7);
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
        fixture.lead(&key).complete(1);
        assert_eq!(fixture.len(), 0);
    }

    #[tokio::test]
    async fn a_fetch_from_before_an_invalidation_is_not_joined() {
        let (fixture, key) = (Fixture::new(), key("/v1/calls/c1"));
        let before = fixture.lead(&key);
        let waiter = fixture.wait(&key);
        fixture.generations.invalidate_path(key.path(), Reach::Here);
        let after = fixture.lead(&key);
        before.complete(1);
        assert_eq!(
            waiter.result().await,
            Some(1),
            "a waiter from before the purge still gets the result"
        );
        let second = fixture.wait(&key);
        after.complete(2);
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
        before.complete(1);
        assert_eq!(fixture.len(), 1, "the older leader removes only itself");
        after.complete(2);
        assert_eq!(
            (first.result().await, second.result().await),
            (Some(1), Some(2))
        );
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
