//! Reading the origin's answer for the cache: all of it, within a cap, the room there is for
//! filling, and the deadline of its fetch.

use bytes::{Bytes, BytesMut};
use http::response;
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::body::ResponseStream;
use super::coded::Received;
use super::gate::Ticket;
use super::room::Room;
use super::{FetchError, Upstream};
use crate::clock::Deadline;

/// The origin's answer to a fetch: its head, before anything of its body is read.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields, as received.
    pub head: response::Parts,
    /// The body, for [`Upstream::read`].
    pub body: Unread,
}

/// A body that is still to be read.
#[derive(Debug)]
pub struct Unread {
    pub(super) body: Received,
    /// Whether the body says where it ends.
    pub(super) delimited: bool,
    pub(super) ticket: Ticket,
    pub(super) deadline: Deadline,
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// All of it: the length was reached, the last chunk seen, or the stream ended.
    Whole(Bytes),
    /// Larger than `cache.max_entry`, or than what others leave of `cache.max_filling`: what was
    /// read, and the rest as it comes.
    TooLarge(ResponseStream),
    /// Ends where the connection does, so nobody can say whether it is whole.
    CloseDelimited(ResponseStream),
}

impl Upstream {
    /// Reads the body of an answer, up to `cache.max_entry` and as far as `cache.max_filling` has
    /// room, within `upstream.total_timeout` of the beginning of its fetch.
    ///
    /// # Errors
    ///
    /// When the origin is late, breaks off or does not speak HTTP.
    pub async fn read(&self, unread: Unread) -> Result<AnswerBody, FetchError> {
        let Unread {
            body,
            delimited,
            deadline,
            // Held while the body comes in; what is streamed on gives its place away.
            ticket: _ticket,
        } = unread;
        let whole = self.collect(delimited, body);
        match self.clock.timeout_at(deadline, whole).await {
            Some(body) => self.counted(body),
            None => Err(self.failed(FetchError::no_end(&self.settings))),
        }
    }

    async fn collect(&self, delimited: bool, mut body: Received) -> Result<AnswerBody, FetchError> {
        let declared = body.size_hint().exact();
        if !delimited {
            return Ok(AnswerBody::CloseDelimited(self.stream(None, body)));
        }
        if declared.is_some_and(|length| length > self.max_body) {
            return Ok(AnswerBody::TooLarge(self.stream(None, body)));
        }
        let mut room = self.filling.room();
        if !room.grow_to(declared.unwrap_or(0)) {
            return Ok(self.unstored(None, body));
        }
        // The body gets an allocation of its own size: what hyper hands out are slices of read
        // buffers, and a stored one would hold on to the whole buffer.
        let expected = declared.and_then(|length| usize::try_from(length).ok());
        let mut whole = BytesMut::with_capacity(expected.unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            whole.extend_from_slice(&data);
            if whole.len() as u64 > self.max_body {
                let read = (whole.freeze(), room);
                return Ok(AnswerBody::TooLarge(self.stream(Some(read), body)));
            }
            if !room.grow_to(whole.capacity() as u64) {
                return Ok(self.unstored(Some((whole.freeze(), room)), body));
            }
        }
        let whole = if expected == Some(whole.len()) {
            whole.freeze()
        } else {
            // For a moment the copy is there beside what it is made from.
            if !room.grow_to((whole.capacity() + whole.len()) as u64) {
                return Ok(self.unstored(Some((whole.freeze(), room)), body));
            }
            Bytes::copy_from_slice(&whole)
        };
        Ok(AnswerBody::Whole(whole))
    }

    /// There is no room for it: its client gets it as it comes.
    fn unstored(&self, read: Option<(Bytes, Room)>, rest: Received) -> AnswerBody {
        self.metrics.fills_streamed.inc();
        AnswerBody::TooLarge(self.stream(read, rest))
    }
}
