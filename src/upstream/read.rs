//! Reads a response body for the cache: all of it, within a size limit, the fill budget and the
//! deadline of its fetch; what exceeds them is streamed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::Upstream;
use super::admission::Permit;
use super::error::FetchError;
use super::origin_body::OriginBody;
use super::stream::ResponseStream;
use crate::clock::Deadline;

/// The body of a response to a fetch, of which nothing has been read yet.
#[derive(Debug)]
pub struct PendingBody {
    pub(super) body: OriginBody,
    /// Whether the body says where it ends.
    pub(super) delimited: bool,
    /// Held while the body is read; a stream holds none.
    pub(super) permit: Permit,
    pub(super) deadline: Deadline,
}

/// A body that was read, or is streamed.
#[derive(Debug)]
pub enum BodyRead {
    /// All of it: its length was reached, or its last chunk seen.
    Whole(Bytes),
    /// Larger than `cache.max_entry`, or than the rest of `cache.max_filling`: the part that was
    /// read, and the rest as it comes.
    TooLarge(ResponseStream),
    /// Ends where the connection does, so that it may be cut off unnoticed.
    CloseDelimited(ResponseStream),
}

impl Upstream {
    /// Reads a body, up to `cache.max_entry` and as far as `cache.max_filling` allows, by the
    /// deadline of its fetch.
    ///
    /// # Errors
    ///
    /// When the origin is late, breaks off or does not speak HTTP.
    pub async fn read(&self, body: PendingBody) -> Result<BodyRead, FetchError> {
        self.counted(self.read_pending(body).await)
    }

    async fn read_pending(&self, pending: PendingBody) -> Result<BodyRead, FetchError> {
        let PendingBody {
            body,
            delimited,
            deadline,
            permit: _permit,
        } = pending;
        if !delimited {
            return Ok(BodyRead::CloseDelimited(self.stream(None, body)));
        }
        let read = self.clock.timeout_at(deadline, self.collect(body)).await;
        read.unwrap_or(Err(FetchError::TotalTimeout(self.settings.total_timeout)))
    }

    async fn collect(&self, mut body: OriginBody) -> Result<BodyRead, FetchError> {
        let declared = body.size_hint().exact();
        if declared.is_some_and(|length| length > self.max_body) {
            return Ok(BodyRead::TooLarge(self.stream(None, body)));
        }
        let expected = declared.and_then(|length| usize::try_from(length).ok());
        let Some(mut reservation) = self.reserve(expected.unwrap_or(0)) else {
            return Ok(self.over_budget(None, body));
        };
        // The body gets an allocation of its own size: hyper hands out slices of read buffers, and
        // a stored one would hold on to the whole buffer.
        let mut whole = BytesMut::with_capacity(expected.unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            whole.extend_from_slice(&data);
            if whole.len() as u64 > self.max_body {
                let read = (whole.freeze(), reservation);
                return Ok(BodyRead::TooLarge(self.stream(Some(read), body)));
            }
            if !self.grow(&mut reservation, whole.capacity()) {
                return Ok(self.over_budget(Some((whole.freeze(), reservation)), body));
            }
        }
        if expected == Some(whole.len()) {
            return Ok(BodyRead::Whole(whole.freeze()));
        }
        // For a moment there are two copies.
        if !self.grow(&mut reservation, whole.capacity() + whole.len()) {
            return Ok(self.over_budget(Some((whole.freeze(), reservation)), body));
        }
        Ok(BodyRead::Whole(Bytes::copy_from_slice(&whole)))
    }

    /// Takes bytes out of the fill budget, if it has them.
    fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        let budget = Arc::clone(&self.fill_budget);
        budget.try_acquire_many_owned(bytes).ok()
    }

    /// Grows a reservation to this size, if the fill budget has the bytes.
    fn grow(&self, reservation: &mut OwnedSemaphorePermit, bytes: usize) -> bool {
        let more = bytes.saturating_sub(reservation.num_permits());
        let more = self.reserve(more);
        more.map(|more| reservation.merge(more)).is_some()
    }

    /// Streams a body that does not fit into the fill budget.
    fn over_budget(
        &self,
        read: Option<(Bytes, OwnedSemaphorePermit)>,
        rest: OriginBody,
    ) -> BodyRead {
        self.metrics.fills_streamed.inc();
        BodyRead::TooLarge(self.stream(read, rest))
    }

    /// Streams a body, of which a part may have been read.
    pub(super) fn stream(
        &self,
        read: Option<(Bytes, OwnedSemaphorePermit)>,
        rest: OriginBody,
    ) -> ResponseStream {
        ResponseStream::new(read, rest, self.settings.total_timeout, self.clock.clone())
    }
}
