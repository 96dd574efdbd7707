//! The requests that a test sends.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinHandle;

use super::Response;

type Http = Client<HttpConnector, Full<Bytes>>;

/// The HTTP clients that send requests.
#[derive(Clone)]
pub struct Clients {
    http1: Http,
    /// HTTP/2 with prior knowledge.
    http2: Http,
}

impl Clients {
    pub fn new() -> Self {
        Self {
            // The admin listener closes idle connections after 10 s: none is reused about then.
            http1: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(5))
                .build_http(),
            http2: Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http(),
        }
    }

    pub fn request(&self, address: SocketAddr, method: Method, target: &str) -> Request {
        Request {
            clients: self.clone(),
            http2: false,
            head: http::Request::builder()
                .method(method)
                .uri(format!("http://{address}{target}")),
            body: Bytes::new(),
        }
    }
}

/// A request that is sent when it is awaited.
pub struct Request {
    clients: Clients,
    http2: bool,
    head: http::request::Builder,
    body: Bytes,
}

/// A request in flight.
pub struct Pending(JoinHandle<Response>);

impl Request {
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a field name");
        self.head = self.head.header(
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a field value"),
        );
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it over HTTP/2, where a disconnect reaches the proxy at once.
    pub fn over_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Sends it now; the response is awaited later.
    pub fn start(self) -> Pending {
        Pending(tokio::spawn(self.send()))
    }

    fn send(self) -> impl Future<Output = Response> + Send {
        let request = self.head.body(Full::new(self.body)).expect("a request");
        let summary = format!("{} {}", request.method(), request.uri());
        let Clients { http1, http2 } = self.clients;
        let client = if self.http2 { http2 } else { http1 };
        async move {
            let response = client.request(request).await.expect("the proxy responds");
            let (head, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            Response::new(summary, head, body)
        }
    }
}

impl Pending {
    /// Disconnects the client.
    pub async fn hang_up(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

impl IntoFuture for Pending {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.0.await.expect("the proxy responds") })
    }
}

impl IntoFuture for Request {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
