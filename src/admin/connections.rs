//! The connections of the admin listener: a bounded number, with a reserve for health checks.
//!
//! At the bound, the least recently used connection is closed for the new one. So slow clients,
//! however many, cannot keep out a probe, and no timeout decides when it is answered.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;

/// Maximum number of connections: a scraper or two, a probe, operators.
const MAX_CONNECTIONS: usize = 64;

/// The part of [`MAX_CONNECTIONS`] that is kept for health checks, and for connections without a
/// request yet: theirs may be a health check.
const RESERVE: usize = 16;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    open: Mutex<Open>,
    /// Counts connections closed for a newer one.
    displaced: IntCounter,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    /// The least recently used first.
    connections: Vec<OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    id: u64,
    /// It has sent nothing but health checks so far.
    reserved: bool,
    /// Notified when a newer connection needs its place.
    displaced: Arc<Notify>,
}

/// A place among the connections; free when dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    displaced: Arc<Notify>,
}

// === impl Connections ===

impl Connections {
    pub(super) fn new(displaced: IntCounter) -> Self {
        Self {
            open: Mutex::default(),
            displaced,
        }
    }

    /// A place for a new connection.
    pub(super) fn open(self: &Arc<Self>) -> Place {
        let mut open = self.open.lock();
        if open.connections.len() >= MAX_CONNECTIONS {
            // There is one: at most `MAX_CONNECTIONS - RESERVE` are of the other kind.
            self.displace(&mut open, |connection| connection.reserved);
        }
        let displaced = Arc::new(Notify::new());
        let id = open.next_id;
        open.next_id += 1;
        open.connections.push(OpenConnection {
            id,
            reserved: true,
            displaced: Arc::clone(&displaced),
        });
        Place {
            connections: Arc::clone(self),
            id,
            displaced,
        }
    }

    /// Closes the least recently used connection of a kind.
    fn displace(&self, open: &mut Open, is_of_kind: impl Fn(&OpenConnection) -> bool) {
        if let Some(oldest) = open.connections.iter().position(is_of_kind) {
            open.connections.remove(oldest).displaced.notify_one();
            self.displaced.inc();
        }
    }
}

// === impl Place ===

impl Place {
    /// Records a request on this connection.
    pub(super) fn record_use(&self, is_health_check: bool) {
        let mut open = self.connections.open.lock();
        let Some(at) = open.connections.iter().position(|open| open.id == self.id) else {
            return; // displaced
        };
        let mut this = open.connections.remove(at);
        if this.reserved && !is_health_check {
            this.reserved = false;
            let others = open.connections.iter().filter(|open| !open.reserved);
            if others.count() >= MAX_CONNECTIONS - RESERVE {
                self.connections
                    .displace(&mut open, |connection| !connection.reserved);
            }
        }
        open.connections.push(this);
    }

    /// Waits until a newer connection needs this place.
    pub(super) async fn displaced(&self) {
        self.displaced.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.connections.retain(|open| open.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Arc<Connections> {
        let displaced = IntCounter::new("displaced", "help").expect("a valid name");
        Arc::new(Connections::new(displaced))
    }

    impl Connections {
        /// The identifiers of the open connections, sorted.
        fn ids(&self) -> Vec<u64> {
            let open = self.open.lock();
            let mut ids = open.connections.iter().map(|c| c.id).collect::<Vec<_>>();
            ids.sort_unstable();
            ids
        }
    }

    #[test]
    fn the_least_recently_used_connection_gives_way() {
        let connections = connections();
        let places = (0..64).map(|_| connections.open()).collect::<Vec<_>>();
        places[0].record_use(true);
        let _more = [connections.open(), connections.open()];
        let expected = [0].into_iter().chain(3..66).collect::<Vec<_>>();
        assert_eq!(connections.ids(), expected);
        assert_eq!(connections.displaced.get(), 2);
        drop(places);
        assert_eq!(connections.ids(), [64, 65]);
    }

    #[test]
    fn connections_with_other_requests_leave_the_reserve_free() {
        let connections = connections();
        let operators = (0..64).map(|_| {
            let place = connections.open();
            place.record_use(false);
            place.record_use(false);
            place
        });
        let operators = operators.collect::<Vec<_>>();
        assert_eq!(connections.ids(), (16..64).collect::<Vec<_>>());
        // Silent connections displace one another, and no operator.
        let silent = (0..20).map(|_| connections.open()).collect::<Vec<_>>();
        assert_eq!(
            connections.ids(),
            (16..64).chain(68..84).collect::<Vec<_>>()
        );
        drop((operators, silent));
        assert_eq!(connections.ids(), [0; 0]);
    }
}
