//! A fetch that leads: it runs where it is awaited, and outlives its client.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::{FetchJob, FetchResult, Fetcher, SharedResult};
use crate::cache::{Leader, Recheck};
use crate::upstream::FetchError;

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
        let mut fetch = self.0.take().expect("a completed future is not polled");
        // State that a panic leaves incomplete belongs to the fetch, and is dropped with it.
        match catch_unwind(AssertUnwindSafe(|| fetch.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                self.0 = Some(fetch);
                Poll::Pending
            }
            Ok(ready) => ready,
            Err(_) => Poll::Ready(Some(FetchResult::Failed(FetchError::Panicked))),
        }
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    /// A fetch that waits for one channel and then tells another; and both.
    fn fetch() -> (Led, oneshot::Sender<()>, oneshot::Receiver<()>) {
        let (go, gone) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let fetch = async {
            let _ = gone.await;
            let _ = done.send(());
            None
        };
        (Led(Some(Box::pin(fetch))), go, is_done)
    }

    #[tokio::test]
    async fn a_fetch_that_was_polled_by_its_client_continues_without_it() {
        let (mut led, go, is_done) = fetch();
        assert!((&mut led).now_or_never().is_none());
        drop(led);
        // Its new task waits by now.
        tokio::task::yield_now().await;
        assert_eq!((go.send(()), is_done.await), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn a_fetch_that_panics_fails_and_is_dropped() {
        let (held, is_dropped) = oneshot::channel::<()>();
        let fetch = async {
            let _held = held;
            tokio::task::yield_now().await;
            panic!("on purpose")
        };
        let failed = Led(Some(Box::pin(fetch))).await;
        assert!(matches!(
            failed,
            Some(FetchResult::Failed(FetchError::Panicked))
        ));
        assert!(is_dropped.now_or_never().expect("dropped").is_err());
    }

    #[test]
    fn without_a_runtime_the_fetch_is_dropped() {
        let (led, go, _is_done) = fetch();
        drop(led);
        assert!(go.is_closed());
    }
}
