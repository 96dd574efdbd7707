//! A bare hyper server: prepared responses from memory, found by one moka lookup of the target.
//!
//! A PUT prepares the response to a GET of the same target: its fields and its body become those of
//! the response. So the responses are those of stuut-cache, byte for byte. Any other response is fetched
//! with hyper-util's client, and kept: what a miss costs without scopes, freshness, coalescing and a log.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use moka::sync::Cache;

use crate::Result;

struct Ready {
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone)]
struct Bare {
    store: Store,
    client: Client<HttpConnector, Empty<Bytes>>,
    origin: SocketAddr,
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
    fn put(&self, target: String, ready: Arc<Ready>) {
        match self {
            Self::Lookup(cache) => cache.insert(target, ready),
            Self::Plain(one) => {
                // Only one is put.
                let _ = one.set(ready);
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

/// `bare lookup|plain ADDRESS ORIGIN`: serves until it is killed.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [mode, address, origin] = arguments else {
        return Err("bare lookup|plain ADDRESS ORIGIN".into());
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
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let bare = Bare {
        store,
        client: Client::builder(TokioExecutor::new()).build(connector),
        origin: origin.parse()?,
    };
    runtime.block_on(async {
        let listener = tokio::net::TcpSocket::new_v4()?;
        listener.set_reuseaddr(true)?;
        listener.bind(address)?;
        let listener = listener.listen(4096)?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let bare = bare.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, bare.clone()));
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
    bare: Bare,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::PUT {
        return Ok(put(request, &bare.store).await);
    }
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |all| all.as_str());
    if let Some(ready) = bare.store.get(target) {
        return Ok(respond(&ready));
    }
    Ok(match fetch(&request, target, &bare).await {
        Ok(ready) => {
            let ready = Arc::new(ready);
            bare.store.put(target.to_owned(), Arc::clone(&ready));
            respond(&ready)
        }
        Err(error) => {
            let mut response = Response::new(Full::new(error.to_string().into()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}

fn respond(ready: &Ready) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(ready.body.clone()));
    *response.headers_mut() = ready.headers.clone();
    response
}

async fn fetch(request: &Request<Incoming>, target: &str, bare: &Bare) -> Result<Ready> {
    let mut sent = Request::get(format!("http://{}{target}", bare.origin)).body(Empty::new())?;
    if let Some(token) = request.headers().get(AUTHORIZATION) {
        sent.headers_mut().insert(AUTHORIZATION, token.clone());
    }
    let (head, body) = bare.client.request(sent).await?.into_parts();
    Ok(Ready {
        headers: head.headers,
        // A copy, because a slice would retain the whole of hyper's buffer.
        body: Bytes::copy_from_slice(&body.collect().await?.to_bytes()),
    })
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
            store.put(target.to_owned(), Arc::new(ready));
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}
