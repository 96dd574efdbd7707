//! The scopes and paths with the most requests in the last minutes, counted by the log's thread.
//!
//! A space-saving sketch (Metwally et al., 2005) of each: a bounded number of keys is counted, and a new key
//! takes the place of the one with the fewest requests, and its rank. So a key with more than a 64th of the
//! requests always has a place. Its own counts begin with that: they are never too high.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::AddAssign;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use parking_lot::Mutex;

use super::line::AccessRecord;
use crate::request::ScopeId;
use crate::telemetry::metrics::{HITS, MISSES};

/// Number of scopes, and of paths, that are counted.
const PLACES: usize = 64;

/// The time after which counting begins anew; the earlier counts are kept as long.
const WINDOW: Duration = Duration::from_mins(2);

/// The statuses of refusals that are counted.
pub const REFUSALS: [StatusCode; 3] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::TOO_MANY_REQUESTS,
];

/// Most views of a scope or path, and most bytes of one; further ones are left out.
const MAX_VIEWS: usize = 4;
const MAX_VIEW: usize = 80;

/// Requests by scope and by path.
#[derive(Debug, Default)]
pub struct Busiest(Mutex<Windows>);

/// The requests of one scope or path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests that have ended.
    pub requests: u64,
    /// Body bytes sent to clients.
    pub bytes: u64,
    /// Requests that the origin has responded to.
    pub origin_requests: u64,
    /// Requests that were served from memory.
    pub hits: u64,
    /// Cacheable requests that were served by the origin.
    pub misses: u64,
    /// Responses with each of [`REFUSALS`].
    pub refused: [u64; REFUSALS.len()],
    /// When the last request arrived.
    pub last: Option<SystemTime>,
    /// Views that were requested, in their canonical form.
    pub views: Vec<String>,
}

/// The counts of a window, or of two.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    scopes: Sketch<ScopeId>,
    paths: Sketch<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Windows {
    /// The beginning of the current window.
    since: Option<SystemTime>,
    current: Counts,
    previous: Counts,
}

#[derive(Clone, Debug)]
struct Sketch<K>(HashMap<K, Counted, BuildHasherDefault<Fnv>>);

/// The hash FNV-1a. Clients can make keys collide, but no more than [`PLACES`] of them.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

#[derive(Clone, Debug, Default)]
struct Counted {
    traffic: Traffic,
    /// The most requests that the key can have had before it got its place.
    before: u64,
}

impl Busiest {
    /// Counts a request that has ended.
    pub(super) fn record(&self, record: &AccessRecord, path: &[u8], view: &[u8]) {
        let mut windows = self.0.lock();
        windows.turn(record.at);
        if let Some(scope) = &record.scope {
            windows.current.scopes.of(scope).record(record, view);
        }
        if !path.is_empty() {
            windows.current.paths.of(path).record(record, view);
        }
    }

    /// The counts of the last two to four minutes.
    pub fn counts(&self, now: SystemTime) -> Counts {
        let mut windows = self.0.lock();
        windows.turn(now);
        let mut counts = windows.previous.clone();
        counts.scopes.merge(&windows.current.scopes);
        counts.paths.merge(&windows.current.paths);
        counts
    }
}

impl Counts {
    /// The busiest scopes.
    pub fn scopes(&self) -> Vec<(ScopeId, Traffic)> {
        self.scopes.ranked()
    }

    /// The busiest paths.
    pub fn paths(&self) -> Vec<(String, Traffic)> {
        let ranked = self.paths.ranked().into_iter();
        ranked
            .map(|(path, traffic)| (String::from_utf8_lossy(&path).into_owned(), traffic))
            .collect()
    }
}

impl Windows {
    /// Begins a new window if the current one is over. A wall clock that was set back ends none.
    fn turn(&mut self, now: SystemTime) {
        let since = *self.since.get_or_insert(now);
        let age = now.duration_since(since).unwrap_or_default();
        if age >= WINDOW {
            self.since = Some(now);
            let ended = std::mem::take(&mut self.current);
            self.previous = if age < 2 * WINDOW {
                ended
            } else {
                Counts::default()
            };
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Sketch<K> {
    /// The counts of a key, which gets a place.
    fn of<Q>(&mut self, key: &Q) -> &mut Traffic
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if !self.0.contains_key(key) {
            let least = self.0.iter().min_by_key(|(_, counted)| counted.rank());
            let least = least.filter(|_| self.0.len() >= PLACES);
            let mut new = Counted::default();
            if let Some((least, rank)) = least.map(|(key, counted)| (key.clone(), counted.rank())) {
                new.before = rank;
                self.0.remove(least.borrow());
            }
            self.0.insert(key.to_owned(), new);
        }
        &mut self.0.get_mut(key).expect("it has a place").traffic
    }

    fn merge(&mut self, other: &Self) {
        for (key, counted) in &other.0 {
            self.0.entry(key.clone()).or_default().traffic += &counted.traffic;
        }
    }

    /// Those with the most requests first.
    fn ranked(&self) -> Vec<(K, Traffic)> {
        let counted = self.0.iter();
        let mut ranked: Vec<_> = counted
            .map(|(key, counted)| (key.clone(), counted.traffic.clone()))
            .collect();
        ranked.sort_by(|(a, more), (b, less)| {
            less.requests.cmp(&more.requests).then_with(|| a.cmp(b))
        });
        ranked
    }
}

impl<K> Default for Sketch<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Counted {
    fn rank(&self) -> u64 {
        self.before + self.traffic.requests
    }
}

impl Traffic {
    fn record(&mut self, record: &AccessRecord, view: &[u8]) {
        let outcome = record.outcome.label();
        self.requests += 1;
        self.bytes += record.bytes;
        self.origin_requests += u64::from(record.upstream.is_some());
        self.hits += u64::from(HITS.contains(&outcome));
        self.misses += u64::from(MISSES.contains(&outcome));
        for (count, status) in self.refused.iter_mut().zip(REFUSALS) {
            *count += u64::from(record.status == Some(status));
        }
        self.last = self.last.max(Some(record.at));
        if !view.is_empty() {
            self.add_view(&String::from_utf8_lossy(view));
        }
    }

    fn add_view(&mut self, view: &str) {
        let view = &view[..view.floor_char_boundary(MAX_VIEW)];
        if self.views.len() < MAX_VIEWS && !self.views.iter().any(|known| known == view) {
            self.views.push(view.to_owned());
        }
    }
}

impl AddAssign<&Self> for Traffic {
    fn add_assign(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.origin_requests += other.origin_requests;
        self.hits += other.hits;
        self.misses += other.misses;
        for (count, more) in self.refused.iter_mut().zip(other.refused) {
            *count += more;
        }
        self.last = self.last.max(other.last);
        other.views.iter().for_each(|view| self.add_view(view));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Traffic {
        Traffic {
            requests: 1,
            bytes: 10,
            ..Traffic::default()
        }
    }

    #[test]
    fn a_busy_key_is_found_among_many_others() {
        let mut sketch = Sketch::<Vec<u8>>::default();
        for n in 0..10_000 {
            *sketch.of(format!("/{n}").as_bytes()) += &one();
            if n % 20 == 0 {
                *sketch.of(&b"/busy"[..]) += &one();
            }
        }
        assert_eq!(sketch.0.len(), PLACES);
        let ranked = sketch.ranked();
        let (busiest, traffic) = &ranked[0];
        assert_eq!(busiest, b"/busy");
        assert!((400..=500).contains(&traffic.requests), "{traffic:?}");
        assert_eq!(traffic.bytes, 10 * traffic.requests);
    }

    #[test]
    fn counts_are_those_of_the_last_minutes() {
        let busiest = Busiest::default();
        let at = |windows: u32| SystemTime::UNIX_EPOCH + windows * WINDOW;
        let seen = |now| {
            let paths = busiest.counts(now).paths().into_iter();
            paths
                .map(|(path, traffic)| (path, traffic.requests))
                .collect::<Vec<_>>()
        };
        let add = |path: &str, now| {
            let mut windows = busiest.0.lock();
            windows.turn(now);
            *windows.current.paths.of(path.as_bytes()) += &one();
        };
        let path = |path: &str, requests| (path.to_owned(), requests);
        add("/a", at(0));
        add("/b", at(1));
        add("/a", at(1));
        assert_eq!(seen(at(1)), [path("/a", 2), path("/b", 1)]);
        assert_eq!(seen(at(0)), [path("/a", 2), path("/b", 1)], "set back");
        assert_eq!(seen(at(2)), [path("/a", 1), path("/b", 1)]);
        assert_eq!(seen(at(5)), []);
    }
}
