//! A replica as the proxy joins it together: reads through the store and the engine, and writes.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::engine::Link;
use super::*;
use crate::cache::{Entry, Fence, Representation, StoreLookup};
use crate::in_transit::StoredBody;
use crate::policy::{Freshness, Moment, Selecting, ViewLimits};
use crate::request::{CacheKey, Scope};

/// A process with a group.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) sim: Sim,
    pub(super) link: Arc<Link>,
    pub(super) store: Arc<Store>,
    pub(super) group: Arc<Group>,
    /// The token of every request.
    token: Scope,
}

/// An answer: its version, and where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Stored,
    Shared,
    Origin,
}

impl Replica {
    pub(super) fn start(link: &Arc<Link>, id: u64) -> Self {
        let sim = link.sim.clone();
        let store = Arc::new(Store::new(&sim.config, Arc::clone(&sim.metrics)));
        let group = Group::join(
            MemberId(id),
            Arc::clone(link) as Arc<dyn Engine>,
            sim.sealer.clone(),
            Arc::clone(&store),
            sim.clock.clone(),
            Arc::clone(&sim.metrics),
            &sim.config.shared,
        );
        let key = sim.config.scope.key.as_ref().expect("there is a key");
        Self {
            token: key.scope(&HeaderValue::from_static("Bearer a")),
            link: Arc::clone(link),
            store,
            group,
            sim,
        }
    }

    fn key(&self, path: &str) -> CacheKey {
        CacheKey::new(self.token, path.parse().expect("a target"))
    }

    /// The invalidation of a path, or of more.
    pub(super) fn invalidation(&self, path: &str, kind: u64) -> Invalidation {
        match kind {
            0 => Invalidation::All,
            1 => Invalidation::Scope(self.token),
            2 => Invalidation::of_resource(&self.token, path),
            _ => Invalidation::of_paths([path].into_iter()),
        }
    }

    /// Carries out an invalidation here, and announces it. Returns its number, and whether it is in the
    /// log.
    pub(super) async fn announce(&self, invalidation: Invalidation) -> (u64, bool) {
        self.store.invalidate(&invalidation, self.sim.now());
        let number = self.group.outbox.lock().latest + 1;
        if self.sim.removed == Some(Removed::Wait) {
            self.group.announce_later(invalidation);
            return (number, true);
        }
        self.group.announce(invalidation).await;
        self.link.thaw().await;
        (number, self.group.appended.borrow().0 >= number)
    }

    /// Waits until an invalidation is in the log.
    pub(super) async fn announced(&self, number: u64) {
        let mut appended = self.group.appended.subscribe();
        let _ = appended.wait_for(|(latest, _)| *latest >= number).await;
    }

    /// The position of the group, by the rules that are in force.
    fn position(&self) -> Option<Position> {
        let now = self.sim.now();
        let position = self.group.membership.lock().position();
        match self.sim.removed {
            Some(Removed::SharedLease) => position,
            Some(Removed::Late) => position.filter(|_| self.group.lease.is_held(now)),
            _ => self.group.position(now),
        }
    }

    /// Reads a path: from the store, else from the engine, else from the origin, whose version
    /// `fetch` returns.
    pub(super) async fn read(&self, path: &str, fetch: impl AsyncFnOnce() -> u64) -> (u64, Found) {
        let key = self.key(path);
        let now = self.sim.now();
        if let StoreLookup::Entry(entry) =
            self.store
                .find(&key, &self.token, now, None, HeaderMap::new)
        {
            let version = entry.whole.body.first_chunk().expect("a version");
            return (u64::from_be_bytes(*version), Found::Stored);
        }
        let position = self.position();
        let fence = self.store.fence(&key, &self.token, now);
        if position.is_some()
            && let Ok(found) = self.link.look_up(path, None, 0, usize::MAX).await
            && let Ok(bytes) = found.entry
        {
            let shared = Shared::read(&bytes);
            if self.is_usable(&key, &shared) {
                let received = Duration::from_micros(shared.received);
                self.put(&key, &fence, received, shared.version);
                return (shared.version, Found::Shared);
            }
        }
        let began = self.sim.now();
        let version = fetch().await;
        self.link.thaw().await;
        let received = self.sim.now();
        if self.put(&key, &fence, received, version)
            && let Some(position) = position
        {
            let shared = Shared {
                position,
                began: micros(began),
                received: micros(received),
                version,
            };
            let (link, path) = (Arc::clone(&self.link), path.to_owned());
            tokio::spawn(async move {
                let late = link.sim.random(0, 10);
                link.sim.sleep(Duration::from_millis(late)).await;
                link.store(&path, shared.bytes(), LEASE, 0).await
            });
        }
        (version, Found::Origin)
    }

    /// Whether a shared response may be used.
    fn is_usable(&self, key: &CacheKey, shared: &Shared) -> bool {
        let Position { era, id } = shared.position;
        let is_same_era = self.position().is_some_and(|position| position.era == era);
        let has_changed = self.sim.removed != Some(Removed::Journal)
            && self.store.changed_since(key, &self.token, id);
        is_same_era && !has_changed
    }

    fn put(&self, key: &CacheKey, fence: &Fence, received: Duration, version: u64) -> bool {
        let freshness = Freshness {
            received: Moment {
                mono: received,
                wall: SystemTime::UNIX_EPOCH + received,
            },
            ..self.sim.freshness
        };
        let body = Bytes::copy_from_slice(&version.to_be_bytes());
        let body = StoredBody::new(body, &self.sim.ledger);
        let whole = Representation::new(
            StatusCode::OK,
            HeaderMap::new(),
            body,
            ViewLimits::default(),
        );
        let entry = Entry::new(
            whole,
            freshness,
            Selecting::default(),
            self.token,
            fence,
            false,
        );
        let stored = self
            .store
            .put(key, &HeaderMap::new(), &Arc::new(entry), fence);
        stored.is_ok()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("a short time")
}
