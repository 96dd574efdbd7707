//! What a client is sent: stored bytes, or the origin's stream; with the report of how it came
//! about, for whoever counts and logs.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::outcome::Outcome;
use crate::request::{RouteId, Scope};
use crate::upstream::{FetchError, ResponseStream};

/// A response body.
#[derive(Debug)]
pub struct Body {
    bytes: Source,
    report: Report,
}

/// How the response came about. It travels with the body, where a field of the response's
/// extensions would cost two allocations a request.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How the request was answered.
    pub outcome: Outcome,
    /// The cacheable route it matched.
    pub route: Option<RouteId>,
    /// Whose stored responses it may see.
    pub scope: Option<Scope>,
}

#[derive(Debug)]
enum Source {
    /// One frame, so that head and body go out in one write; empty when sent.
    Whole(Bytes),
    Stream(Box<ResponseStream>),
}

impl Body {
    /// Bytes that are at hand.
    #[must_use]
    pub fn whole(bytes: Bytes, report: Report) -> Self {
        Self {
            bytes: Source::Whole(bytes),
            report,
        }
    }

    /// The origin's stream.
    #[must_use]
    pub fn stream(stream: Box<ResponseStream>, report: Report) -> Self {
        Self {
            bytes: Source::Stream(stream),
            report,
        }
    }

    /// How the response came about.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        match &mut self.get_mut().bytes {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Stream(stream) => Pin::new(stream.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.bytes {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.bytes {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Stream(stream) => stream.size_hint(),
        }
    }
}
