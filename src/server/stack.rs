//! What is true of every request, as tower layers around the hallway.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tower::{Service, ServiceBuilder, service_fn};

use super::Server;
use super::catch_panic::CatchPanicLayer;
use super::observe::{ObserveLayer, Observed};
use super::pulse::Pulse;
use crate::proxy::{Arrived, Body};

/// The service of one connection, outermost layer first.
pub(super) fn for_connection(
    server: &Server,
    pulse: &Arc<Pulse>,
) -> TowerToHyperService<
    impl Service<
        Request<Incoming>,
        Response = Response<Observed<Body>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + use<>,
> {
    let proxy = Arc::clone(&server.proxy);
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
            let proxy = Arc::clone(&proxy);
            async move { Ok::<_, Infallible>(proxy.answer(arrived).await) }
        }));
    TowerToHyperService::new(stack)
}
