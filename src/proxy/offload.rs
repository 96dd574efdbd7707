//! Offloads work on large bodies to blocking threads.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A larger body is parsed and pruned on a blocking thread, so that it does not delay the worker's
/// other requests: at 1 GB/s this many bytes take a quarter of a millisecond.
pub(super) const MAX_INLINE: usize = 256 << 10;

/// A limit on the threads that work on large bodies: one per core. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Offload(Arc<Semaphore>);

impl Default for Offload {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(cores())))
    }
}

impl Offload {
    /// Does work on a body of this size: inline, or on a blocking thread if the body is large.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        size: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if size <= MAX_INLINE {
            return work();
        }
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let working = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the client, which may disconnect meanwhile.
            let _permit = permit;
            work()
        });
        joined(working).await
    }
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The result of a task; resumes its panic in the caller.
pub(super) async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this request with it.
            Err(_) => std::future::pending().await,
        },
    }
}
