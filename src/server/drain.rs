//! The drain: stop accepting, finish what is in flight, then end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Shared by all who must know that the proxy is ending. Clones are the same drain.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    /// Cancelled when the time for finishing is over.
    over: CancellationToken,
    connections: TaskTracker,
}

impl Drain {
    /// Begins the drain.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until the drain begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Waits until whoever is still busy has to stop.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Runs a connection that the drain waits for.
    pub(super) fn track(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.connections.spawn(connection);
    }

    /// Waits until no connection is left; after `timeout`, ends those that are.
    pub(super) async fn finished(&self, timeout: Duration) {
        self.connections.close();
        if tokio::time::timeout(timeout, self.connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.connections.len(),
                "requests still in flight after server.drain_timeout are broken off"
            );
            self.over.cancel();
            self.connections.wait().await;
        }
    }
}
