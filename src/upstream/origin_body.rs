//! A response body as it is received: counted, and decoded.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use prometheus::IntCounter;
use tokio::task::coop;

use super::error::FetchError;
use crate::coding::{Gunzip, Step};
use crate::policy;

/// A response body of the origin. Fails if it ends before it is whole.
#[derive(Debug)]
pub(super) struct OriginBody {
    body: Incoming,
    /// The decoder of a body in gzip that is decoded.
    gunzip: Option<Box<Gunzip>>,
    bytes: IntCounter,
}

impl OriginBody {
    /// The body of a response, decoded if that is asked for.
    pub(super) fn new(body: Incoming, decode: bool, bytes: IntCounter) -> Self {
        let gunzip = decode.then(Box::default);
        Self {
            body,
            gunzip,
            bytes,
        }
    }

    /// The next frame as it is received, and counted.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(FetchError::from_body)?;
            let size = frame.data_ref().map_or(0, Bytes::len);
            self.bytes.inc_by(size as u64);
            Ok(frame)
        }))
    }
}

impl Body for OriginBody {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = self.get_mut();
        loop {
            let Some(gunzip) = &mut this.gunzip else {
                return this.poll_raw(cx);
            };
            // A few bytes can decode to many without a pause: other tasks of this worker need a turn.
            let turn = ready!(coop::poll_proceed(cx));
            match gunzip.step() {
                Ok(Step::Data(data)) if data.is_empty() => {
                    turn.made_progress();
                    continue;
                }
                Ok(Step::Data(data)) => {
                    turn.made_progress();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Step::Hungry) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken.into()))),
            }
            let raw = ready!(this.poll_raw(cx));
            let Some(gunzip) = &mut this.gunzip else {
                return Poll::Ready(raw);
            };
            match raw.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => gunzip.feed(data),
                // The whole body precedes trailers and the end.
                Some(Ok(Err(trailers))) => {
                    let whole = gunzip.end().map(|()| decoded(trailers));
                    return Poll::Ready(Some(whole.map_err(Into::into)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(gunzip.end().err().map(|broken| Err(broken.into()))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // A coded body is whole only when its decoder says so.
        self.gunzip.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.gunzip {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

/// Trailers without the fields about the coded bytes.
fn decoded(trailers: Frame<Bytes>) -> Frame<Bytes> {
    match trailers.into_trailers() {
        Ok(mut fields) => {
            policy::strip_digests(&mut fields);
            Frame::trailers(fields)
        }
        Err(other) => other,
    }
}
