//! The drain (graceful shutdown): stop accepting, finish requests in flight, then exit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// The stage of the drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The drain has not begun.
    #[default]
    Serving,
    /// Requests in flight are being finished; no connection is accepted.
    Draining,
    /// `server.drain_timeout` has passed: open connections are closed.
    Over,
}

/// The drain. Clones share it.
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

    /// Waits until `server.drain_timeout` has passed since the drain began.
    pub(super) async fn over(&self) {
        let over = |stage: &Stage| *stage == Stage::Over;
        let _ = self.stage.subscribe().wait_for(over).await;
    }

    /// Receives the stages after [`Stage::Serving`], including the current one.
    pub(super) fn stages(&self) -> watch::Receiver<Stage> {
        let mut stages = self.stage.subscribe();
        if self.has_begun() {
            stages.mark_changed();
        }
        stages
    }

    /// Spawns a connection that the drain waits for.
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
                "aborting requests still in flight after server.drain_timeout"
            );
            self.stage.send_replace(Stage::Over);
            self.connections.wait().await;
        }
    }
}
