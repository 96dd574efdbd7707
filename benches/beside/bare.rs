//! A bare hyper server: prepared responses from memory, found by one moka lookup of the target.
//!
//! A PUT prepares the response to a GET of the same target: its fields and its body become those of
//! the response. So the responses are those of stuut-cache, byte for byte.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use moka::sync::Cache;

use crate::Result;

struct Ready {
    headers: HeaderMap,
    body: Bytes,
}

/// The prepared responses.
#[derive(Clone)]
enum Store {
    /// By their target.
    Lookup(Cache<String, Arc<Ready>>),
    /// One for all targets, without a lookup.
    Plain(Arc<OnceLock<Arc<Ready>>>),
}

impl Store {
    fn put(&self, target: String, ready: Ready) {
        match self {
            Self::Lookup(cache) => cache.insert(target, Arc::new(ready)),
            Self::Plain(one) => {
                // Only one is put.
                let _ = one.set(Arc::new(ready));
            }
        }
    }

    fn get(&self, target: &str) -> Option<Arc<Ready>> {
        match self {
            Self::Lookup(cache) => cache.get(target),
            Self::Plain(one) => one.get().cloned(),
        }
    }
}

/// `bare lookup|plain ADDRESS`: serves until it is killed.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [mode, address] = arguments else {
        return Err("bare lookup|plain ADDRESS".into());
    };
    let address: SocketAddr = address.parse()?;
    let store = match mode.as_str() {
        "plain" => Store::Plain(Arc::default()),
        _ => Store::Lookup(Cache::builder().build()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpSocket::new_v4()?;
        listener.set_reuseaddr(true)?;
        listener.bind(address)?;
        let listener = listener.listen(4096)?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let store = store.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, store.clone()));
                let connection = auto::Builder::new(TokioExecutor::new());
                let _ = connection
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    })
}

async fn answer(
    request: Request<Incoming>,
    store: Store,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::PUT {
        return Ok(put(request, &store).await);
    }
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |all| all.as_str());
    let Some(ready) = store.get(target) else {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    };
    let mut response = Response::new(Full::new(ready.body.clone()));
    *response.headers_mut() = ready.headers.clone();
    Ok(response)
}

async fn put(request: Request<Incoming>, store: &Store) -> Response<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    let mut response = Response::default();
    let target = head.uri.path_and_query().map_or("/", |all| all.as_str());
    match body.collect().await {
        Ok(body) => {
            for name in [HOST, AUTHORIZATION, CONTENT_LENGTH] {
                head.headers.remove(name);
            }
            let ready = Ready {
                headers: head.headers,
                // A copy, because a slice would retain hyper's buffer, and memory is measured.
                body: Bytes::copy_from_slice(&body.to_bytes()),
            };
            store.put(target.to_owned(), ready);
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}
