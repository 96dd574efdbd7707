//! Which work is done on blocking threads, of which `places` has few, and its result.

use tokio::task::JoinHandle;

/// A larger body is parsed and pruned on a blocking thread, so that it does not delay the worker's
/// other requests: at 1 GB/s this many bytes take a quarter of a millisecond.
pub(super) const MAX_INLINE: usize = 256 << 10;

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
