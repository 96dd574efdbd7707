//! Response bodies: stored bytes or the origin's stream, with the report of how the response came
//! about.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::write::WriteResponse;
use crate::outcome::Outcome;
use crate::request::{RouteId, ScopeId};
use crate::upstream::{FetchError, ResponseStream};

/// A response body, and how it came about.
#[derive(Debug)]
pub struct Body {
    /// What is sent.
    pub content: Content,
    /// For metrics and the access log.
    pub report: Report,
}

/// How the response came about. It travels beside the body: a field of the response's extensions
/// would cost two allocations a request.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How the request was answered.
    pub outcome: Outcome,
    /// The cacheable route it matched.
    pub route: Option<RouteId>,
    /// Whose stored responses it may see.
    pub scope: Option<ScopeId>,
}

/// What a client is sent.
#[derive(Debug)]
pub enum Content {
    /// One frame, so that head and body go out in one write; empty when sent.
    Whole(Bytes),
    /// As the origin sends it.
    Stream(Box<ResponseStream>),
    /// The same, in answer to a write.
    Written(Box<WriteResponse>),
}

impl Body {
    /// Stored bytes.
    #[must_use]
    pub fn whole(bytes: Bytes, report: Report) -> Self {
        Self {
            content: Content::Whole(bytes),
            report,
        }
    }
}

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => Pin::new(stream.as_mut()).poll_frame(cx),
            Self::Written(response) => Pin::new(response.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.is_end_stream(),
            Self::Written(response) => response.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
            Self::Written(response) => response.size_hint(),
        }
    }
}
