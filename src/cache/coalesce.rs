//! Request coalescing: one fetch in flight per key (RFC 9111 §4, "collapsed requests").
//!
//! The first request leads and fetches; the others wait, and all wake at once when it completes.
//! The fetch runs on a task of its own, so a leader's client that hangs up takes nothing with it.
//! moka's `get_with` is not used: it ties the fetch to its first caller, and stores what was
//! invalidated while it ran.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Generation;
use crate::request::{CacheKey, Prehashed};

/// The fetches in flight, by key. `V` is their result.
#[derive(Debug)]
pub struct InFlight<V> {
    /// A plain mutex: held for a map operation, and only by a miss.
    fetches: Mutex<Fetches<V>>,
}

type Fetches<V> = HashMap<CacheKey, Fetch<V>, Prehashed>;

#[derive(Debug)]
struct Fetch<V> {
    /// Once it is no longer current, no new request may wait for this fetch.
    generation: Generation,
    result: watch::Receiver<Option<V>>,
}

/// Lead the fetch, or wait for it.
#[derive(Debug)]
pub enum Role<V> {
    /// Fetch, and complete.
    Leader(Leader<V>),
    /// Wait for the fetch in flight.
    Waiter(Waiter<V>),
}

/// The duty to complete. Dropping it (a panic, a cancelled task) ends the fetch too: the waiters
/// get no result.
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
    /// A fetch that began under another generation is not joined: a client that has just written
    /// to a call must not be answered by a fetch that began before.
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

    /// Leads a fetch of this key, whatever is in flight: for a client that must not get what was
    /// requested before it came. Later requests wait for this one.
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
        // A map operation does not panic half-way.
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a fetch, unless a later one has replaced it.
    fn remove(&self, key: &CacheKey, result: &watch::Sender<Option<V>>) {
        let mut fetches = self.lock();
        let is_it = |fetch: &Fetch<V>| fetch.result.same_channel(&result.subscribe());
        if fetches.get(key).is_some_and(is_it) {
            fetches.remove(key);
        }
    }
}

impl<V> Leader<V> {
    /// Ends the fetch with `value` for every waiter.
    ///
    /// What is stored must be in the store already: the next request leads a fetch of its own.
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

    struct World {
        in_flight: Arc<InFlight<u8>>,
        generations: Generations,
    }

    impl World {
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
        let (world, key) = (World::new(), key("/v1/calls/c1"));
        let leader = world.lead(&key);
        let waiters: Vec<_> = (0..200).map(|_| world.wait(&key)).collect();
        leader.complete(7);
        for waiter in waiters {
            assert_eq!(waiter.result().await, Some(7));
        }
        assert_eq!(world.len(), 0);
    }

    #[tokio::test]
    async fn a_dropped_leader_frees_the_key_and_its_waiters() {
        let (world, key) = (World::new(), key("/v1/calls/c1"));
        let leader = world.lead(&key);
        let waiter = world.wait(&key);
        drop(leader);
        assert_eq!(waiter.result().await, None);
        world.lead(&key).complete(1);
        assert_eq!(world.len(), 0);
    }

    #[tokio::test]
    async fn no_request_joins_a_fetch_from_before_an_invalidation() {
        let (world, key) = (World::new(), key("/v1/calls/c1"));
        let before = world.lead(&key);
        let waiter = world.wait(&key);
        world.generations.invalidate_path(key.path(), Reach::Here);
        let after = world.lead(&key);
        before.complete(1);
        assert_eq!(
            waiter.result().await,
            Some(1),
            "a waiter from before the purge is still answered"
        );
        let late = world.wait(&key);
        after.complete(2);
        assert_eq!(late.result().await, Some(2));
        assert_eq!(world.len(), 0);
    }

    #[tokio::test]
    async fn a_leader_that_joined_nothing_is_joined_by_later_requests() {
        let (world, key) = (World::new(), key("/v1/calls/c1"));
        let before = world.lead(&key);
        let early = world.wait(&key);
        let after = world.in_flight.lead(&key, &world.generation(&key));
        let late = world.wait(&key);
        before.complete(1);
        assert_eq!(world.len(), 1, "it removes only itself");
        after.complete(2);
        assert_eq!(
            (early.result().await, late.result().await),
            (Some(1), Some(2))
        );
        assert_eq!(world.len(), 0);
    }

    #[test]
    fn other_keys_have_fetches_of_their_own() {
        let world = World::new();
        let _first = world.lead(&key("/v1/calls/c1"));
        let _second = world.lead(&key("/v1/calls/c2"));
        assert_eq!(world.len(), 2);
    }
}
