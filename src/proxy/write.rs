//! Invalidation by forwarded writes (RFC 9111 §4.4), at the head of the response, at its end, and at
//! that of the upload if it is later.
//!
//! `policy` chooses the paths, `forward` forwards the writes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

use crate::cache::{Invalidation, Reach, Store};
use crate::clock::Clock;
use crate::policy;
use crate::request::Scope;
use crate::telemetry::InvalidationCause;
use crate::upstream::{FetchError, ResponseStream, UploadEnd};

/// The paths that a write has changed or may have changed.
#[derive(Debug)]
pub(super) struct WrittenPaths {
    pub(super) store: Arc<Store>,
    pub(super) paths: Vec<String>,
    /// Whether resources below these paths may have changed too.
    pub(super) below: bool,
    /// The writing token, if it is accepted: only then does an incomplete response count as an
    /// unknown result.
    pub(super) token: Option<Scope>,
    /// How long after the write nothing is stored for these paths.
    pub(super) settling: Duration,
    /// The same for a write of unknown result.
    pub(super) pending_time: Duration,
}

/// The response to a write. At its end the written paths are invalidated again: the origin may apply
/// the write as late as that; and at the end of the upload, if the origin has responded before that.
/// If the client disconnects, the rest is still read; its slot at the origin is held until then.
#[derive(Debug)]
pub struct WriteResponse {
    /// `None` once it has ended.
    stream: Option<Box<ResponseStream>>,
    upload: Option<UploadEnd>,
    /// `None` once both have ended; taken by the task that waits for them, if there is one.
    written: Option<WrittenPaths>,
    clock: Clock,
    /// How long the rest is read after the client has disconnected (`upstream.forward_timeout`).
    rest_timeout: Duration,
}

impl WrittenPaths {
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Invalidates the paths; responses to fetches that begin within `time` are not stored.
    pub(super) fn invalidate(&self, now: Duration, time: Duration) {
        if self.store.invalidate(&self.invalidation(time), now) {
            self.store.count_invalidation(InvalidationCause::Write);
        }
    }

    fn invalidation(&self, pending: Duration) -> Invalidation {
        let paths = self.paths.iter().flat_map(|path| {
            let here = policy::self_and_ancestors(path).map(|path| (path, Reach::Here));
            here.chain(self.below.then_some((path.as_str(), Reach::Below)))
        });
        Invalidation::Paths {
            paths: paths
                .map(|(path, reach)| (path.to_owned(), reach))
                .collect(),
            writer: self.token,
            pending,
        }
    }

    /// Invalidates the paths again, uncounted.
    fn invalidate_again(&self, now: Duration) {
        self.store
            .invalidate(&self.invalidation(self.settling), now);
    }

    /// The same at the end of the response.
    fn response_ended(&mut self, is_whole: bool, now: Duration) {
        if !is_whole && self.token.is_some() {
            self.settling = self.pending_time;
        }
        self.invalidate_again(now);
    }
}

// === impl WriteResponse ===

impl WriteResponse {
    pub(super) fn new(
        stream: ResponseStream,
        upload: Option<UploadEnd>,
        written: WrittenPaths,
        clock: Clock,
        rest_timeout: Duration,
    ) -> Self {
        Self {
            stream: Some(Box::new(stream)),
            upload,
            written: Some(written),
            clock,
            rest_timeout,
        }
    }

    fn end(&mut self, is_whole: bool) {
        self.stream = None;
        if let Some(written) = &mut self.written {
            written.response_ended(is_whole, self.clock.mono());
        }
        if self.upload.is_none() {
            self.written = None;
        }
    }
}

impl Body for WriteResponse {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(stream.as_mut()).poll_frame(cx));
        // Before the client receives the end: its next request must not hit what it has changed.
        if stream.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            let is_whole = !matches!(frame, Some(Err(_)));
            this.end(is_whole);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_deref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.stream {
            Some(stream) => stream.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for WriteResponse {
    fn drop(&mut self) {
        let Some(mut written) = self.written.take() else {
            return;
        };
        let (stream, upload) = (self.stream.take(), self.upload.take());
        // Without a runtime the process is exiting, and the store with it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let clock = self.clock.clone();
        let deadline = clock.deadline(self.rest_timeout);
        runtime.spawn(async move {
            if let Some(mut stream) = stream {
                let rest = async {
                    while let Some(frame) = stream.frame().await {
                        frame?;
                    }
                    Ok::<_, FetchError>(())
                };
                let rest = clock.timeout_at(deadline, rest).await;
                written.response_ended(matches!(rest, Some(Ok(()))), clock.mono());
            }
            if let Some(upload) = upload {
                upload.wait().await;
                written.invalidate_again(clock.mono());
            }
        });
    }
}
