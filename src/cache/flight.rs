//! Collapsed fetches: one in the air per key, whoever asks (RFC 9111 §4, "collapsed requests").
//!
//! The first to ask leads and fetches; the others wait and are all woken at once when it lands.
//! The fetch is run by the hallway on a task of its own, so a leader that hangs up takes nothing
//! with it. moka's own `get_with` is not used: it ties the fetch to its first caller, and stores
//! what was invalidated while it ran.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Fence;
use crate::request::{CacheKey, Prehashed};

/// The fetches in the air, by key. `V` is what they land with.
#[derive(Debug)]
pub struct Flights<V> {
    /// A plain mutex: it is held for a map operation, and only on the way of a miss.
    in_air: Mutex<InAir<V>>,
}

type InAir<V> = HashMap<CacheKey, Flight<V>, Prehashed>;

#[derive(Debug)]
struct Flight<V> {
    /// What the fetch began under. Once it has fallen, nobody new may join.
    fence: Fence,
    landing: watch::Receiver<Option<V>>,
}

/// What somebody who wants a key is to do.
#[derive(Debug)]
pub enum Boarding<V> {
    /// Fetch it, and land.
    Lead(Lead<V>),
    /// Wait for the one who fetches it.
    Wait(Waiting<V>),
}

/// The duty to land. Dropping it without landing (a panic, a cancelled task) ends the flight
/// too: whoever waits is told that nothing came.
#[derive(Debug)]
pub struct Lead<V> {
    flights: Arc<Flights<V>>,
    key: CacheKey,
    landed: watch::Sender<Option<V>>,
}

/// A place in the waiting room.
#[derive(Debug)]
pub struct Waiting<V>(watch::Receiver<Option<V>>);

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Self {
            in_air: Mutex::default(),
        }
    }
}

impl<V: Clone> Flights<V> {
    /// Joins the flight for this key, or starts it. `fence` is what stands for the key now.
    ///
    /// A flight that began under another fence is not joined: a client that has just written to
    /// a call must not be answered by a fetch that began before.
    pub fn board(self: &Arc<Self>, key: &CacheKey, fence: &Fence) -> Boarding<V> {
        let mut in_air = self.lock();
        if let Some(flight) = in_air.get(key).filter(|flight| flight.fence.is_as(fence)) {
            return Boarding::Wait(Waiting(flight.landing.clone()));
        }
        Boarding::Lead(self.start(&mut in_air, key, fence))
    }

    /// Starts a flight for this key, whatever is in the air: for a client that is not to be
    /// answered by what was asked before it came. The next to board join this one.
    pub fn lead(self: &Arc<Self>, key: &CacheKey, fence: &Fence) -> Lead<V> {
        self.start(&mut self.lock(), key, fence)
    }

    fn start(self: &Arc<Self>, in_air: &mut InAir<V>, key: &CacheKey, fence: &Fence) -> Lead<V> {
        let (landed, landing) = watch::channel(None);
        let fence = fence.clone();
        in_air.insert(key.clone(), Flight { fence, landing });
        Lead {
            flights: Arc::clone(self),
            key: key.clone(),
            landed,
        }
    }

    /// Fetches in the air now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no fetch is in the air.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<V> Flights<V> {
    fn lock(&self) -> MutexGuard<'_, InAir<V>> {
        // A map operation does not panic half-way.
        self.in_air.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a flight out of the air, unless a later one has taken its place.
    fn remove(&self, key: &CacheKey, landed: &watch::Sender<Option<V>>) {
        let mut in_air = self.lock();
        let is_it = |flight: &Flight<V>| flight.landing.same_channel(&landed.subscribe());
        if in_air.get(key).is_some_and(is_it) {
            in_air.remove(key);
        }
    }
}

impl<V> Lead<V> {
    /// Ends the flight with `value` for everyone who waits.
    ///
    /// What is to be found in the store must be there already: from now on, the next to ask
    /// starts a flight of its own.
    pub fn land(self, value: V) {
        self.flights.remove(&self.key, &self.landed);
        self.landed.send_replace(Some(value));
    }
}

impl<V> Drop for Lead<V> {
    fn drop(&mut self) {
        if self.landed.borrow().is_none() {
            self.flights.remove(&self.key, &self.landed);
        }
    }
}

impl<V: Clone> Waiting<V> {
    /// What the flight landed with; `None` when it never landed.
    pub async fn landing(mut self) -> Option<V> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::super::Reach;
    use super::super::fence::Generations;
    use super::*;
    use crate::config::Config;
    use crate::request::ScopeKey;

    struct Air {
        flights: Arc<Flights<u8>>,
        generations: Generations,
    }

    impl Air {
        fn new() -> Self {
            Self {
                flights: Arc::default(),
                generations: Generations::new(&Config::default().cache.routes),
            }
        }

        fn board(&self, key: &CacheKey) -> Boarding<u8> {
            self.flights
                .board(key, &self.generations.fence(key, Duration::ZERO))
        }

        #[track_caller]
        fn lead(&self, key: &CacheKey) -> Lead<u8> {
            match self.board(key) {
                Boarding::Lead(lead) => lead,
                Boarding::Wait(_) => panic!("expected to lead"),
            }
        }

        #[track_caller]
        fn wait(&self, key: &CacheKey) -> Waiting<u8> {
            match self.board(key) {
                Boarding::Wait(waiting) => waiting,
                Boarding::Lead(_) => panic!("expected to wait"),
            }
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
    async fn one_leads_and_all_who_wait_get_the_landing() {
        let (air, key) = (Air::new(), key("/v1/calls/c1"));
        let leader = air.lead(&key);
        let waiting: Vec<_> = (0..200).map(|_| air.wait(&key)).collect();
        leader.land(7);
        for one in waiting {
            assert_eq!(one.landing().await, Some(7));
        }
        assert!(air.flights.is_empty());
    }

    #[tokio::test]
    async fn a_lead_that_is_dropped_frees_the_key_and_the_waiting() {
        let (air, key) = (Air::new(), key("/v1/calls/c1"));
        let leader = air.lead(&key);
        let waiting = air.wait(&key);
        drop(leader);
        assert_eq!(waiting.landing().await, None);
        air.lead(&key).land(1);
        assert!(air.flights.is_empty());
    }

    #[tokio::test]
    async fn nobody_joins_a_flight_whose_fence_has_fallen() {
        let (air, key) = (Air::new(), key("/v1/calls/c1"));
        let before = air.lead(&key);
        let waiting = air.wait(&key);
        air.generations.void_path(key.path(), Reach::Here);
        let after = air.lead(&key);
        before.land(1);
        assert_eq!(
            waiting.landing().await,
            Some(1),
            "who waited before the purge is still answered"
        );
        let late = air.wait(&key);
        after.land(2);
        assert_eq!(late.landing().await, Some(2));
        assert!(air.flights.is_empty());
    }

    #[tokio::test]
    async fn who_leads_whatever_is_in_the_air_is_joined_by_those_who_come_after() {
        let (air, key) = (Air::new(), key("/v1/calls/c1"));
        let before = air.lead(&key);
        let early = air.wait(&key);
        let fence = air.generations.fence(&key, Duration::ZERO);
        let after = air.flights.lead(&key, &fence);
        let late = air.wait(&key);
        before.land(1);
        assert_eq!(air.flights.len(), 1, "it takes only itself out of the air");
        after.land(2);
        assert_eq!(
            (early.landing().await, late.landing().await),
            (Some(1), Some(2))
        );
        assert!(air.flights.is_empty());
    }

    #[test]
    fn other_keys_fly_on_their_own() {
        let air = Air::new();
        let _first = air.lead(&key("/v1/calls/c1"));
        let _second = air.lead(&key("/v1/calls/c2"));
        assert_eq!(air.flights.len(), 2);
    }
}
