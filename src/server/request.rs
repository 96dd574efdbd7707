//! One request: its id and its span, and 500 after a panic.

use std::cell::RefCell;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{Service, ServiceBuilder, service_fn};

use super::connection::activity::Activity;
use super::end::{self, CountedBody, EndGuard, Observer};
use crate::proxy::{Arrived, Body, Error, Proxy};
use crate::request::hide_credentials;

/// The requests of all connections.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) proxy: Arc<ArcSwap<Proxy>>,
    pub(super) observer: Arc<Observer>,
}

pin_project! {
    /// The response; after a panic, a 500 that is counted and logged like any other.
    /// Written by hand: combinators would move the request a few more times.
    struct RequestFuture<F> {
        #[pin]
        response: F,
        end: Option<EndGuard>,
    }
}

impl Requests {
    /// The service of one connection, as hyper calls it.
    pub(super) fn service(
        &self,
        activity: &Arc<Activity>,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = Response<CountedBody>,
        Error = Infallible,
        Future: Send,
    > + use<> {
        let proxy = Arc::clone(&self.proxy);
        let stack = ServiceBuilder::new()
            .layer_fn(|inner| observed(inner, Arc::clone(&self.observer), Arc::clone(activity)))
            .service_fn(move |arrived: Arrived| proxy.load_full().answer(arrived));
        // hyper calls through a shared reference, one call at a time, and no call makes another.
        // hyper-util's `TowerToHyperService` would clone the service and move the request once more
        // for each request, to wait for readiness, which this service always has.
        let stack = RefCell::new(stack);
        hyper::service::service_fn(move |request| stack.borrow_mut().call(request))
    }

    /// Answers a GET without a body from the store, if that suffices, with the head as text. `None` has begun no
    /// request: it is for the [service](Self::service).
    pub(super) fn answer_stored(
        &self,
        activity: &Arc<Activity>,
        mut head: Parts,
        text: &mut Vec<u8>,
    ) -> Option<Response<CountedBody>> {
        let observer = &self.observer;
        if observer.tracer.is_some() {
            // A span begins before the lookup, and cannot be taken back.
            return None;
        }
        hide_credentials(&mut head.headers);
        let (id, agent) = end::identify(&head.headers);
        let (at, proxy) = (observer.clock.now(), self.proxy.load());
        // After a panic, the service answers.
        let answer = || proxy.answer_stored(&head, &id, at, &activity.account, text);
        let response = catch_unwind(AssertUnwindSafe(answer)).ok().flatten()?;
        let guard = activity.begin_request(false);
        let end = EndGuard::begin(observer, guard, &head, (id, agent), at);
        Some(end.respond(response))
    }
}

/// The only layer: counts, logs and traces the requests of one connection.
fn observed<S>(
    mut inner: S,
    observer: Arc<Observer>,
    activity: Arc<Activity>,
) -> impl Service<Request<Incoming>, Response = Response<CountedBody>, Error = Infallible, Future: Send>
where
    S: Service<Arrived, Response = Response<Body>, Error = Infallible, Future: Send>,
{
    service_fn(move |request: Request<Incoming>| {
        let (mut head, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        hide_credentials(&mut head.headers);
        let (id, agent) = end::identify(&head.headers);
        let at = observer.clock.now();
        let guard = activity.begin_request(has_body);
        let mut end = EndGuard::begin(&observer, guard, &head, (id.clone(), agent), at);
        end.span = observer
            .tracer
            .as_ref()
            .map(|tracer| tracer.begin(&mut head));
        RequestFuture {
            response: inner.call(Arrived {
                head,
                body,
                id,
                at,
                account: Arc::clone(&activity.account),
            }),
            end: Some(end),
        }
    })
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for RequestFuture<F> {
    type Output = Result<Response<CountedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // State that a panic leaves incomplete belongs to this request alone; shared state is
        // behind locks that a panic does not leave inconsistent.
        let polled = catch_unwind(AssertUnwindSafe(|| this.response.poll(cx)));
        if matches!(polled, Ok(Poll::Pending)) {
            this.end.iter_mut().for_each(EndGuard::wait);
            return Poll::Pending;
        }
        let end = this.end.take().expect("a completed future is not polled");
        let response = if let Ok(Poll::Ready(Ok(response))) = polled {
            response
        } else {
            tracing::error!(request_id = %end.id, "panicked: responded with 500");
            Error::Panicked.into_response(&end.id, None, None)
        };
        Poll::Ready(Ok(end.respond(response)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::request::Routes;
    use crate::telemetry::{Metrics, RequestId};

    #[tokio::test]
    async fn a_panic_is_answered_with_500() {
        let observer = Arc::new(Observer {
            metrics: Arc::new(Metrics::new(&Routes::new(&[]))),
            access: None,
            clock: Clock::system(),
            tracer: None,
        });
        let (head, ()) = Request::new(()).into_parts();
        let activity = Activity::unbounded();
        let (id, at) = (RequestId::of(None), observer.clock.now());
        let guard = activity.begin_request(false);
        let end = EndGuard::begin(&observer, guard, &head, (id, None), at);
        let response = RequestFuture {
            response: async { panic!("on purpose") },
            end: Some(end),
        };
        let Ok(response) = response.await;
        assert_eq!(response.status(), 500);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
}
