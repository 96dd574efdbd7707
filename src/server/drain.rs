//! The drain: stop accepting, finish what is in flight, then end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// The progress of the drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not begun.
    #[default]
    Serving,
    /// Requests in flight are finished; no connection is accepted.
    Draining,
    /// The time for finishing is over.
    Over,
}

/// The end of the proxy, for everything that must know of it. Clones are the same drain.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    stage: Arc<watch::Sender<Stage>>,
    connections: TaskTracker,
}

impl Drain {
    /// Begins the drain.
    pub fn begin(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.stage.borrow() != Stage::Serving
    }

    /// Waits until the drain begins.
    pub async fn begun(&self) {
        let begun = |stage: &Stage| *stage != Stage::Serving;
        // `self` has the sender, so the channel cannot close.
        let _ = self.stage.subscribe().wait_for(begun).await;
    }

    /// Waits until the time for finishing is over.
    pub(super) async fn over(&self) {
        let over = |stage: &Stage| *stage == Stage::Over;
        let _ = self.stage.subscribe().wait_for(over).await;
    }

    /// Receives the stages after [`Stage::Serving`], the present one included.
    pub(super) fn stages(&self) -> watch::Receiver<Stage> {
        let mut stages = self.stage.subscribe();
        if self.has_begun() {
            stages.mark_changed();
        }
        stages
    }

    /// Runs a connection that the drain waits for.
    pub(super) fn track(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.connections.spawn(connection);
    }

    /// Waits until no connection is left; after `timeout`, closes the remaining ones.
    pub(super) async fn finished(&self, timeout: Duration) {
        self.connections.close();
        let finished = tokio::time::timeout(timeout, self.connections.wait()).await;
        if finished.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "requests still in flight after server.drain_timeout are broken off"
            );
            self.stage.send_replace(Stage::Over);
            self.connections.wait().await;
        }
    }
}
