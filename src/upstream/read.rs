//! Reads a whole response body for the cache, by the deadline of its fetch. A body that exceeds the
//! size limit or what is left of `limits.in_transit`, or may not be stored, becomes a stream.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::Upstream;
use super::admission::Permit;
use super::error::FetchError;
use super::origin_body::OriginBody;
use super::stream::ResponseStream;
use crate::clock::Deadline;
use crate::in_transit::{Share, StoredBody};
use crate::telemetry::Holder;

/// The body of a response to a fetch, not read yet.
#[derive(Debug)]
pub struct PendingBody {
    pub(super) body: OriginBody,
    /// Whether the body has neither a length nor chunks: it ends with the connection, so that
    /// truncation cannot be detected.
    pub is_close_delimited: bool,
    /// Held while the body is read; exchanged for a slot of the streams if it becomes one.
    pub(super) permit: Permit,
    pub(super) deadline: Deadline,
}

/// A body that was read whole, or is streamed.
#[derive(Debug)]
pub enum BodyRead {
    /// The whole body: its length was reached, or its last chunk received.
    Whole(StoredBody),
    /// A body larger than `cache.max_entry`, or than what is left of `limits.in_transit`: the part that
    /// was read, followed by the rest.
    Streamed(Box<ResponseStream>),
}

impl Upstream {
    /// Reads a body up to `cache.max_entry` and what is left of `limits.in_transit`, by the deadline
    /// of its fetch.
    ///
    /// # Errors
    ///
    /// If the body is not complete by the deadline, is truncated, or is invalid.
    pub async fn read(&self, body: PendingBody) -> Result<BodyRead, FetchError> {
        self.count_failure(self.read_pending(body).await)
    }

    async fn read_pending(&self, pending: PendingBody) -> Result<BodyRead, FetchError> {
        let PendingBody {
            body,
            deadline,
            permit,
            ..
        } = pending;
        let read = self.collect(body, permit.holder());
        let read = self.clock.timeout_at(deadline, read).await;
        let mut read =
            read.unwrap_or(Err(FetchError::TotalTimeout(self.settings.total_timeout)))?;
        if let BodyRead::Streamed(stream) = &mut read {
            stream.hold(Arc::new(permit.into_stream()?), None);
        }
        Ok(read)
    }

    /// Streams a body as it arrives, which takes a slot of the streams.
    ///
    /// # Errors
    ///
    /// If no slot is free.
    pub fn stream_pending(&self, pending: PendingBody) -> Result<BodyRead, FetchError> {
        let permit = self.count_failure(pending.permit.into_stream())?;
        let mut stream = self.stream(None, pending.body);
        stream.hold(Arc::new(permit), None);
        Ok(BodyRead::Streamed(Box::new(stream)))
    }

    async fn collect(&self, mut body: OriginBody, holder: Holder) -> Result<BodyRead, FetchError> {
        let declared = body.size_hint().exact();
        if declared.is_some_and(|length| length > self.max_body) {
            return Ok(BodyRead::Streamed(Box::new(self.stream(None, body))));
        }
        let expected = declared.and_then(|length| usize::try_from(length).ok());
        let Some(mut share) = self.ledger.reserve(expected.unwrap_or(0), holder) else {
            return Ok(self.over_budget(None, body));
        };
        // Copied into an allocation of its exact size: hyper returns slices of read buffers, and a
        // stored slice would keep its whole buffer alive.
        let mut whole = Vec::with_capacity(expected.unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let needed = whole.len() + data.len();
            let fits = needed as u64 <= self.max_body;
            let capacity = self.capacity(&whole, needed);
            // Reserved before the buffer grows: all buffers together stay within the bound.
            if fits && share.grow(capacity) {
                whole.reserve_exact(capacity - whole.len());
                whole.extend_from_slice(&data);
                continue;
            }
            let read = Some(([whole.into(), data], share));
            return Ok(if fits {
                self.over_budget(read, body)
            } else {
                BodyRead::Streamed(Box::new(self.stream(read, body)))
            });
        }
        if expected == Some(whole.len()) {
            return Ok(BodyRead::Whole(StoredBody::fetched(whole.into(), share)));
        }
        // During the copy there are two bodies.
        if !share.grow(whole.capacity() + whole.len()) {
            return Ok(self.over_budget(Some(([whole.into(), Bytes::new()], share)), body));
        }
        let copy = Bytes::copy_from_slice(&whole);
        drop(whole);
        Ok(BodyRead::Whole(StoredBody::fetched(copy, share)))
    }

    /// The capacity that a buffer needs for this many bytes: doubled where it must grow.
    fn capacity(&self, buffer: &Vec<u8>, needed: usize) -> usize {
        let most = usize::try_from(self.max_body).unwrap_or(usize::MAX);
        if needed <= buffer.capacity() {
            buffer.capacity()
        } else {
            needed.max((2 * buffer.capacity()).min(most))
        }
    }

    /// Streams a body for which the ledger has no bytes.
    fn over_budget(&self, read: Option<([Bytes; 2], Share)>, rest: OriginBody) -> BodyRead {
        self.metrics.fills_streamed.inc();
        BodyRead::Streamed(Box::new(self.stream(read, rest)))
    }

    /// Streams a body, of which a part may have been read already.
    pub(super) fn stream(
        &self,
        read: Option<([Bytes; 2], Share)>,
        rest: OriginBody,
    ) -> ResponseStream {
        ResponseStream::new(read, rest, self.settings.total_timeout, self.clock.clone())
    }
}
