//! A fetch that leads: it runs where it is awaited, and outlives its client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::{FetchJob, FetchResult, Fetcher, SharedResult};
use crate::cache::{Leader, Recheck};

/// A fetch for which others may wait. Dropped before its end, as its client has disconnected, it continues on its
/// own task.
pub(super) struct Led(Option<Pin<Box<dyn Future<Output = Option<FetchResult>> + Send>>>);

impl Led {
    pub(super) fn new(
        fetcher: &Arc<Fetcher>,
        job: Box<FetchJob>,
        leader: Leader<SharedResult>,
        recheck: Option<Recheck>,
    ) -> Self {
        let fetcher = Arc::clone(fetcher);
        Self(Some(Box::pin(async move {
            let result = fetcher.take_or_run(job, leader).await;
            drop(recheck);
            result
        })))
    }
}

impl Future for Led {
    type Output = Option<FetchResult>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Taken, so that a panic drops it.
        let mut fetch = self.0.take().expect("a completed future is not polled");
        let polled = fetch.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(fetch);
        }
        polled
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        if let Some(fetch) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(fetch);
        }
    }
}
