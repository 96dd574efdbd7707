//! Response bodies: stored bytes or the origin's stream, with a report for metrics and log.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::write::WriteResponse;
use crate::outcome::Outcome;
use crate::request::{RouteId, ScopeId};
use crate::upstream::{FetchError, ResponseStream};
use crate::view::View;

/// A response body, with its report.
#[derive(Debug)]
pub struct Body {
    /// The content to send.
    pub content: Content,
    /// For metrics and the access log.
    pub report: Report,
}

/// The record of a request for metrics and the access log. It is part of the body: an entry in the
/// response's extensions would cost two allocations per request.
#[derive(Debug)]
pub struct Report {
    /// How the request was answered.
    pub outcome: Outcome,
    /// The cacheable route it matched.
    pub route: Option<RouteId>,
    /// The scope of the request, if it has one.
    pub scope: Option<ScopeId>,
    /// The view of the response that the client wants; `None` for the whole.
    pub view: Option<View>,
    /// Time from the request to the origin to the head of its response; `None` without one.
    pub upstream: Option<Duration>,
    /// The error of a refused request, in words.
    pub error: Option<Box<str>>,
}

impl From<Outcome> for Report {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            route: None,
            scope: None,
            view: None,
            upstream: None,
            error: None,
        }
    }
}

/// The content of a response body.
#[derive(Debug)]
pub enum Content {
    /// One frame, so that head and body are sent in one write; empty once it is sent.
    Whole(Bytes),
    /// Streamed from the origin.
    Stream(Box<ResponseStream>),
    /// Streamed from the origin, in response to a write.
    Written(Box<WriteResponse>),
}

impl Body {
    /// A body of stored bytes.
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
