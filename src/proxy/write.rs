//! Invalidation by forwarded writes (RFC 9111 §4.4): at the head of the response, at its end, and at the
//! end of the upload if that is later.
//!
//! `policy` chooses the paths, `forward` forwards the writes.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, MaybeDone, join, maybe_done};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

use crate::cache::shared::Shared;
use crate::cache::{Invalidation, Reach, Store};
use crate::clock::Clock;
use crate::policy;
use crate::request::Scope;
use crate::telemetry::InvalidationCause;
use crate::upstream::{FetchError, ResponseStream, UploadEnd};

/// Bytes of a response that are read while its head waits for the other replicas.
const MAX_HELD: usize = 64 << 10;

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
    /// Whether the origin has accepted the write, or its token. If not, the write is announced at most
    /// once, at the head.
    pub(super) is_proven: bool,
    /// How long after the write nothing is stored for these paths.
    pub(super) settling: Duration,
    /// The same for a write of unknown result.
    pub(super) pending_time: Duration,
}

/// The response to a write. The written paths are invalidated again at its end, because the origin may
/// apply the write as late as that; and at the end of the upload, if the origin has responded earlier.
/// If the client disconnects, the rest is still read, and its slot at the origin is held until then.
pub struct WriteResponse {
    /// `None` once it has ended.
    stream: Option<Box<ResponseStream>>,
    upload: Option<UploadEnd>,
    /// `None` once both have ended; taken by the task that waits for them, if there is one.
    written: Option<WrittenPaths>,
    /// Frames that were read before the head was sent; [`MAX_HELD`] bounds them.
    read: VecDeque<Frame<Bytes>>,
    /// The last frame, held back until the other replicas have confirmed the invalidation.
    last: Option<(MaybeDone<BoxFuture<'static, ()>>, Option<LastFrame>)>,
    context: WriteContext,
}

type LastFrame = Result<Frame<Bytes>, FetchError>;

/// The parts that the end of a write needs.
#[derive(Clone, Debug)]
pub(super) struct WriteContext {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    /// How long the rest is read after the client has disconnected (`upstream.forward_timeout`).
    pub(super) rest_timeout: Duration,
}

impl fmt::Debug for WriteResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteResponse")
            .field("stream", &self.stream)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl WrittenPaths {
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Invalidates the paths here; responses to fetches that begin within `time` are not stored. Returns
    /// what the other replicas must invalidate.
    pub(super) fn invalidate(&self, now: Duration, time: Duration) -> Invalidation {
        let invalidation = self.invalidation(time);
        if self.store.invalidate(&invalidation, now) {
            self.store.count_invalidation(InvalidationCause::Write);
        }
        invalidation
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
    fn invalidate_again(&self, now: Duration) -> Invalidation {
        let invalidation = self.invalidation(self.settling);
        self.store.invalidate(&invalidation, now);
        invalidation
    }

    /// The same at the end of the response.
    fn response_ended(&mut self, is_whole: bool, now: Duration) -> Invalidation {
        if !is_whole && self.token.is_some() {
            self.settling = self.pending_time;
        }
        self.invalidate_again(now)
    }
}

// === impl WriteResponse ===

impl WriteResponse {
    pub(super) fn new(
        stream: ResponseStream,
        upload: Option<UploadEnd>,
        written: WrittenPaths,
        context: WriteContext,
    ) -> Self {
        Self {
            stream: Some(Box::new(stream)),
            upload,
            written: Some(written),
            read: VecDeque::new(),
            last: None,
            context,
        }
    }

    /// Waits until the other replicas have confirmed the invalidation at the head. Short responses end
    /// meanwhile: then the one at the end is confirmed at the same time.
    pub(super) async fn begin(&mut self, announced: impl Future<Output = ()>) {
        let mut announced = pin!(announced);
        let read_all = poll_fn(|cx| {
            while self.last.is_none() && self.held() < MAX_HELD {
                ready!(self.poll_read(cx));
            }
            Poll::Ready(())
        });
        let is_read = tokio::select! {
            biased;
            () = &mut announced => false,
            () = read_all => true,
        };
        match &mut self.last {
            Some((end, _)) if is_read => drop(join(announced, end).await),
            _ if is_read => announced.await,
            _ => {}
        }
    }

    /// The bytes of the frames that were read before the head was sent.
    fn held(&self) -> usize {
        let frames = self.held_frames().flatten();
        let data = frames.filter_map(Frame::data_ref);
        data.map(Bytes::len).sum()
    }

    /// The frames that were read, and have not been sent; `None` is an error.
    fn held_frames(&self) -> impl Iterator<Item = Option<&Frame<Bytes>>> {
        let last = self.last.as_ref().and_then(|(_, last)| last.as_ref());
        let last = last.map(|last| last.as_ref().ok());
        self.read.iter().map(Some).chain(last)
    }

    /// Reads a frame, and holds it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(());
        };
        match ready!(Pin::new(stream.as_mut()).poll_frame(cx)) {
            Some(Ok(frame)) if !stream.is_end_stream() => self.read.push_back(frame),
            frame => {
                // Before the client receives the end: its next request must not hit a response that it has changed.
                let is_whole = !matches!(frame, Some(Err(_)));
                self.last = Some((maybe_done(self.end(is_whole)), frame));
            }
        }
        Poll::Ready(())
    }

    /// Invalidates at the end of the response. The other replicas must confirm that too: a later read must
    /// not join a fetch that began earlier.
    fn end(&mut self, is_whole: bool) -> BoxFuture<'static, ()> {
        self.stream = None;
        let now = self.context.clock.mono();
        let announced = self.written.as_mut().and_then(|written| {
            let invalidation = written.response_ended(is_whole, now);
            written.is_proven.then_some(invalidation)
        });
        if self.upload.is_none() {
            self.written = None;
        }
        let shared = Arc::clone(&self.context.shared);
        Box::pin(async move {
            if let Some(invalidation) = announced {
                shared.announce(invalidation).await;
            }
        })
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
        if this.read.is_empty() && this.last.is_none() {
            ready!(this.poll_read(cx));
        }
        if let Some(frame) = this.read.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some((announced, _)) = &mut this.last else {
            return Poll::Ready(None);
        };
        ready!(announced.poll_unpin(cx));
        let last = this.last.take();
        Poll::Ready(last.and_then(|(_, frame)| frame))
    }

    fn is_end_stream(&self) -> bool {
        let is_over = self.stream.as_deref().is_none_or(Body::is_end_stream);
        is_over && self.read.is_empty() && self.last.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // An error must not follow a complete message, and trailers need chunks.
        let is_data = |frame: Option<&Frame<Bytes>>| frame.is_some_and(Frame::is_data);
        if !self.held_frames().all(is_data) {
            return SizeHint::default();
        }
        let rest = match &self.stream {
            Some(stream) => stream.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let held = self.held() as u64;
        let exact = rest.exact().map(|rest| SizeHint::with_exact(rest + held));
        exact.unwrap_or_default()
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
        let WriteContext {
            shared,
            clock,
            rest_timeout,
        } = self.context.clone();
        let deadline = clock.deadline(rest_timeout);
        let is_proven = written.is_proven;
        let announce = move |invalidation| {
            if is_proven {
                shared.announce_later(invalidation);
            }
        };
        runtime.spawn(async move {
            if let Some(mut stream) = stream {
                let rest = async {
                    while let Some(frame) = stream.frame().await {
                        frame?;
                    }
                    Ok::<_, FetchError>(())
                };
                let rest = clock.timeout_at(deadline, rest).await;
                let is_whole = matches!(rest, Some(Ok(())));
                announce(written.response_ended(is_whole, clock.mono()));
            }
            if let Some(upload) = upload {
                upload.wait().await;
                announce(written.invalidate_again(clock.mono()));
            }
        });
    }
}
