//! A layer that turns a panic into a 500, so that it ends its own request and no other.
//!
//! tower-http's `CatchPanic` boxes the body of every response; this one leaves it as it is.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::proxy::{Arrived, Body, Error};
use crate::telemetry::RequestId;

/// Makes [`CatchPanic`] services.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchPanicLayer;

/// Answers 500 where the inner service panics.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchPanic<S>(S);

pin_project! {
    /// The answer of the inner service, or 500.
    pub(super) struct Caught<F> {
        #[pin]
        answer: F,
        id: RequestId,
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic(inner)
    }
}

impl<S, B> Service<Arrived<B>> for CatchPanic<S>
where
    S: Service<Arrived<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Caught<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, arrived: Arrived<B>) -> Self::Future {
        let id = arrived.id.clone();
        Caught {
            answer: self.0.call(arrived),
            id,
        }
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Caught<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Whatever the panic left half-done was this request's own; shared state is behind locks
        // that a panic does not leave inconsistent.
        catch_unwind(AssertUnwindSafe(|| this.answer.poll(cx))).unwrap_or_else(|_| {
            tracing::error!(request_id = %this.id, "a panic was answered with 500");
            Poll::Ready(Ok(Error::Panicked.into_response(this.id, None, None)))
        })
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceBuilder, ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_with_500() {
        let service = ServiceBuilder::new()
            .layer(CatchPanicLayer)
            .service(service_fn(|_: Arrived<()>| async { panic!("on purpose") }));
        let (head, body) = http::Request::new(()).into_parts();
        let arrived = Arrived {
            head,
            body,
            id: RequestId::Made(1),
            at: crate::clock::Clock::system().now(),
        };
        let answer: Result<Response<Body>, Infallible> = service.oneshot(arrived).await;
        let answer = answer.expect("infallible");
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
}
