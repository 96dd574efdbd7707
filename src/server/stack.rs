//! What is true of every request, as tower layers around the hallway.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder, service_fn};

use super::Server;
use super::catch_panic::CatchPanicLayer;
use super::observe::{ObserveLayer, Observed};
use super::pulse::Pulse;
use crate::proxy::{Arrived, Content};

/// A tower service as hyper calls one: behind a shared reference, and without asking whether it
/// is ready, which ours always is.
///
/// hyper-util's `TowerToHyperService` clones the service for each request and moves the request
/// once more, to keep both until the clone is ready.
#[derive(Debug)]
pub(super) struct OnHyper<S>(RefCell<S>);

impl<S: Service<R>, R> hyper::service::Service<R> for OnHyper<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: R) -> S::Future {
        // One connection makes one call at a time, and no call makes another.
        self.0.borrow_mut().call(request)
    }
}

/// The service of one connection, outermost layer first.
pub(super) fn for_connection(
    server: &Arc<Server>,
    pulse: &Arc<Pulse>,
) -> OnHyper<
    impl Service<
        Request<Incoming>,
        Response = Response<Observed<Content>>,
        Error = Infallible,
        Future: Send,
    > + use<>,
> {
    let server = Arc::clone(server);
    let stack = ServiceBuilder::new()
        // Gives the request its id and the time it came in; counts and logs it when it has
        // ended. Outermost, so that nothing ends without being counted.
        .layer(ObserveLayer::new(
            Arc::clone(&server.observatory),
            Arc::clone(pulse),
        ))
        // A panic is an answer like any other, and ends with its request. Inside of what counts.
        .layer(CatchPanicLayer)
        .service(service_fn(move |arrived: Arrived| {
            server.proxy().answer(arrived)
        }));
    OnHyper(RefCell::new(stack))
}
