//! A response body as received from the origin: counts its bytes, and decodes gzip.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use prometheus::IntCounter;
use tokio::task::coop;

use super::error::FetchError;
use super::traffic::Exchange;
use crate::coding::{Gunzip, Step};
use crate::policy;

/// A response body from the origin. Fails if it is truncated.
#[derive(Debug)]
pub(super) struct OriginBody {
    body: Incoming,
    /// The decoder, if the body is decoded.
    gunzip: Option<Box<Gunzip>>,
    bytes: IntCounter,
    /// Its connection is in use until the body is dropped.
    _exchange: Option<Exchange>,
}

impl OriginBody {
    /// The body of a response, decoded from gzip if `decode` is set.
    pub(super) fn new(
        body: Incoming,
        decode: bool,
        bytes: IntCounter,
        exchange: Option<Exchange>,
    ) -> Self {
        let gunzip = decode.then(Box::default);
        Self {
            body,
            gunzip,
            bytes,
            _exchange: exchange,
        }
    }
}

impl Body for OriginBody {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let Self {
            body,
            gunzip,
            bytes,
            ..
        } = self.get_mut();
        let mut poll_raw = |cx: &mut Context<'_>| {
            Pin::new(&mut *body).poll_frame(cx).map(|frame| {
                let frame = frame.transpose().map_err(FetchError::from_body)?;
                let data = frame.as_ref().and_then(Frame::data_ref);
                bytes.inc_by(data.map_or(0, Bytes::len) as u64);
                Ok(frame)
            })
        };
        let Some(gunzip) = gunzip else {
            return poll_raw(cx).map(Result::transpose);
        };
        loop {
            // Yields now and then: a few bytes can decode to many, and other tasks need this worker.
            let turn = ready!(coop::poll_proceed(cx));
            if let Step::Data(data) = gunzip.step()? {
                turn.made_progress();
                if !data.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                continue;
            }
            match ready!(poll_raw(cx))?.map(Frame::into_data) {
                Some(Ok(data)) => gunzip.feed(data),
                // Trailers, or the end: the compressed body must be complete.
                other => {
                    gunzip.end()?;
                    let trailers = other.and_then(Result::err).map(decoded);
                    return Poll::Ready(trailers.map(Ok));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // A compressed body is complete only when its decoder has seen the end.
        self.gunzip.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.gunzip {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

/// Trailers without the digests of the compressed body.
fn decoded(trailers: Frame<Bytes>) -> Frame<Bytes> {
    match trailers.into_trailers() {
        Ok(mut fields) => {
            policy::strip_digests(&mut fields);
            Frame::trailers(fields)
        }
        Err(other) => other,
    }
}
