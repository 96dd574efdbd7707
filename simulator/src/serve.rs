//! The simulator on a socket: HTTP/1.1, or HTTP/2 by preface, with keep-alive.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::BODY_LIMIT;
use crate::{Outcome, Simulator};

/// Timeout of requests in flight after the shutdown has begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between the first half of a torn body and the close, so that the client receives the half.
const TEAR_DELAY: Duration = Duration::from_millis(20);

/// Pause after a failed accept, most likely for lack of free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves `simulator` on `listener` until `shutdown`; requests in flight may finish within five
/// seconds.
pub async fn serve(listener: TcpListener, simulator: Simulator, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let simulator = simulator.clone();
                connections.spawn(connection(stream, simulator, shutdown.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    // New connections are refused instead of waiting in the backlog.
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, simulator: Simulator, shutdown: CancellationToken) {
    // Nagle's algorithm would delay the end of a body until the client's acknowledgement.
    // A socket that refuses the option is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let service = service_fn(move |request| {
        let simulator = simulator.clone();
        async move { respond(&simulator, request).await }
    });
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Errors of a connection are not reported: the client sees them.
    tokio::select! {
        _ = serving.as_mut() => return,
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, serving).await;
}

async fn respond(
    simulator: &Simulator,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let answer = simulator.answer(&head.method, &head.uri, &head.headers, &body);
    tokio::time::sleep(answer.delay).await;
    let tear = answer.outcome == Outcome::Torn;
    Ok(answer.response.map(|body| {
        if tear {
            torn(&body)
        } else {
            Full::new(body)
                .map_err(|never: Infallible| match never {})
                .boxed_unsync()
        }
    }))
}

/// The request's body; of one that is too long, only enough to detect that.
async fn read(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut read = Vec::new();
    while read.len() <= BODY_LIMIT {
        let Some(frame) = body.frame().await else {
            break;
        };
        if let Ok(part) = frame?.into_data() {
            read.extend_from_slice(&part);
        }
    }
    Ok(read)
}

/// The first half of a body, then an error, which makes hyper close the connection.
fn torn(body: &Bytes) -> Body {
    let half = body.slice(..body.len() / 2);
    let end = async {
        tokio::time::sleep(TEAR_DELAY).await;
        Err(io::Error::other("torn on purpose"))
    };
    let frames = stream::once(async { Ok(Frame::data(half)) }).chain(stream::once(end));
    StreamBody::new(frames).boxed_unsync()
}
